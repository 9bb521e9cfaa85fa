//! The windowed aggregate over all partitions of a stream.
//!
//! [`PartitionWindows`] takes the rows of one partition; partitions run side by side. [`WindowOperator`] closes
//! windows: it puts the partitions' groups together. What is emitted before and after is in `update.rs`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave;
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::partition::{Openness, PartitionWindows};
use super::ranks::Ranks;
use super::store::Selection;

/// Results of windows.
#[derive(Debug)]
pub(crate) struct Closed {
    /// One row per group, window by window.
    pub(crate) rows: RecordBatch,
    /// How many rows each window has.
    pub(crate) groups: Vec<usize>,
    /// Whether it takes the place of an earlier one: late rows have changed these groups.
    pub(crate) is_correction: bool,
}

impl Closed {
    fn one(rows: RecordBatch, is_correction: bool) -> Self {
        Self { groups: vec![rows.num_rows()], rows, is_correction }
    }
}

/// A result that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The first one of the window that ends there.
    First { end_us: i64 },
    /// The last one, after corrections.
    Last { end_us: i64 },
}

/// What one partition has of a window's result.
#[derive(Debug)]
pub(crate) struct Part {
    pub(super) selection: Selection,
    /// Keys and results.
    pub(super) columns: Vec<ArrayRef>,
}

impl Part {
    fn len(&self) -> usize {
        self.selection.keys.len()
    }
}

/// How far windows were closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Windows that end here or before have had their first result.
    pub(crate) closed_us: i64,
    /// Windows that end here or before take no rows any more.
    pub(crate) settled_us: i64,
}

impl Position {
    fn advance(&mut self, closed_us: i64, settled_us: i64) {
        self.closed_us = self.closed_us.max(closed_us);
        self.settled_us = self.settled_us.max(settled_us);
    }
}

/// Closes windows over all partitions.
#[derive(Debug)]
pub(crate) struct WindowOperator {
    pub(super) aggregate: Arc<WindowAggregate>,
    pub(super) openness: Openness,
    pub(super) position: Position,
    /// What was closed when changes were last looked for.
    pub(super) looked_us: i64,
    ranks: Ranks,
}

impl WindowOperator {
    /// What was emitted in an earlier life, up to `position`, is not emitted again.
    pub(crate) fn new(aggregate: Arc<WindowAggregate>, openness: Openness, position: Position) -> Self {
        Self { aggregate, openness, position, looked_us: position.closed_us, ranks: Ranks::default() }
    }

    /// How far windows were closed.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The next result that the watermark lets out; `None` when there is none.
    #[cfg(test)]
    pub(crate) fn close_next(
        &mut self,
        partitions: &mut [&mut PartitionWindows],
        watermark_us: i64,
    ) -> Result<Option<Closed>> {
        match self.next_due(partitions, watermark_us) {
            None => Ok(None),
            Some(Due::First { end_us }) => {
                let parts = partitions.iter_mut().map(|partition| partition.first_part(end_us));
                let parts = parts.collect::<Result<_>>()?;
                let closed = self.close_first(partitions, end_us, parts)?;
                self.forget(partitions);
                Ok(Some(closed))
            }
            Some(Due::Last { end_us }) => self.close_last(partitions, end_us).map(Some),
        }
    }

    /// Ends of the windows whose first results the watermark lets out next, at most `most`, if partitions can make their parts of
    /// all of them, and forget them, before any is put together: no key is in several partitions, no result is corrected, and
    /// the order of the keys is known.
    pub(crate) fn due_together(
        &self,
        partitions: &[&mut PartitionWindows],
        watermark_us: i64,
        most: usize,
    ) -> Vec<i64> {
        if self.openness.lateness_us > 0 || !self.ranks.tell_apart(partitions) {
            return Vec::new();
        }
        let next = |closed_us: i64| partitions.iter().filter_map(|p| p.next_end_us(closed_us)).min();
        let ends = std::iter::successors(next(self.position.closed_us), |end_us| next(*end_us));
        ends.take_while(|end_us| *end_us <= watermark_us).take(most).collect()
    }

