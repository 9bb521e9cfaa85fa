//! How far a time zone's clock is from UTC, at every instant.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Offset, TimeZone as _};
use parking_lot::Mutex;
use thermocline_sql::TimeZone;

const SECOND_US: i64 = 1_000_000;
const DAY_S: i64 = 86_400;

/// The years whose changes are looked for: before and after, the database says nothing of its own.
const FIRST_S: i64 = -120 * 366 * DAY_S;
const LAST_S: i64 = 140 * 366 * DAY_S;

/// A stretch of time in which the clock runs at one distance from UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins; the first one has no beginning.
    pub(super) from_us: i64,
    /// Local time minus UTC.
    pub(super) offset_us: i64,
}

/// All stretches of a zone, in order; there is at least one.
pub(super) type Stretches = Arc<[Stretch]>;

/// The stretches of a zone. They are found once: the database does not say where they begin, only what holds when.
pub(super) fn stretches(zone: TimeZone) -> Stretches {
    static KNOWN: LazyLock<Mutex<HashMap<TimeZone, Stretches>>> = LazyLock::new(Mutex::default);
    Arc::clone(KNOWN.lock().entry(zone).or_insert_with(|| find(zone).into()))
}

fn find(zone: TimeZone) -> Vec<Stretch> {
    let mut offset_s = offset_s(zone, FIRST_S);
    let mut found = vec![Stretch { from_us: i64::MIN, offset_us: offset_s * SECOND_US }];
    let mut before_s = FIRST_S;
    while before_s < LAST_S {
        let after_s = before_s + DAY_S;
        let next = self::offset_s(zone, after_s);
        if next != offset_s {
            let from_s = first_of(zone, before_s, after_s, next);
            found.push(Stretch { from_us: from_s * SECOND_US, offset_us: next * SECOND_US });
            offset_s = next;
        }
        before_s = after_s;
    }
    found
}

/// The first second after `before_s` from which on the offset is that at `after_s`.
fn first_of(zone: TimeZone, mut before_s: i64, mut after_s: i64, offset: i64) -> i64 {
    while after_s - before_s > 1 {
        let middle_s = i64::midpoint(before_s, after_s);
        match offset_s(zone, middle_s) == offset {
            true => after_s = middle_s,
            false => before_s = middle_s,
        }
    }
    after_s
}

fn offset_s(zone: TimeZone, at_s: i64) -> i64 {
    let at = DateTime::from_timestamp(at_s, 0).expect("the years are in the calendar's range");
    i64::from(zone.0.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_to_the_second() {
        let berlin = stretches(TimeZone::named("Europe/Berlin").unwrap());
        // 2026-03-29T01:00:00Z and 2026-10-25T01:00:00Z.
        let changes = [(1_774_746_000, 7200), (1_792_890_000, 3600)];
        for (from_s, offset_s) in changes {
            let expected = Stretch { from_us: from_s * SECOND_US, offset_us: offset_s * SECOND_US };
            assert!(berlin.contains(&expected), "{expected:?}");
        }
        assert!(berlin.is_sorted_by(|a, b| a.from_us < b.from_us && a.offset_us != b.offset_us));
        assert_eq!(stretches(TimeZone::named("UTC").unwrap()).len(), 1);
        // Summer time goes on after the last year that is written out in most copies of the database.
        assert!(berlin.iter().any(|stretch| stretch.from_us > 2_300_000_000 * SECOND_US));
    }
}
