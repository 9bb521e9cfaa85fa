//! Borders of windows in a zone's calendar.
//!
//! Days, weeks and months begin when the clock on the wall first shows their midnight, or first jumps over it: a day has
//! 23 or 25 hours where the clock is put forward or back. Parts of a day begin whenever the clock shows a multiple of
//! them, or jumps over one: where it is put back by an hour, the repeated hour is a window of its own.

use thermocline_sql::{CalendarExtent, CalendarLength, CalendarWindow};

use super::assign::floor_to;
use super::zone::{Stretch, Stretches, stretches};

const DAY_US: i64 = 86_400_000_000;
/// No clock is put back by more than this.
const LARGEST_CHANGE_US: i64 = 2 * DAY_US;
/// 5 January 1970, the first Monday.
const MONDAY: i64 = 4;

/// Windows between the borders of a calendar.
#[derive(Debug)]
pub(crate) struct Calendar {
    panes: Grid,
    extent: Extent,
}

#[derive(Debug)]
enum Extent {
    /// Windows of so many panes.
    Panes(u32),
    /// Windows from each border of this grid.
    Cumulated(Grid),
}

impl Calendar {
    pub(super) fn new(window: &CalendarWindow) -> Self {
        let stretches = stretches(window.zone);
        let grid = |length| Grid { stretches: stretches.clone(), offset_us: window.offset_us, length };
        let extent = match window.extent {
            CalendarExtent::Steps(steps) => Extent::Panes(steps),
            CalendarExtent::Cumulated(size) => Extent::Cumulated(grid(size)),
        };
        Self { panes: grid(window.step), extent }
    }

    pub(super) fn is_cumulating(&self) -> bool {
        matches!(self.extent, Extent::Cumulated(_))
    }

    pub(super) fn pane_start_us(&self, time_us: i64) -> i64 {
        self.panes.floor_us(time_us)
    }

    pub(super) fn end_after_us(&self, time_us: i64) -> i64 {
        self.panes.next_us(time_us)
    }

    pub(super) fn last_end_us(&self, pane_start_us: i64) -> i64 {
        match &self.extent {
            Extent::Panes(panes) => self.panes.forwards_us(pane_start_us, *panes),
            Extent::Cumulated(sizes) => sizes.next_us(pane_start_us),
        }
    }

    pub(super) fn window_start_us(&self, end_us: i64) -> i64 {
        match &self.extent {
            Extent::Panes(panes) => self.panes.backwards_us(end_us, *panes),
            Extent::Cumulated(sizes) => sizes.floor_us(end_us - 1),
        }
    }

    /// More than a window is long.
    pub(super) fn margin_us(&self) -> i64 {
        let (longest_us, count) = match &self.extent {
            Extent::Panes(panes) => (self.panes.longest_us(), i64::from(*panes)),
            Extent::Cumulated(sizes) => (sizes.longest_us(), 1),
        };
        longest_us
            .saturating_mul(count)
            .saturating_add(longest_us)
            .saturating_add(self.panes.offset_us.saturating_abs())
    }
}

/// Borders at one distance of a zone's local time.
#[derive(Debug)]
struct Grid {
    stretches: Stretches,
    /// Shift of the local time that borders are multiples of.
    offset_us: i64,
    length: CalendarLength,
}

impl Grid {
    /// The last border at or before a time.
    fn floor_us(&self, time_us: i64) -> i64 {
        match self.length {
            CalendarLength::PartOfDay(part_us) => self.part_floor_us(time_us, part_us),
            _ => self.begin_us(self.cell(self.latest_local_us(time_us))),
        }
    }

    /// The first border after a time.
    fn next_us(&self, time_us: i64) -> i64 {
        match self.length {
            CalendarLength::PartOfDay(part_us) => self.part_next_us(time_us, part_us),
            _ => {
                let mut cell = self.cell(self.latest_local_us(time_us)) + 1;
                // A day that a zone left out begins and ends at once.
                while self.begin_us(cell) <= time_us {
                    cell += 1;
                }
                self.begin_us(cell)
            }
        }
    }

    /// The `count`th border after the one at `border_us`.
    fn forwards_us(&self, border_us: i64, count: u32) -> i64 {
        let CalendarLength::PartOfDay(part_us) = self.length else {
            return self.begin_us(self.cell(self.latest_local_us(border_us)) + i64::from(count));
        };
        let (mut at_us, mut left) = (border_us, i64::from(count));
        while left > 0 {
            let n = self.stretch_of(at_us);
            let is_aligned = (at_us + self.shift_us(n)).rem_euclid(part_us) == 0;
            // Borders of the same stretch all at once.
            let inside = match is_aligned {
                true => (self.end_us(n) - 1).saturating_sub(at_us) / part_us,
                false => 0,
            };
            let steps = inside.min(left);
            (at_us, left) = match steps {
                0 => (self.part_next_us(at_us, part_us), left - 1),
                steps => (at_us + steps * part_us, left - steps),
            };
        }
        at_us
    }