    /// What the watermark lets out next: the first result of a window that ends at or before it, or the last one of a window
    /// that late rows have corrected and that takes no more. When there is none, all windows up to it are closed.
    pub(crate) fn next_due(&mut self, partitions: &mut [&mut PartitionWindows], watermark_us: i64) -> Option<Due> {
        let lateness_us = self.openness.lateness_us;
        let first_us = partitions.iter().filter_map(|p| p.next_end_us(self.position.closed_us)).min();
        let corrected_us = match lateness_us {
            0 => None,
            _ => partitions.iter().filter_map(|p| p.next_corrected_end_us(self.position.settled_us)).min(),
        };
        // In the order of the watermarks that let them out.
        let first = first_us.map(|end_us| (end_us, Due::First { end_us }));
        let corrected = corrected_us.map(|end_us| (end_us.saturating_add(lateness_us), Due::Last { end_us }));
        let next = first.into_iter().chain(corrected).min().filter(|(due_us, _)| *due_us <= watermark_us);
        if next.is_none() {
            self.position.advance(watermark_us, watermark_us.saturating_sub(lateness_us));
            self.forget(partitions);
        }
        next.map(|(_, due)| due)
    }

    /// The first result of a window, of what [each partition has](PartitionWindows::first_part) of it. What is over with it is
    /// held until [`forget`](Self::forget).
    pub(crate) fn close_first(
        &mut self,
        partitions: &mut [&mut PartitionWindows],
        end_us: i64,
        parts: Vec<Part>,
    ) -> Result<Closed> {
        let rows = self.output(partitions, end_us, parts)?;
        // Corrections that are due at the same time come after it.
        let lateness_us = self.openness.lateness_us;
        let before_us = end_us.saturating_sub(lateness_us).saturating_sub(i64::from(lateness_us > 0));
        self.position.advance(end_us, before_us);
        Ok(Closed::one(rows, false))
    }

    /// Windows that are [due together](Self::due_together) are closed, once partitions have made
    /// [their parts](PartitionWindows::first_parts) of all of them.
    pub(crate) fn pass_together(&mut self, ends_us: &[i64]) {
        ends_us.iter().for_each(|end_us| self.position.advance(*end_us, *end_us));
    }

    /// The first results of windows that were closed together, of the parts that each partition has made.
    pub(crate) fn put_together(&self, ends_us: &[i64], parts: Vec<Vec<Part>>) -> Result<Closed> {
        let mut order: Vec<Group> = Vec::new();
        let mut groups = Vec::with_capacity(ends_us.len());
        let mut ranked: Vec<(u32, Group)> = Vec::new();
        for window in 0..ends_us.len() {
            ranked.clear();
            for (n, parts) in parts.iter().enumerate() {
                let part = n * ends_us.len() + window;
                let keys = parts[window].selection.keys.iter().enumerate();
                ranked.extend(keys.map(|(at, key)| (self.ranks.rank(n, *key), (part, at))));
            }
            // Each partition's are in order already, which a stable sort makes use of.
            ranked.sort_by_key(|(rank, _)| *rank);
            order.extend(ranked.iter().map(|(_, group)| *group));
            groups.push(ranked.len());
        }
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let columns = interleaved(&parts, &order)?;
        let rows = self.rows(ends_us.iter().copied().zip(groups.iter().copied()), columns)?;
        Ok(Closed { rows, groups, is_correction: false })
    }

    /// The last result of a window that late rows have corrected.
    pub(crate) fn close_last(&mut self, partitions: &mut [&mut PartitionWindows], end_us: i64) -> Result<Closed> {
        let rows = self.settled(partitions, end_us)?;
        self.position.advance(i64::MIN, end_us);
        self.forget(partitions);
        Ok(Closed::one(rows, true))
    }

    /// Lets go of what no window needs any more.
    pub(crate) fn forget(&self, partitions: &mut [&mut PartitionWindows]) {
        partitions.iter_mut().for_each(|partition| partition.forget(self.position.settled_us));
    }

    /// A window's rows of all partitions, in key order; a key that several partitions have is one group.
    pub(super) fn output(
        &mut self,
        partitions: &mut [&mut PartitionWindows],
        end_us: i64,
        mut parts: Vec<Part>,
    ) -> Result<RecordBatch> {
        let order = merge_partitions(partitions, &mut parts, &mut self.ranks)?;
        for (partition, part) in partitions.iter_mut().zip(&parts) {
            partition.store.accumulators.release(&part.selection.temporary);
        }
        let mut with_groups = (0..parts.len()).filter(|part| parts[*part].len() > 0);
        let columns = match (with_groups.next(), with_groups.next()) {
            // In their order already.
            (only, None) => parts.swap_remove(only.unwrap_or(0)).columns,
            _ => interleaved(&parts, &order)?,
        };
        self.rows(std::iter::once((end_us, order.len())), columns)
    }

