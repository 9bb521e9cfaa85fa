//! Results that take the place of earlier ones: those of windows that are not closed yet, and of closed windows that late
//! rows have changed.
//!
//! Which of them are emitted depends on when rows arrive. The last one of a window does not: it is emitted when the window
//! takes no more rows, from panes that are complete.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use datafusion::error::Result;

use super::assign::PaneKey;
use super::groups::Groups;
use super::operator::{PartitionWindows, Previews, WindowOperator};

/// The states of the groups that have changed, by the ends of the windows they count for.
type Changes = BTreeMap<i64, Vec<RecordBatch>>;

impl PartitionWindows {
    /// End of the next window after `settled_us` that late rows have corrected.
    pub(super) fn next_corrected_end_us(&self, settled_us: i64) -> Option<i64> {
        let assigner = &self.aggregate().assigner;
        self.late.iter().filter_map(|key| assigner.next_corrected_end_us(*key, settled_us)).min()
    }

    /// The panes that count for the window that ends at `end_us`, in order, those of late rows among them.
    fn counting(&self, end_us: i64) -> Vec<PaneKey> {
        let assigner = &self.aggregate().assigner;
        self.panes_of(end_us).filter(|key| assigner.counts_for(*key, end_us)).collect()
    }

    /// What has changed so far was emitted in an earlier life.
    pub(crate) fn forget_changes(&mut self) -> Result<()> {
        let aggregate = self.shared_aggregate();
        self.panes.values_mut().try_for_each(|pane| pane.take_fresh(&aggregate).map(|_| ()))
    }
}

impl WindowOperator {
    /// The groups that rows have changed since this was last asked: of windows that are closed and still take rows, and
    /// of those that are not closed where that is wanted. One batch per window, by its end.
    pub(crate) fn changed(&mut self, partitions: &mut [&mut PartitionWindows]) -> Result<Vec<RecordBatch>> {
        let changes = self.changes(partitions)?;
        let looked = |(end_us, changed): (i64, Vec<RecordBatch>)| {
            self.of_groups(partitions, end_us, &changed, |n, key, partitions| {
                let aggregate = partitions[n].shared_aggregate();
                let pane = partitions[n].panes.get_mut(&key).expect("listed before");
                pane.look(&aggregate).cloned()
            })
        };
        changes.into_iter().map(looked).collect()
    }

    fn changes(&mut self, partitions: &mut [&mut PartitionWindows]) -> Result<Changes> {
        let mut changes = Changes::new();
        if self.openness.previews == Previews::None {
            return Ok(changes);
        }
        let aggregate = &self.aggregate;
        let (closed_us, settled_us) = (self.position.closed_us, self.position.settled_us);
        let until_us = if self.openness.previews == Previews::All { i64::MAX } else { closed_us };
        for partition in partitions.iter_mut() {
            let seen: Vec<PaneKey> = match self.openness.previews {
                Previews::All => partition.panes.keys().copied().collect(),
                _ => partition.late.iter().copied().collect(),
            };
            for key in &seen {
                let pane = partition.panes.get_mut(key).expect("listed above");
                let fresh = pane.take_fresh(aggregate)?;
                // Rows that came before the window was closed elsewhere, and were late by their own partition.
                let is_news = |end_us: i64| {
                    let closed_now = end_us > self.looked_us && end_us <= closed_us;
                    closed_now && key.is_late() && end_us < key.on_time_end_us
                };
                if fresh.is_none() && (!key.is_late() || self.looked_us == closed_us) {
                    continue;
                }
                for end_us in aggregate.assigner.counted_ends_us(*key, settled_us, until_us) {
                    let changed = match is_news(end_us) {
                        true => Some(pane.look(aggregate)?.clone()),
                        false => fresh.clone(),
                    };
                    if let Some(changed) = changed {
                        changes.entry(end_us).or_default().push(changed);
                    }
                }
            }
        }
        self.looked_us = closed_us;
        Ok(changes)
    }

    /// The last result of a window for the groups that late rows have changed: all its panes are complete.
    pub(super) fn settled(&self, partitions: &mut [&mut PartitionWindows], end_us: i64) -> Result<RecordBatch> {
        let mut changed = Vec::new();
        for partition in partitions.iter_mut() {
            let late = partition.counting(end_us).into_iter().filter(|key| key.on_time_end_us > end_us);
            for key in late.collect::<Vec<_>>() {
                let pane = partition.panes.get_mut(&key).expect("listed above");
                changed.push(pane.cut(&self.aggregate)?.clone());
            }
        }
        self.of_groups(partitions, end_us, &changed, |n, key, partitions| {
            let aggregate = partitions[n].shared_aggregate();
            partitions[n].panes.get_mut(&key).expect("listed before").cut(&aggregate).cloned()
        })
    }

    /// A window's result for the groups whose keys are in `changed`; `state` gives that of a pane.
    fn of_groups(
        &self,
        partitions: &mut [&mut PartitionWindows],
        end_us: i64,
        changed: &[RecordBatch],
        state: impl Fn(usize, PaneKey, &mut [&mut PartitionWindows]) -> Result<RecordBatch>,
    ) -> Result<RecordBatch> {
        let aggregate = &self.aggregate;
        let has_keys = !aggregate.key_schema().fields().is_empty();
        let mut wanted = Groups::new(aggregate)?;
        for changed in changed {
            wanted.are_among(aggregate, changed, 0)?;
        }
        let count = wanted.len();
        let mut groups = Groups::new(aggregate)?;
        for n in 0..partitions.len() {
            for key in partitions[n].counting(end_us) {
                let mut state = state(n, key, partitions)?;
                if has_keys {
                    state = filter_record_batch(&state, &wanted.are_among(aggregate, &state, count)?)?;
                }
                groups.merge(aggregate, &state)?;
            }
        }
        self.output(end_us, groups)
    }
}
