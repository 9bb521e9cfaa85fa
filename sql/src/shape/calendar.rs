//! Windows of the local calendar: `TIME ZONE 'Europe/Berlin'`.

use std::fmt;

use chrono_tz::{TZ_VARIANTS, Tz};

use crate::suggest;

/// A time zone of the IANA database.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeZone(pub Tz);

impl TimeZone {
    /// The zone of this name, in any case of its letters.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        let exact = name.parse().ok();
        exact.or_else(|| TZ_VARIANTS.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name))).map(Self)
    }

    /// What was probably meant by a name that no zone has: also `Berlin` for `Europe/Berlin`.
    pub(crate) fn suggestion(name: &str) -> Option<&'static str> {
        let names = || TZ_VARIANTS.iter().map(|zone| zone.name());
        let city = |zone: &&str| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name.trim()));
        names().find(city).or_else(|| suggest::closest(name, names()))
    }
}

impl PartialOrd for TimeZone {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0.name().partial_cmp(other.0.name())
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.name())
    }
}

/// Windows whose borders are those of a zone's calendar and clock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct CalendarWindow {
    /// The zone.
    pub zone: TimeZone,
    /// Distance of two borders.
    pub step: CalendarLength,
    /// Which of these borders a window has.
    pub extent: CalendarExtent,
    /// Shift of the alignment in microseconds of local time.
    pub offset_us: i64,
}

/// From which border to which a window goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
pub enum CalendarExtent {
    /// From every border over this many steps: one for `TUMBLE`.
    Steps(u32),
    /// `CUMULATE`: from every border of this length to all borders up to the next.
    Cumulated(CalendarLength),
}

/// A length that the local calendar can be divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
pub enum CalendarLength {
    /// A part of a day, in microseconds; it divides the day.
    PartOfDay(i64),
    /// Days; multiples of seven begin on a Monday.
    Days(u32),
    /// Months; those of a year, a half or a quarter begin in January.
    Months(u32),
}

impl fmt::Display for CalendarLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartOfDay(us) => write!(f, "{} s", *us as f64 / 1e6),
            Self::Days(days) => write!(f, "{days} days"),
            Self::Months(months) => write!(f, "{months} months"),
        }
    }
}

impl fmt::Display for CalendarWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.0.name();
        match self.extent {
            CalendarExtent::Steps(1) => write!(f, "TUMBLE {} in {zone}", self.step),
            CalendarExtent::Steps(steps) => write!(f, "HOP {} / {steps} times that in {zone}", self.step),
            CalendarExtent::Cumulated(size) => write!(f, "CUMULATE {} / {size} in {zone}", self.step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_in_any_case_and_suggested_by_their_city() {
        assert_eq!(TimeZone::named("europe/berlin"), Some(TimeZone(Tz::Europe__Berlin)));
        assert_eq!(TimeZone::named("UTC"), Some(TimeZone(Tz::UTC)));
        assert_eq!(TimeZone::named("Berlin"), None);
        assert_eq!(TimeZone::suggestion("berlin"), Some("Europe/Berlin"));
        assert_eq!(TimeZone::suggestion("Europe/Berln"), Some("Europe/Berlin"));
        assert_eq!(TimeZone::suggestion("nowhere at all"), None);
    }
}
