//! Which pane a row belongs to, and which windows still take it.
//!
//! A pane is the stretch of event time between two neighbouring window borders: every window is a whole number of
//! panes (Li et al., "No pane, no gain", SIGMOD Record 2005). A row that comes when some windows over its pane are
//! closed already, as far as its own partition knows, counts for the later ones only: it goes to a pane of its own,
//! [`PaneKey::first_end_us`] being the end of the first window that takes it. Where lateness is allowed, windows take a row
//! for longer: [`PaneKey::on_time_end_us`] is the end of the first one in whose first result it is; those before are
//! corrected by it.

use std::sync::Arc;

use thermocline_sql::Window;

use super::calendar::Calendar;

/// A pane, and the ends of the first windows that its rows count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PaneKey {
    /// Start of the pane.
    pub(crate) start_us: i64,
    /// End of the first window its rows count for.
    pub(crate) first_end_us: i64,
    /// End of the first window in whose first result its rows are; [`NEVER_ON_TIME`] where there is none.
    pub(crate) on_time_end_us: i64,
}

/// The rows of a pane came too late for the first result of any window.
pub(crate) const NEVER_ON_TIME: i64 = i64::MAX;

impl PaneKey {
    /// The first key that a pane of this start may have.
    pub(crate) fn first(start_us: i64) -> Self {
        Self { start_us, first_end_us: i64::MIN, on_time_end_us: i64::MIN }
    }

    /// Whether its rows correct a window that was closed before they came.
    pub(crate) fn is_late(&self) -> bool {
        self.on_time_end_us > self.first_end_us
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// It counts.
    Pane(PaneKey),
    /// All its windows were closed before it.
    Late,
    /// No window covers its time (a hop with gaps).
    Uncovered,
}

/// Windows as arithmetic.
#[derive(Debug, Clone)]
pub(crate) enum Assigner {
    /// Windows of one length, their starts at one distance.
    Sliding {
        /// Length of a window.
        size_us: i64,
        /// Distance of starts.
        slide_us: i64,
        /// Shift.
        offset_us: i64,
        /// Length of a pane.
        pane_us: i64,
    },
    /// Of each stretch of a size, the windows from its start to every step.
    Cumulating {
        /// Length of a pane.
        step_us: i64,
        /// Length of the longest window.
        size_us: i64,
        /// Shift.
        offset_us: i64,
    },
    /// Windows of a zone's calendar.
    Calendar(Arc<Calendar>),
}

impl Assigner {
    pub(crate) fn new(window: &Window) -> Self {
        let sliding = |size_us: i64, slide_us: i64, offset_us: i64| {
            assert!(size_us > 0 && slide_us > 0, "the checker refuses windows without length");
            Self::Sliding { size_us, slide_us, offset_us, pane_us: gcd(size_us, slide_us) }
        };
        match *window {
            Window::Tumble { size_us, offset_us } => sliding(size_us, size_us, offset_us),
            Window::Hop { slide_us, size_us, offset_us } => sliding(size_us, slide_us, offset_us),
            Window::Cumulate { step_us, size_us, offset_us } => {
                assert!(step_us > 0 && size_us % step_us == 0, "the checker refuses sizes that are not whole steps");
                Self::Cumulating { step_us, size_us, offset_us }
            }
            Window::Calendar(ref window) => Self::Calendar(Arc::new(Calendar::new(window))),
        }
    }

    /// Whether each window holds all panes of the one before it, until a new stretch begins.
    pub(crate) fn is_cumulating(&self) -> bool {
        match self {
            Self::Sliding { .. } => false,
            Self::Cumulating { .. } => true,
            Self::Calendar(calendar) => calendar.is_cumulating(),
        }
    }

    /// Number of panes of a window, where windows of a fixed length overlap.
    pub(super) fn panes_of_window(&self) -> Option<i64> {
        match self {
            Self::Sliding { size_us, slide_us, pane_us, .. } if slide_us < size_us => Some(size_us / pane_us),
            _ => None,
        }
    }

    /// Start of the stretch over a time, where event time is cut into stretches as long as a window.
    pub(super) fn block_start_us(&self, time_us: i64) -> i64 {
        match self {
            Self::Sliding { size_us, offset_us, .. } | Self::Cumulating { size_us, offset_us, .. } => {
                floor_to(time_us, *size_us, *offset_us)
            }
            Self::Calendar(calendar) => calendar.window_start_us(time_us + 1),
        }
    }

    /// Whether a pane's rows came in time for all windows over it.
    pub(super) fn is_regular(&self, pane: PaneKey) -> bool {
        !pane.is_late() && pane.first_end_us == self.first_end_us(pane.start_us)
    }

