//! Borders of calendars, at the places where clocks change.

use chrono::{DateTime, Datelike, NaiveDate};
use thermocline_sql::TimeZone;

use super::*;

const HOUR_US: i64 = 3_600_000_000;

fn us(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn grid(zone: &str, length: CalendarLength, offset_us: i64) -> Grid {
    Grid { stretches: stretches(TimeZone::named(zone).unwrap()), offset_us, length }
}

/// The borders from the one at or before `from` to the one at or after `to`, in UTC.
fn borders(grid: &Grid, from: &str, to: &str) -> Vec<String> {
    let mut at_us = grid.floor_us(us(from));
    let mut found = Vec::new();
    loop {
        found.push(DateTime::from_timestamp_micros(at_us).unwrap().format("%dT%H:%M").to_string());
        if at_us >= us(to) {
            return found;
        }
        at_us = grid.next_us(at_us);
    }
}

#[test]
fn days_have_23_and_25_hours() {
    let days = grid("Europe/Berlin", CalendarLength::Days(1), 0);
    let spring = borders(&days, "2026-03-28T12:00:00Z", "2026-03-30T22:00:00Z");
    assert_eq!(spring, ["27T23:00", "28T23:00", "29T22:00", "30T22:00"]);
    let autumn = borders(&days, "2026-10-24T12:00:00Z", "2026-10-26T23:00:00Z");
    assert_eq!(autumn, ["23T22:00", "24T22:00", "25T23:00", "26T23:00"]);
    // From six in the morning.
    let shifts = grid("Europe/Berlin", CalendarLength::Days(1), 6 * HOUR_US);
    assert_eq!(borders(&shifts, "2026-10-25T00:00:00Z", "2026-10-26T05:00:00Z"), ["24T04:00", "25T05:00", "26T05:00"]);
}

#[test]
fn hours_go_by_the_clock_and_the_repeated_one_stands_alone() {
    let hours = grid("Europe/Berlin", CalendarLength::PartOfDay(HOUR_US), 0);
    let autumn = borders(&hours, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
    assert_eq!(autumn, ["24T23:00", "25T00:00", "25T01:00", "25T02:00", "25T03:00"]);
    // From 00:00 to 06:00 on the wall are seven hours in autumn, five in spring.
    let quarters = grid("Europe/Berlin", CalendarLength::PartOfDay(6 * HOUR_US), 0);
    assert_eq!(
        borders(&quarters, "2026-10-24T22:00:00Z", "2026-10-25T11:00:00Z"),
        ["24T22:00", "25T05:00", "25T11:00"]
    );
    assert_eq!(
        borders(&quarters, "2026-03-28T23:00:00Z", "2026-03-29T10:00:00Z"),
        ["28T23:00", "29T04:00", "29T10:00"]
    );
    // Two hours: 02:00 comes twice, and in spring never.
    let pairs = grid("Europe/Berlin", CalendarLength::PartOfDay(2 * HOUR_US), 0);
    assert_eq!(
        borders(&pairs, "2026-10-24T22:00:00Z", "2026-10-25T03:00:00Z"),
        ["24T22:00", "25T00:00", "25T01:00", "25T03:00"]
    );
    assert_eq!(borders(&pairs, "2026-03-28T23:00:00Z", "2026-03-29T02:00:00Z"), ["28T23:00", "29T01:00", "29T02:00"]);
    // A zone that is half an hour away, and changes by half an hour.
    let hours = grid("Australia/Lord_Howe", CalendarLength::PartOfDay(HOUR_US), 0);
    assert_eq!(
        borders(&hours, "2026-04-04T13:30:00Z", "2026-04-04T16:30:00Z"),
        ["04T13:00", "04T14:00", "04T15:30", "04T16:30"]
    );
}

#[test]
fn weeks_begin_on_monday_and_months_on_their_first() {
    let weeks = grid("Europe/Berlin", CalendarLength::Days(7), 0);
    assert_eq!(borders(&weeks, "2026-10-25T12:00:00Z", "2026-11-01T23:00:00Z"), ["18T22:00", "25T23:00", "01T23:00"]);
    let months = grid("Europe/Berlin", CalendarLength::Months(1), 0);
    assert_eq!(
        borders(&months, "2026-02-11T00:00:00Z", "2026-04-30T22:00:00Z"),
        ["31T23:00", "28T23:00", "31T22:00", "30T22:00"]
    );
    let quarters = grid("UTC", CalendarLength::Months(3), 0);
    assert_eq!(quarters.floor_us(us("2026-06-30T23:59:59Z")), us("2026-04-01T00:00:00Z"));
    assert_eq!(quarters.floor_us(us("1969-12-31T23:59:59Z")), us("1969-10-01T00:00:00Z"));
}

#[test]
fn a_midnight_that_is_missing_or_comes_twice() {
    let days = |zone| grid(zone, CalendarLength::Days(1), 0);
    // Put back from 01:00 to 00:00: the day begins with the first of the two midnights and has 25 hours.
    assert_eq!(
        borders(&days("America/Havana"), "2026-11-01T12:00:00Z", "2026-11-02T05:00:00Z"),
        ["01T04:00", "02T05:00"]
    );
    // Put back from 00:00 to 23:00 of the day before.
    assert_eq!(
        borders(&days("America/Sao_Paulo"), "2018-02-17T12:00:00Z", "2018-02-18T03:00:00Z"),
        ["17T02:00", "18T03:00"]
    );
    // Put forward from 00:00 to 01:00: the day begins at 01:00.
    assert_eq!(
        borders(&days("America/Sao_Paulo"), "2018-11-04T12:00:00Z", "2018-11-05T02:00:00Z"),
        ["04T03:00", "05T02:00"]
    );
    // Put back from 00:01 to 23:01: midnight was there already.
    assert_eq!(
        borders(&days("America/St_Johns"), "2010-11-06T12:00:00Z", "2010-11-07T10:00:00Z"),
        ["06T02:30", "07T02:30", "08T03:30"]
    );
    // 30 December 2011 was left out.
    assert_eq!(
        borders(&days("Pacific/Apia"), "2011-12-29T12:00:00Z", "2011-12-31T10:00:00Z"),
        ["29T10:00", "30T10:00", "31T10:00"]
    );
}

#[test]
fn months_of_days_agree_with_the_calendar() {
    for day in (-800_000..800_000).step_by(17) {
        let date = NaiveDate::from_num_days_from_ce_opt(719_163 + day).unwrap();
        let month = i64::from(date.year() - 1970) * 12 + i64::from(date.month0());
        assert_eq!(month_of_day(i64::from(day)), month, "{date}");
        assert_eq!(first_day_of_month(month), i64::from(day) - i64::from(date.day0()), "{date}");
    }
}

#[test]
fn borders_lie_around_every_time_and_steps_lead_from_one_to_the_next() {
    let lengths = [
        CalendarLength::PartOfDay(15 * 60_000_000),
        CalendarLength::PartOfDay(HOUR_US),
        CalendarLength::PartOfDay(8 * HOUR_US),
        CalendarLength::Days(1),
        CalendarLength::Days(3),
        CalendarLength::Days(7),
        CalendarLength::Months(1),
    ];
    let zones = ["Europe/Berlin", "America/Havana", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];
    for zone in zones {
        for length in lengths {
            for offset_us in [0, 6 * HOUR_US, -HOUR_US / 2] {
                let grid = grid(zone, length, offset_us);
                for start in
                    ["1969-12-30T00:00:00Z", "2010-03-12T00:00:00Z", "2010-11-05T00:00:00Z", "2026-10-24T00:00:00Z"]
                {
                    for n in 0..96 {
                        let time_us = us(start) + n * HOUR_US * 3 / 4 + n;
                        let (floor_us, next_us) = (grid.floor_us(time_us), grid.next_us(time_us));
                        let place = format!("{zone} {length:?} offset {offset_us} at {time_us}");
                        assert!(floor_us <= time_us && time_us < next_us, "{place}");
                        assert_eq!(grid.next_us(floor_us), next_us, "{place}");
                        assert_eq!(grid.floor_us(next_us - 1), floor_us, "{place}");
                        assert_eq!(grid.floor_us(next_us), next_us, "{place}");
                        assert_eq!(grid.floor_us(floor_us), floor_us, "{place}");
                    }
                    let first_us = grid.floor_us(us(start));
                    let mut at_us = first_us;
                    for count in 1..40 {
                        at_us = grid.next_us(at_us);
                        assert_eq!(grid.forwards_us(first_us, count), at_us, "{zone} {length:?} {offset_us} {count}");
                        assert_eq!(grid.backwards_us(at_us, count), first_us, "{zone} {length:?} {offset_us} {count}");
                    }
                }
            }
        }
    }
}