    /// Keys and results as rows; of each window its end and how many of them it has.
    fn rows(&self, windows: impl Iterator<Item = (i64, usize)>, mut columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let results = columns.split_off(self.aggregate.functions.key_schema().fields().len());
        self.aggregate.output(windows, &columns, results)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.ranks.bytes()
    }
}

/// The columns of parts, with their rows in an order.
fn interleaved(parts: &[Part], order: &[Group]) -> Result<Vec<ArrayRef>> {
    let column = |at: usize| {
        let arrays: Vec<&dyn Array> = parts.iter().map(|part| part.columns[at].as_ref()).collect();
        Ok(interleave(&arrays, order)?)
    };
    (0..parts[0].columns.len()).map(column).collect()
}

/// The order of a window's groups by key. A key that several partitions have is added up in the first of them, in partition
/// order.
fn merge_partitions(
    partitions: &mut [&mut PartitionWindows],
    parts: &mut [Part],
    ranks: &mut Ranks,
) -> Result<Vec<Group>> {
    let groups = parts.iter().enumerate().flat_map(|(n, part)| (0..part.len()).map(move |at| (n, at)));
    let mut groups: Vec<Group> = groups.collect();
    if parts.iter().filter(|part| part.len() > 0).count() < 2 {
        return Ok(groups);
    }
    // Stable, and quick where runs are sorted already.
    let shared = match ranks.know(partitions, groups.len()) {
        true => {
            let rank = |(n, at): Group| ranks.rank(n, parts[n].selection.keys[at]);
            groups.sort_by_key(|group| rank(*group));
            take_shared(&mut groups, |a, b| rank(a) == rank(b))
        }
        false => {
            let key = |(n, at): Group| partitions[n].store.keys.ordered(parts[n].selection.keys[at]);
            groups.sort_by(|a, b| key(*a).cmp(key(*b)));
            take_shared(&mut groups, |a, b| key(a) == key(b))
        }
    };
    // What is of one partition at once, in partition order.
    for pairs in shared.chunk_by(|a, b| (a.0.0, a.1.0) == (b.0.0, b.1.0)) {
        let (to, of) = (pairs[0].0.0, pairs[0].1.0);
        let from: Vec<u32> = pairs.iter().map(|(_, from)| parts[of].selection.slots[from.1]).collect();
        let state = partitions[of].store.accumulators.state(&from)?;
        let accumulators = &mut partitions[to].store.accumulators;
        let (own, made): (Vec<u32>, Vec<u32>) =
            pairs.iter().map(|(into, _)| (parts[to].selection.slots[into.1], accumulators.allocate())).unzip();
        accumulators.combine(&made, &own)?;
        accumulators.merge(&made, &state)?;
        for ((into, _), made) in pairs.iter().zip(&made) {
            parts[to].selection.slots[into.1] = *made;
        }
        parts[to].selection.temporary.extend(made);
    }
    let mut changed: Vec<usize> = shared.iter().map(|(into, _)| into.0).collect();
    changed.sort_unstable();
    changed.dedup();
    for n in changed {
        parts[n].columns = partitions[n].columns_of(&parts[n].selection)?;
    }
    Ok(groups)
}

/// A group as its part, and its position there.
type Group = (usize, usize);

/// Takes out the groups that are the same as one before them; each is returned behind that one, first those that go into the
/// same partition from the same one.
fn take_shared(groups: &mut Vec<Group>, is_same: impl Fn(Group, Group) -> bool) -> Vec<(Group, Group)> {
    let mut first = groups[0];
    let mut shared: Vec<(Group, Group)> = Vec::new();
    groups.retain(|group| {
        let is_shared = *group != first && is_same(*group, first);
        match is_shared {
            true => shared.push((first, *group)),
            false => first = *group,
        }
        !is_shared
    });
    shared.sort_by_key(|(into, from)| (from.0, into.0));
    shared
}
