//! The windowed aggregate over all partitions of a stream.
//!
//! [`PartitionWindows`] takes the rows of one partition; partitions run side by side. [`WindowOperator`] closes
//! windows: it puts the partitions' groups together. What is emitted before and after is in `update.rs`.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::interleave;
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::partition::{Openness, PartitionWindows};
use super::store::Selection;

/// A result of a window.
#[derive(Debug)]
pub(crate) struct Closed {
    /// One row per group.
    pub(crate) rows: RecordBatch,
    /// Whether it takes the place of an earlier one: late rows have changed these groups.
    pub(crate) is_correction: bool,
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
}

impl WindowOperator {
    /// What was emitted in an earlier life, up to `position`, is not emitted again.
    pub(crate) fn new(aggregate: Arc<WindowAggregate>, openness: Openness, position: Position) -> Self {
        Self { aggregate, openness, position, looked_us: position.closed_us }
    }

    /// How far windows were closed.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The next result that the watermark lets out: the first one of a window that ends at or before it, or the last one
    /// of a window that late rows have corrected and that takes no more; each in key order. `None` when there is none.
    pub(crate) fn close_next(
        &mut self,
        partitions: &mut [&mut PartitionWindows],
        watermark_us: i64,
    ) -> Result<Option<Closed>> {
        let lateness_us = self.openness.lateness_us;
        let first_us = partitions.iter().filter_map(|p| p.next_end_us(self.position.closed_us)).min();
        let corrected_us = match lateness_us {
            0 => None,
            _ => partitions.iter().filter_map(|p| p.next_corrected_end_us(self.position.settled_us)).min(),
        };
        // In the order of the watermarks that let them out.
        let first = first_us.map(|end_us| (end_us, false));
        let corrected = corrected_us.map(|end_us| (end_us.saturating_add(lateness_us), true));
        let next = first.into_iter().chain(corrected).min().filter(|(due_us, _)| *due_us <= watermark_us);
        let closed = match next {
            None => {
                self.position.advance(watermark_us, watermark_us.saturating_sub(lateness_us));
                None
            }
            Some((end_us, false)) => {
                let groups = partitions.iter_mut().map(|p| p.first_result(end_us)).collect::<Result<_>>()?;
                let rows = self.output(partitions, end_us, groups)?;
                // Corrections that are due at the same time come after it.
                let before_us = end_us.saturating_sub(lateness_us).saturating_sub(i64::from(lateness_us > 0));
                self.position.advance(end_us, before_us);
                Some(Closed { rows, is_correction: false })
            }
            Some((due_us, true)) => {
                let end_us = due_us - lateness_us;
                let rows = self.settled(partitions, end_us)?;
                self.position.advance(i64::MIN, end_us);
                Some(Closed { rows, is_correction: true })
            }
        };
        for partition in partitions.iter_mut() {
            partition.forget(self.position.settled_us);
        }
        Ok(closed)
    }

    /// A window's rows of all partitions, in key order; a key that several have is one group.
    pub(super) fn output(
        &self,
        partitions: &mut [&mut PartitionWindows],
        end_us: i64,
        mut selections: Vec<Selection>,
    ) -> Result<RecordBatch> {
        let merged = merge_partitions(partitions, &mut selections)?;
        let mut columns = Vec::with_capacity(selections.len());
        for (partition, selection) in partitions.iter_mut().zip(&selections) {
            let mut of_partition = partition.store.key_columns(&selection.keys)?;
            of_partition.extend(partition.store.accumulators.evaluate(&selection.slots)?);
            partition.store.accumulators.release(&selection.temporary);
            columns.push(of_partition);
        }
        let rows = merged.as_ref().map_or_else(|| selections.iter().map(|s| s.keys.len()).sum(), Vec::len);
        let mut columns = match merged {
            // All groups are of one partition.
            None => {
                let only = selections.iter().position(|selection| !selection.keys.is_empty()).unwrap_or(0);
                columns.swap_remove(only)
            }
            Some(order) => (0..columns[0].len())
                .map(|at| {
                    let arrays: Vec<&dyn Array> = columns.iter().map(|columns| columns[at].as_ref()).collect();
                    Ok(interleave(&arrays, &order)?)
                })
                .collect::<Result<Vec<_>>>()?,
        };
        let results = columns.split_off(self.aggregate.functions.key_schema().fields().len());
        self.aggregate.output(end_us, rows, &columns, results)
    }
}

/// The order of the groups of all partitions by key, as partition and position; `None` where one partition has them all. A
/// key that several partitions have is added up in the first of them, in partition order.
fn merge_partitions(
    partitions: &mut [&mut PartitionWindows],
    selections: &mut [Selection],
) -> Result<Option<Vec<(usize, usize)>>> {
    if selections.iter().filter(|selection| !selection.keys.is_empty()).count() < 2 {
        return Ok(None);
    }
    let groups = selections.iter().enumerate();
    let groups = groups.flat_map(|(n, selection)| (0..selection.keys.len()).map(move |at| (n, at)));
    let mut groups: Vec<(usize, usize)> = groups.collect();
    let key = |(n, at): (usize, usize)| partitions[n].store.keys.ordered(selections[n].keys[at]);
    // Stable, and quick where runs are sorted already.
    groups.sort_by(|a, b| key(*a).cmp(key(*b)));
    let mut first = groups[0];
    let mut shared: Vec<((usize, usize), (usize, usize))> = Vec::new();
    groups.retain(|group| {
        let is_same = *group != first && key(*group) == key(first);
        match is_same {
            true => shared.push((first, *group)),
            false => first = *group,
        }
        !is_same
    });
    // What is of one partition at once, in partition order.
    shared.sort_by_key(|(into, from)| (from.0, into.0));
    for pairs in shared.chunk_by(|a, b| (a.0.0, a.1.0) == (b.0.0, b.1.0)) {
        let (to, of) = (pairs[0].0.0, pairs[0].1.0);
        let from: Vec<u32> = pairs.iter().map(|(_, from)| selections[of].slots[from.1]).collect();
        let state = partitions[of].store.accumulators.state(&from)?;
        let accumulators = &mut partitions[to].store.accumulators;
        let (own, made): (Vec<u32>, Vec<u32>) =
            pairs.iter().map(|(into, _)| (selections[to].slots[into.1], accumulators.allocate())).unzip();
        accumulators.combine(&made, &own)?;
        accumulators.merge(&made, &state)?;
        for ((into, _), made) in pairs.iter().zip(&made) {
            selections[to].slots[into.1] = *made;
        }
        selections[to].temporary.extend(made);
    }
    Ok(Some(groups))
}