    /// The `count`th border before the one at `border_us`.
    fn backwards_us(&self, border_us: i64, count: u32) -> i64 {
        let CalendarLength::PartOfDay(part_us) = self.length else {
            let last = self.cell(self.latest_local_us(border_us - 1));
            return self.begin_us(last + 1 - i64::from(count));
        };
        let (mut at_us, mut left) = (border_us, i64::from(count));
        while left > 0 {
            let n = self.stretch_of(at_us - 1);
            let is_aligned = (at_us + self.shift_us(n)).rem_euclid(part_us) == 0;
            let inside = match is_aligned {
                true => at_us.saturating_sub(self.stretches[n].from_us) / part_us,
                false => 0,
            };
            let steps = inside.min(left);
            (at_us, left) = match steps {
                0 => (self.part_floor_us(at_us - 1, part_us), left - 1),
                steps => (at_us - steps * part_us, left - steps),
            };
        }
        at_us
    }

    fn part_floor_us(&self, mut time_us: i64, part_us: i64) -> i64 {
        loop {
            let n = self.stretch_of(time_us);
            let border_us = floor_to(time_us + self.shift_us(n), part_us, 0) - self.shift_us(n);
            if border_us >= self.stretches[n].from_us {
                return border_us;
            }
            if self.is_part_border(n, part_us) {
                return self.stretches[n].from_us;
            }
            time_us = self.stretches[n].from_us - 1;
        }
    }

    fn part_next_us(&self, time_us: i64, part_us: i64) -> i64 {
        let mut n = self.stretch_of(time_us);
        let mut after_us = time_us;
        loop {
            let border_us = floor_to(after_us + self.shift_us(n), part_us, 0) + part_us - self.shift_us(n);
            if border_us < self.end_us(n) {
                return border_us;
            }
            n += 1;
            after_us = self.stretches[n].from_us;
            if self.is_part_border(n, part_us) {
                return after_us;
            }
        }
    }

    /// Whether the clock, where the `n`th stretch begins, shows a multiple of the part or has jumped over one.
    fn is_part_border(&self, n: usize, part_us: i64) -> bool {
        let from_us = self.stretches[n].from_us;
        let before = floor_to(from_us - 1 + self.shift_us(n - 1), part_us, 0);
        let after_us = from_us + self.shift_us(n);
        before != floor_to(after_us, part_us, 0) || after_us.rem_euclid(part_us) == 0
    }

    /// Which day, week or month a local time belongs to.
    fn cell(&self, local_us: i64) -> i64 {
        let day = local_us.div_euclid(DAY_US);
        match self.length {
            CalendarLength::PartOfDay(part_us) => local_us.div_euclid(part_us),
            CalendarLength::Days(days) => (day - first_day(days)).div_euclid(i64::from(days)),
            CalendarLength::Months(months) => month_of_day(day).div_euclid(i64::from(months)),
        }
    }

    /// When the clock first shows the beginning of a day, week or month, or jumps over it.
    fn begin_us(&self, cell: i64) -> i64 {
        let local_us = DAY_US
            * match self.length {
                CalendarLength::PartOfDay(_) => unreachable!("parts of a day have borders of their own"),
                CalendarLength::Days(days) => first_day(days) + cell * i64::from(days),
                CalendarLength::Months(months) => first_day_of_month(cell * i64::from(months)),
            };
        let mut n = self.stretch_of(local_us.saturating_sub(LARGEST_CHANGE_US));
        loop {
            let shown_us = (local_us - self.shift_us(n)).max(self.stretches[n].from_us);
            if shown_us < self.end_us(n) {
                return shown_us;
            }
            n += 1;
        }
    }

    /// The latest local time that the clock has shown up to a time: it never goes back.
    fn latest_local_us(&self, time_us: i64) -> i64 {
        let mut n = self.stretch_of(time_us);
        let mut latest_us = time_us + self.shift_us(n);
        while n > 0 && self.stretches[n].from_us > time_us.saturating_sub(LARGEST_CHANGE_US) {
            latest_us = latest_us.max(self.stretches[n].from_us - 1 + self.shift_us(n - 1));
            n -= 1;
        }
        latest_us
    }

    fn stretch_of(&self, time_us: i64) -> usize {
        self.stretches.partition_point(|stretch| stretch.from_us <= time_us) - 1
    }

    fn shift_us(&self, n: usize) -> i64 {
        self.stretches[n].offset_us - self.offset_us
    }

    fn end_us(&self, n: usize) -> i64 {
        self.stretches.get(n + 1).map_or(i64::MAX, |next: &Stretch| next.from_us)
    }

    fn longest_us(&self) -> i64 {
        let days = match self.length {
            CalendarLength::PartOfDay(_) => 1,
            CalendarLength::Days(days) => i64::from(days),
            CalendarLength::Months(months) => i64::from(months) * 31,
        };
        days.saturating_mul(DAY_US).saturating_add(LARGEST_CHANGE_US)
    }
}

/// The day that groups of so many days count from: weeks begin on a Monday.
fn first_day(days: u32) -> i64 {
    if days.is_multiple_of(7) { MONDAY } else { 0 }
}

/// Months since January 1970 of a day since 1 January 1970, in the Gregorian calendar. (Hinnant, "chrono-compatible
/// low-level date algorithms": years begin in March, so that the leap day is their last.)
fn month_of_day(day: i64) -> i64 {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era - 1970) * 12 + month_from_march + 2
}

/// The first day of a month, both counted from 1970.
fn first_day_of_month(month: i64) -> i64 {
    let from_march = month - 2;
    let year = from_march.div_euclid(12) + 1970;
    let month_from_march = from_march.rem_euclid(12);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