    /// Start of the window that ends at `end_us`.
    pub(crate) fn window_start_us(&self, end_us: i64) -> i64 {
        match self {
            Self::Sliding { size_us, .. } => end_us - size_us,
            Self::Cumulating { size_us, offset_us, .. } => floor_to(end_us - 1, *size_us, *offset_us),
            Self::Calendar(calendar) => calendar.window_start_us(end_us),
        }
    }

    /// Start of the pane that covers a time.
    pub(super) fn pane_start_us(&self, time_us: i64) -> i64 {
        match self {
            Self::Sliding { pane_us, offset_us, .. } => floor_to(time_us, *pane_us, *offset_us),
            Self::Cumulating { step_us, offset_us, .. } => floor_to(time_us, *step_us, *offset_us),
            Self::Calendar(calendar) => calendar.pane_start_us(time_us),
        }
    }

    /// End of the pane that starts at a time.
    pub(super) fn pane_end_us(&self, pane_start_us: i64) -> i64 {
        match self {
            Self::Sliding { pane_us, .. } => pane_start_us + pane_us,
            Self::Cumulating { step_us, .. } => pane_start_us + step_us,
            Self::Calendar(calendar) => calendar.end_after_us(pane_start_us),
        }
    }

    /// End of the first window over a pane.
    fn first_end_us(&self, pane_start_us: i64) -> i64 {
        match self {
            Self::Sliding { size_us, slide_us, offset_us, pane_us } => {
                // The first window starts after every start that ends at or before the pane's end.
                let before = floor_to(pane_start_us + pane_us - 1 - size_us, *slide_us, *offset_us);
                before + slide_us + size_us
            }
            Self::Cumulating { step_us, .. } => pane_start_us + step_us,
            Self::Calendar(calendar) => calendar.end_after_us(pane_start_us),
        }
    }

    /// End of the last window over a pane.
    pub(crate) fn last_end_us(&self, pane_start_us: i64) -> i64 {
        match self {
            Self::Sliding { size_us, slide_us, offset_us, .. } => {
                floor_to(pane_start_us, *slide_us, *offset_us) + size_us
            }
            Self::Cumulating { size_us, offset_us, .. } => floor_to(pane_start_us, *size_us, *offset_us) + size_us,
            Self::Calendar(calendar) => calendar.last_end_us(pane_start_us),
        }
    }

    /// Whether the windows over a time have borders that fit into 64 bits; without, there are none.
    pub(super) fn is_in_range(&self, time_us: i64) -> bool {
        let margin_us = match self {
            Self::Sliding { size_us, slide_us: step_us, offset_us, .. }
            | Self::Cumulating { size_us, step_us, offset_us } => {
                size_us.saturating_add(*step_us).saturating_add(offset_us.saturating_abs())
            }
            Self::Calendar(calendar) => calendar.margin_us(),
        };
        let margin_us = margin_us.saturating_mul(2);
        time_us < i64::MAX - margin_us && time_us > i64::MIN + margin_us
    }

    /// Ends of all windows over a time, in order.
    pub(crate) fn ends_us(&self, time_us: i64) -> impl Iterator<Item = i64> {
        let in_range = self.is_in_range(time_us);
        let time_us = if in_range { time_us } else { 0 };
        let start_us = self.pane_start_us(time_us);
        let last_us = self.last_end_us(start_us);
        std::iter::successors(Some(self.first_end_us(start_us)), move |end| Some(self.end_after_us(*end)))
            .take_while(move |end| in_range && *end <= last_us)
    }

    /// End of the first window that ends after `time_us`.
    fn end_after_us(&self, time_us: i64) -> i64 {
        match self {
            Self::Sliding { size_us, slide_us, offset_us, .. } => {
                floor_to(time_us - size_us, *slide_us, *offset_us) + size_us + slide_us
            }
            Self::Cumulating { step_us, offset_us, .. } => floor_to(time_us, *step_us, *offset_us) + step_us,
            Self::Calendar(calendar) => calendar.end_after_us(time_us),
        }
    }

    /// What becomes of a row that came when its partition's watermark stood at `watermark_us`, where a window takes rows
    /// for `lateness_us` longer.
    pub(crate) fn assign(&self, time_us: i64, watermark_us: i64, lateness_us: i64) -> Assignment {
        if !self.is_in_range(time_us) {
            return Assignment::Late;
        }
        let start_us = self.pane_start_us(time_us);
        let (first, last) = (self.first_end_us(start_us), self.last_end_us(start_us));
        if first > last {
            return Assignment::Uncovered;
        }
        let over_us = watermark_us.saturating_sub(lateness_us);
        if last <= over_us {
            return Assignment::Late;
        }
        let end_after = |closed_us: i64| if first > closed_us { first } else { self.end_after_us(closed_us) };
        let first_end_us = end_after(over_us);
        let on_time_end_us = if last > watermark_us { end_after(watermark_us) } else { NEVER_ON_TIME };
        Assignment::Pane(PaneKey { start_us, first_end_us, on_time_end_us })
    }

