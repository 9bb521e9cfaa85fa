//! Results that take the place of earlier ones: those of windows that are not closed yet, and of closed windows that late
//! rows have changed.
//!
//! Which of them are emitted depends on when rows arrive. The last one of a window does not: it is emitted when the window
//! takes no more rows, from panes that are complete.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::assign::PaneKey;
use super::operator::WindowOperator;
use super::partition::{PartitionWindows, Previews};

/// The keys of groups that have changed, as bytes of a key table, by the ends of the windows they count for.
type Changes = BTreeMap<i64, Keys>;
type Keys = BTreeSet<Box<[u8]>>;

impl PartitionWindows {
    /// End of the next window after `settled_us` that late rows have corrected.
    pub(super) fn next_corrected_end_us(&self, settled_us: i64) -> Option<i64> {
        let assigner = &self.aggregate().assigner;
        self.late.iter().filter_map(|key| assigner.next_corrected_end_us(*key, settled_us)).min()
    }

    /// What has changed so far was emitted in an earlier life.
    pub(crate) fn forget_changes(&mut self) {
        for pane in self.panes.values_mut() {
            pane.take_changed();
        }
    }

    fn add_keys(&self, numbers: &[u32], keys: &mut Keys) {
        keys.extend(numbers.iter().map(|number| Box::from(self.store.keys.ordered(*number))));
    }
}

impl WindowOperator {
    /// The groups that rows have changed since this was last asked: of windows that are closed and still take rows, and
    /// of those that are not closed where that is wanted. One batch per window, by its end.
    pub(crate) fn changed(&mut self, partitions: &mut [&mut PartitionWindows]) -> Result<Vec<RecordBatch>> {
        let changes = self.changes(partitions);
        changes.into_iter().map(|(end_us, keys)| self.of_keys(partitions, end_us, &keys)).collect()
    }

    fn changes(&mut self, partitions: &mut [&mut PartitionWindows]) -> Changes {
        let mut changes = Changes::new();
        if self.openness.previews == Previews::None {
            return changes;
        }
        let (closed_us, settled_us) = (self.position.closed_us, self.position.settled_us);
        let until_us = if self.openness.previews == Previews::All { i64::MAX } else { closed_us };
        for partition in partitions.iter_mut() {
            let seen: Vec<PaneKey> = match self.openness.previews {
                Previews::All => partition.panes.keys().copied().collect(),
                _ => partition.late.iter().copied().collect(),
            };
            for key in &seen {
                let pane = partition.panes.get_mut(key).expect("listed above");
                let fresh = pane.take_changed();
                // Rows that came before the window was closed elsewhere, and were late by their own partition.
                let is_news = |end_us: i64| {
                    let closed_now = end_us > self.looked_us && end_us <= closed_us;
                    closed_now && key.is_late() && end_us < key.on_time_end_us
                };
                if fresh.is_empty() && (!key.is_late() || self.looked_us == closed_us) {
                    continue;
                }
                let all: Vec<u32> = partition.panes[key].groups.iter().map(|(key, _)| key).collect();
                for end_us in self.aggregate.assigner.counted_ends_us(*key, settled_us, until_us) {
                    let changed = if is_news(end_us) { &all } else { &fresh };
                    if !changed.is_empty() {
                        partition.add_keys(changed, changes.entry(end_us).or_default());
                    }
                }
            }
        }
        self.looked_us = closed_us;
        changes
    }

    /// The last result of a window for the groups that late rows have changed: all its panes are complete.
    pub(super) fn settled(&mut self, partitions: &mut [&mut PartitionWindows], end_us: i64) -> Result<RecordBatch> {
        let mut keys = Keys::new();
        for partition in partitions.iter() {
            partition.add_keys(&partition.corrected_keys(end_us), &mut keys);
        }
        self.of_keys(partitions, end_us, &keys)
    }

    /// A window's present result for the groups of these keys.
    fn of_keys(&mut self, partitions: &mut [&mut PartitionWindows], end_us: i64, keys: &Keys) -> Result<RecordBatch> {
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions.iter_mut() {
            let wanted: Vec<u32> = keys.iter().filter_map(|key| partition.store.keys.find(key)).collect();
            parts.push(partition.present_part(end_us, wanted)?);
        }
        self.output(partitions, end_us, parts)
    }
}
