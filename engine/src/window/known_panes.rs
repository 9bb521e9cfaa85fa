//! The panes over a stretch of event time: which of them a time lies in is found without a branch that depends on it, and
//! without a division.

use super::assign::Assigner;

/// Stands for no pane.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Neighbouring panes from a start on, and the number that each was given, if any.
#[derive(Debug)]
pub(super) struct KnownPanes {
    start_us: i64,
    /// Times whose distances from the start differ in so many of the last bits only are of one bucket. A bucket is no longer
    /// than any pane: it reaches into two at most.
    bucket_bits: u32,
    /// Of each bucket, the pane that it begins in.
    first_panes: Vec<u32>,
    ends_us: Vec<i64>,
    /// Of each pane its number. One more than there are panes: behind the last one nothing is known.
    numbers: Vec<u32>,
}

impl KnownPanes {
    /// The panes from that of `from_us` to that of `to_us`, as far as there are at most `most`. Windows over these times have
    /// borders that fit into 64 bits. None has a number.
    pub(super) fn over(assigner: &Assigner, (from_us, to_us): (i64, i64), most: usize) -> Self {
        let start_us = assigner.pane_start_us(from_us);
        let ends = std::iter::successors(Some(start_us), |end_us| Some(assigner.pane_end_us(*end_us)));
        let mut last_us = start_us;
        let mut shortest_us = u64::MAX;
        let mut ends_us = Vec::new();
        for end_us in ends.skip(1).take(most) {
            shortest_us = shortest_us.min(last_us.abs_diff(end_us));
            ends_us.push(end_us);
            last_us = end_us;
            if end_us > to_us {
                break;
            }
        }
        let bucket_bits = shortest_us.ilog2();
        let mut first_panes = Vec::new();
        for (pane, end_us) in (0..).zip(&ends_us) {
            let buckets = (end_us.abs_diff(start_us) - 1) >> bucket_bits;
            first_panes.resize(buckets as usize + 1, pane);
        }
        Self { start_us, bucket_bits, first_panes, numbers: vec![UNKNOWN; ends_us.len() + 1], ends_us }
    }

    /// How many panes there are.
    pub(super) fn len(&self) -> usize {
        self.ends_us.len()
    }

    /// The number of the pane that a time lies in; [`UNKNOWN`] where it has none.
    pub(super) fn number(&self, time_us: i64) -> u32 {
        self.place(time_us).map_or(UNKNOWN, |pane| self.numbers[pane])
    }

    /// Which of the panes a time lies in.
    pub(super) fn pane(&self, time_us: i64) -> Option<usize> {
        self.place(time_us).filter(|pane| *pane < self.len())
    }

    /// Gives a pane a number.
    pub(super) fn know(&mut self, pane: usize, number: u32) {
        self.numbers[pane] = number;
    }

    /// As [`pane`](Self::pane), or one more than there are.
    fn place(&self, time_us: i64) -> Option<usize> {
        // A time before the start is further away than any bucket.
        let distance_us = time_us.wrapping_sub(self.start_us) as u64;
        let bucket = usize::try_from(distance_us >> self.bucket_bits).ok()?;
        let first = *self.first_panes.get(bucket)? as usize;
        Some(first + usize::from(time_us >= self.ends_us[first]))
    }
}