    /// End of the next window after `closed_us` in whose first result a pane's rows are, if any is left.
    pub(crate) fn next_end_us(&self, pane: PaneKey, closed_us: i64) -> Option<i64> {
        let last_us = self.last_end_us(pane.start_us);
        if pane.on_time_end_us > last_us || closed_us >= last_us {
            return None;
        }
        Some(if pane.on_time_end_us > closed_us { pane.on_time_end_us } else { self.end_after_us(closed_us) })
    }

    /// End of the next window after `settled_us` that a pane's rows correct, if any is left.
    pub(crate) fn next_corrected_end_us(&self, pane: PaneKey, settled_us: i64) -> Option<i64> {
        let last_us = self.last_end_us(pane.start_us).min(pane.on_time_end_us.saturating_sub(1));
        if !pane.is_late() || settled_us >= last_us {
            return None;
        }
        let end_us = if pane.first_end_us > settled_us { pane.first_end_us } else { self.end_after_us(settled_us) };
        (end_us <= last_us).then_some(end_us)
    }

    /// Ends of the windows after `settled_us` that a pane's rows count for, up to `until_us`.
    pub(crate) fn counted_ends_us(&self, pane: PaneKey, settled_us: i64, until_us: i64) -> impl Iterator<Item = i64> {
        let last_us = self.last_end_us(pane.start_us).min(until_us);
        let first_us = match pane.first_end_us > settled_us {
            true => pane.first_end_us,
            false if settled_us >= last_us => i64::MAX,
            false => self.end_after_us(settled_us),
        };
        std::iter::successors(Some(first_us), |end_us| Some(self.end_after_us(*end_us)))
            .take_while(move |end_us| *end_us <= last_us)
    }

    /// Whether a pane's rows are in the first result of the window that ends at `end_us`.
    pub(crate) fn covers(&self, pane: PaneKey, end_us: i64) -> bool {
        pane.on_time_end_us <= end_us && self.counts_for(pane, end_us)
    }

    /// Whether a pane's rows count for the window that ends at `end_us`, in time or late.
    pub(crate) fn counts_for(&self, pane: PaneKey, end_us: i64) -> bool {
        pane.first_end_us <= end_us && pane.start_us >= self.window_start_us(end_us) && pane.start_us < end_us
    }

