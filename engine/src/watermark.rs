//! Watermarks: how far event time has got in a partition, a function of its rows alone.

use std::ops::Range;

use arrow::array::{Array, TimestampMicrosecondArray};

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
        let highest_us = match times.null_count() {
            0 => times.values()[rows].iter().copied().max(),
            _ => rows.filter(|row| times.is_valid(*row)).map(|row| times.value(row)).max(),
        };
        if let Some(time_us) = highest_us {
            self.advance_to(time_us.saturating_sub(self.delay_us));
        }
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
