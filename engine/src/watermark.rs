//! Watermarks: how far event time has got in a partition, a function of its rows alone.

use std::ops::Range;

use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::compute::{max, min};

/// The watermark of a partition that has no rows yet.
pub(crate) const NO_WATERMARK: i64 = i64::MIN;

/// One partition's watermark: the highest event time at a fixed distance, or a journaled decision that is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermark {
    delay_us: i64,
    current_us: i64,
}

impl Watermark {
    /// The watermark of a partition without rows.
    pub(crate) fn new(delay_us: i64) -> Self {
        Self { delay_us, current_us: NO_WATERMARK }
    }

    /// Where it stands, in microseconds since the epoch.
    pub(crate) fn current_us(&self) -> i64 {
        self.current_us
    }

    /// Moves it at least to a journaled position.
    pub(crate) fn advance_to(&mut self, watermark_us: i64) {
        self.current_us = self.current_us.max(watermark_us);
    }

    /// Takes the next rows of the partition, which are `rows` of these.
    pub(crate) fn pass(&mut self, times: &TimestampMicrosecondArray, rows: Range<usize>) {
        let latest_us = match times.null_count() {
            0 => times.values()[rows].iter().copied().max(),
            _ => rows.filter(|row| times.is_valid(*row)).map(|row| times.value(row)).max(),
        };
        if let Some(time_us) = latest_us {
            self.pass_time(time_us);
        }
    }

    /// Takes the next rows of the partition, of which this is the latest time.
    pub(crate) fn pass_time(&mut self, time_us: i64) {
        self.advance_to(time_us.saturating_sub(self.delay_us));
    }

    /// Takes the next rows of the partition. The answer has, for each row, the watermark that the rows before it had
    /// made. A row without event time moves nothing.
    pub(crate) fn observe(&mut self, times: &TimestampMicrosecondArray) -> Vec<i64> {
        let mut before = Vec::with_capacity(times.len());
        let mut current = self.current_us;
        if times.null_count() == 0 {
            for time in times.values() {
                before.push(current);
                current = current.max(time.saturating_sub(self.delay_us));
            }
        } else {
            for time in times {
                before.push(current);
                if let Some(time) = time {
                    current = current.max(time.saturating_sub(self.delay_us));
                }
            }
        }
        self.current_us = current;
        before
    }
}

/// The earliest and the latest of times; `None` where there are none.
pub(crate) fn bounds_us(times: &TimestampMicrosecondArray) -> Option<(i64, i64)> {
    if times.null_count() > 0 {
        return min(times).zip(max(times));
    }
    // Several at once, each of which would wait for the one before it.
    let (chunks, rest) = times.values().as_chunks::<8>();
    let mut lanes = [(i64::MAX, i64::MIN); 8];
    for chunk in chunks {
        lanes = std::array::from_fn(|lane| (lanes[lane].0.min(chunk[lane]), lanes[lane].1.max(chunk[lane])));
    }
    let all = lanes.into_iter().chain(rest.iter().map(|time_us| (*time_us, *time_us)));
    let (least_us, most_us) = all.fold((i64::MAX, i64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    (!times.is_empty()).then_some((least_us, most_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sees_only_the_rows_before_it() {
        let mut watermark = Watermark::new(2);
        assert_eq!(watermark.observe(&vec![10, 5, 20].into()), [NO_WATERMARK, 8, 8]);
        assert_eq!(watermark.current_us(), 18);
    }

    #[test]
    fn any_split_gives_the_same_watermarks() {
        let times = [10, 30, 20, 25, 90, 10, 95];
        let whole = Watermark::new(5).observe(&times.to_vec().into());
        for cut in 0..=times.len() {
            let mut watermark = Watermark::new(5);
            let mut parts = watermark.observe(&times[..cut].to_vec().into());
            parts.extend(watermark.observe(&times[cut..].to_vec().into()));
            assert_eq!(parts, whole, "cut at {cut}");
            let mut passing = Watermark::new(5);
            let all = times.to_vec().into();
            passing.pass(&all, 0..cut);
            passing.pass(&all, cut..times.len());
            assert_eq!(passing, watermark);
        }
    }

    #[test]
    fn bounds_are_those_of_all_times() {
        let times: Vec<i64> = (0..30_i64).map(|n| (n * 7919) % 101 - 50).collect();
        for len in 0..times.len() {
            let of_times = bounds_us(&times[..len].to_vec().into());
            assert_eq!(of_times, times[..len].iter().copied().min().zip(times[..len].iter().copied().max()));
        }
        assert_eq!(bounds_us(&vec![None, Some(3), None, Some(-2)].into()), Some((-2, 3)));
        assert_eq!(bounds_us(&vec![None; 9].into()), None);
    }

    #[test]
    fn a_row_without_time_moves_nothing() {
        let mut watermark = Watermark::new(0);
        assert_eq!(watermark.observe(&vec![Some(3), None, Some(4)].into()), [NO_WATERMARK, 3, 3]);
        assert_eq!(watermark.current_us(), 4);
    }

    #[test]
    fn a_decision_moves_it_forwards_only() {
        let mut watermark = Watermark::new(0);
        watermark.observe(&vec![7].into());
        watermark.advance_to(5);
        assert_eq!(watermark.current_us(), 7);
        watermark.advance_to(9);
        assert_eq!(watermark.current_us(), 9);
    }
}