    /// Start of the first pane of any window that ends after `time_us`.
    pub(crate) fn first_open_pane_us(&self, time_us: i64) -> i64 {
        match self.is_in_range(time_us) {
            true => self.window_start_us(self.end_after_us(time_us)),
            false => i64::MIN,
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

pub(super) fn floor_to(time_us: i64, step_us: i64, offset_us: i64) -> i64 {
    time_us - (time_us - offset_us).rem_euclid(step_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(slide_us: i64, size_us: i64, offset_us: i64) -> Assigner {
        Assigner::new(&Window::Hop { slide_us, size_us, offset_us })
    }

    /// Ends of the windows over a time, by definition.
    fn ends(slide: i64, size: i64, offset: i64, time: i64) -> Vec<i64> {
        (-200..200)
            .map(|n| n * slide + offset)
            .filter(|start| *start <= time && time < start + size)
            .map(|start| start + size)
            .collect()
    }

    #[test]
    fn panes_and_admission_agree_with_the_definition_of_windows() {
        for (slide, size, offset) in [(10, 10, 0), (10, 60, 0), (4, 6, 1), (7, 3, 2), (5, 12, -3), (1, 5, 0)] {
            let assigner = hop(slide, size, offset);
            for time in -30..60 {
                for watermark in [NO, -20, 0, 5, 13, 40, 200] {
                    let expected: Vec<i64> =
                        ends(slide, size, offset, time).into_iter().filter(|end| *end > watermark).collect();
                    let found: Vec<i64> = match assigner.assign(time, watermark, 0) {
                        Assignment::Pane(pane) => (-200..400)
                            .filter(|end| is_end(*end, slide, size, offset) && assigner.covers(pane, *end))
                            .collect(),
                        Assignment::Late => {
                            assert!(!ends(slide, size, offset, time).is_empty());
                            vec![]
                        }
                        Assignment::Uncovered => {
                            assert!(ends(slide, size, offset, time).is_empty());
                            vec![]
                        }
                    };
                    assert_eq!(
                        found, expected,
                        "slide {slide} size {size} offset {offset} time {time} watermark {watermark}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_pane_closes_its_windows_one_after_the_other() {
        let assigner = hop(4, 6, 1);
        for time in 0..20 {
            let Assignment::Pane(pane) = assigner.assign(time, NO, 0) else { panic!("covered") };
            let mut closed = i64::MIN / 2;
            let mut found = vec![];
            while let Some(end) = assigner.next_end_us(pane, closed) {
                found.push(end);
                closed = end;
            }
            assert_eq!(found, ends(4, 6, 1, time), "time {time}");
        }
    }

    #[test]
    fn times_at_the_ends_of_the_range_have_no_windows() {
        for assigner in [hop(10, 10, 0), hop(4, 6, 1), hop(86_400_000_000, 86_400_000_000, -3)] {
            for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
                assert_eq!(assigner.assign(time, NO, 0), Assignment::Late);
                assert_eq!(assigner.ends_us(time).count(), 0);
            }
        }
        // Windows start at …, -3, 1, 5: those that end at 3 and at 7 start at -3 and 1.
        assert_eq!(hop(4, 6, 1).ends_us(2).collect::<Vec<_>>(), [3, 7]);
    }

    #[test]
    fn cumulating_windows_agree_with_their_definition() {
        for (step, size, offset) in [(2, 10, 0), (5, 5, 1), (3, 12, -2)] {
            let assigner = Assigner::new(&Window::Cumulate { step_us: step, size_us: size, offset_us: offset });
            for time in -30..60_i64 {
                let start = (time - offset).div_euclid(size) * size + offset;
                let ends: Vec<i64> = (1..=size / step).map(|n| start + n * step).filter(|end| *end > time).collect();
                assert_eq!(assigner.ends_us(time).collect::<Vec<_>>(), ends);
                assert!(ends.iter().all(|end| assigner.window_start_us(*end) == start));
                for watermark in [NO, -20, 0, 5, 13, 40, 200] {
                    let expected: Vec<i64> = ends.iter().copied().filter(|end| *end > watermark).collect();
                    let found: Vec<i64> = match assigner.assign(time, watermark, 0) {
                        Assignment::Pane(pane) => {
                            let every = (-200..400).filter(|end| (end - offset).rem_euclid(step) == 0);
                            every.filter(|end| assigner.covers(pane, *end)).collect()
                        }
                        _ => vec![],
                    };
                    assert_eq!(
                        found, expected,
                        "step {step} size {size} offset {offset} time {time} watermark {watermark}"
                    );
                }
            }
        }
    }

    #[test]
    fn lateness_adds_windows_that_are_corrected() {
        for (slide, size, offset) in [(10, 10, 0), (10, 60, 0), (4, 6, 1), (7, 3, 2)] {
            let assigner = hop(slide, size, offset);
            for lateness in [1, 7, 25] {
                for time in -30..60 {
                    for watermark in [NO, -20, 0, 5, 13, 40, 200] {
                        let all = ends(slide, size, offset, time).into_iter();
                        let taking: Vec<i64> = all.filter(|end| end.saturating_add(lateness) > watermark).collect();
                        let pane = match assigner.assign(time, watermark, lateness) {
                            Assignment::Pane(pane) => pane,
                            _ => {
                                assert_eq!(taking, Vec::<i64>::new());
                                continue;
                            }
                        };
                        let every = || (-200..400).filter(|end| is_end(*end, slide, size, offset));
                        let counted: Vec<i64> = every().filter(|end| assigner.counts_for(pane, *end)).collect();
                        assert_eq!(counted, taking);
                        assert_eq!(assigner.counted_ends_us(pane, -1_000, 1_000).collect::<Vec<_>>(), taking);
                        let first: Vec<i64> = every().filter(|end| assigner.covers(pane, *end)).collect();
                        assert_eq!(first, taking.iter().copied().filter(|end| *end > watermark).collect::<Vec<_>>());
                        let mut settled = -1_000;
                        let mut corrected = vec![];
                        while let Some(end) = assigner.next_corrected_end_us(pane, settled) {
                            corrected.push(end);
                            settled = end;
                        }
                        assert_eq!(corrected, taking.into_iter().filter(|end| *end <= watermark).collect::<Vec<_>>());
                    }
                }
            }
        }
    }

    const NO: i64 = i64::MIN;

    fn is_end(end: i64, slide: i64, size: i64, offset: i64) -> bool {
        (end - size - offset).rem_euclid(slide) == 0
    }
}
