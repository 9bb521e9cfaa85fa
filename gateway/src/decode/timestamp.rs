//! Timestamps and dates as text: RFC 3339, with a space for the `T` and without a zone (UTC) as well.

/// 0001-01-01T00:00:00Z, the first instant that RFC 3339 text can hold without a sign.
pub(crate) const MIN_US: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
pub(crate) const MAX_US: i64 = 253_402_300_799_999_999;

/// Microseconds since the epoch of `YYYY-MM-DD(T| )HH:MM:SS[.f][Z|±HH[:]MM|±HH]`; digits beyond microseconds are
/// cut. A leap second is the first instant of the next minute.
pub(crate) fn parse_timestamp_us(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(10)?;
    let (time, rest) = rest.split_at_checked(9)?;
    let days = i64::from(parse_date(date)?);
    if !matches!(time[0], b'T' | b't' | b' ') || time[3] != b':' || time[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(&time[1..3])?, two(&time[4..6])?, two(&time[7..9])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, rest) = parse_fraction(rest)?;
    let offset_s = parse_zone(rest)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    let us = seconds * 1_000_000 + fraction_us;
    (MIN_US..=MAX_US).contains(&us).then_some(us)
}

/// Days since the epoch of `YYYY-MM-DD`.
pub(crate) fn parse_date_text(text: &str) -> Option<i32> {
    (text.len() == 10).then(|| parse_date(text.as_bytes())).flatten()
}

fn parse_date(date: &[u8]) -> Option<i32> {
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = two(&date[0..2])? * 100 + two(&date[2..4])?;
    let (month, day) = (two(&date[5..7])?, two(&date[8..10])?);
    if year == 0 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    i32::try_from(days_from_civil(year, month, day)).ok()
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, after Howard Hinnant, "chrono-compatible low-level date
/// algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn parse_fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let six = (0..6).fold(0, |us, i| us * 10 + if i < count { i64::from(digits[i] - b'0') } else { 0 });
    Some((six, &digits[count..]))
}

fn parse_zone(zone: &[u8]) -> Option<i64> {
    let (sign, clock) = match zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', clock @ ..] => (1, clock),
        [b'-', clock @ ..] => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = match clock.len() {
        2 => (two(clock)?, 0),
        4 => (two(&clock[..2])?, two(&clock[2..])?),
        5 if clock[2] == b':' => (two(&clock[..2])?, two(&clock[3..])?),
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn two(digits: &[u8]) -> Option<i64> {
    match digits {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_dialect_promises() {
        let ten = DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap().timestamp_micros();
        for text in [
            "2026-11-22T10:00:00Z",
            "2026-11-22t10:00:00z",
            "2026-11-22 10:00:00",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00.000000",
            "2026-11-22T12:00:00+02:00",
            "2026-11-22T12:00:00+0200",
            "2026-11-22T12:00:00+02",
            "2026-11-22T04:30:00.0-05:30",
        ] {
            assert_eq!(parse_timestamp_us(text), Some(ten), "{text}");
        }
        assert_eq!(parse_timestamp_us("2026-11-22 10:00:00.5"), Some(ten + 500_000));
        assert_eq!(parse_timestamp_us("2026-11-22 10:00:00.1234567Z"), Some(ten + 123_456));
        assert_eq!(parse_timestamp_us("2016-12-31T23:59:60Z"), parse_timestamp_us("2017-01-01T00:00:00Z"));
        assert_eq!(parse_timestamp_us("9999-12-31T23:59:59.999999Z"), Some(MAX_US));
        assert_eq!(parse_timestamp_us("0001-01-01T00:00:00Z"), Some(MIN_US));
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in [
            "",
            "2026",
            "2026-11-22",
            "2026-11-22T10:00",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2026-11-22T10:00:61Z",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-11-00T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-11-22T10:00:00.Z",
            "2026-11-22T10:00:00+2:00",
            "2026-11-22T10:00:00ZZ",
            "2026-11-22T10:00:00 ",
            "9999-12-31T23:59:59-01:00",
            "２０２６-11-22T10:00:00Z",
        ] {
            assert_eq!(parse_timestamp_us(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(us in MIN_US..=MAX_US, offset_minutes in -1439_i32..1440) {
            let zone = chrono::FixedOffset::east_opt(offset_minutes * 60).unwrap();
            let text = DateTime::from_timestamp_micros(us).unwrap().with_timezone(&zone).to_rfc3339();
            prop_assume!(text.len() <= 32 && !text.starts_with(['+', '-']) && !text.starts_with("0000"));
            prop_assert_eq!(parse_timestamp_us(&text), Some(us));
        }

        #[test]
        fn agrees_with_chrono_on_dates(days in -700_000_i32..2_900_000) {
            let date = NaiveDate::default() + chrono::Duration::days(i64::from(days));
            prop_assert_eq!(parse_date_text(&date.to_string()), Some(days));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = (parse_timestamp_us(&text), parse_date_text(&text));
        }
    }
}
