//! What a partition has to store at a checkpoint, and how it goes on from what was stored.
//!
//! A checkpoint takes the groups that have changed since the last one that was stored, and nothing of the others: what it
//! costs the rows that wait for it depends on the rows before it, not on the size of the state. (Of a pane that had rows it
//! looks at the slot of each group.) What was taken counts as stored once the caller says so; until then no other checkpoint
//! takes anything, and if it could not be stored the next one takes it again.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::assign::PaneKey;
use super::groups::Groups;
use super::pane::Pane;
use super::partition::PartitionWindows;

/// What a snapshot stores of a partition: the groups that have changed since the snapshot before it.
#[derive(Debug, Clone)]
pub(crate) struct PartitionState {
    /// First offset that is not in it.
    pub(crate) next_offset: u64,
    /// That of the state that it adds to; `None` where it has all groups.
    pub(crate) after: Option<u64>,
    /// The watermark.
    pub(crate) watermark_us: i64,
    /// All open panes, each with the groups that have changed, in any number of tables. One that is missing is closed: as
    /// its rows would be late, it does not come again.
    pub(crate) panes: BTreeMap<PaneKey, Vec<RecordBatch>>,
}

impl PartitionState {
    /// Number of groups that it stores.
    pub(crate) fn groups(&self) -> usize {
        self.panes.values().flatten().map(RecordBatch::num_rows).sum()
    }
}

impl PartitionWindows {
    /// What has changed since the last state that was stored, when the partition stands at a checkpoint offset. It is
    /// [stored](Self::stored) after that, or [not](Self::not_stored); while that is open, a checkpoint takes nothing.
    pub(crate) fn checkpoint(&mut self) -> Result<Option<PartitionState>> {
        if self.next_offset() < self.next_checkpoint {
            return Ok(None);
        }
        self.await_checkpoint();
        if self.changes.are_taken() {
            return Ok(None);
        }
        self.changes.take();
        let mut panes = BTreeMap::new();
        for (key, pane) in &mut self.panes {
            let (keys, slots) = match std::mem::take(&mut pane.has_changed) {
                true => pane.groups.of_slots(|slot| self.changes.is_taken(slot)),
                false => Default::default(),
            };
            let changed =
                if keys.is_empty() { None } else { Some(self.store.state(&self.aggregate, &keys, &slots)?) };
            panes.insert(*key, changed.into_iter().collect());
        }
        Ok(Some(PartitionState {
            next_offset: self.next_offset(),
            after: self.stored_offset,
            watermark_us: self.watermark.current_us(),
            panes,
        }))
    }

    /// The state up to an offset, which a checkpoint took, is stored: the next one adds to it.
    pub(crate) fn stored(&mut self, next_offset: u64) {
        self.changes.stored();
        self.stored_offset = Some(next_offset);
    }

    /// What the last checkpoint took was not stored: the next one takes it again.
    pub(crate) fn not_stored(&mut self) {
        self.changes.give_back();
        self.panes.values_mut().for_each(|pane| pane.has_changed = true);
    }

    /// What is stored cannot be added to: the next checkpoint takes all groups.
    pub(crate) fn store_all(&mut self) {
        self.stored_offset = None;
        for pane in self.panes.values_mut() {
            pane.has_changed = true;
            self.changes.mark(&pane.groups.of_slots(|_| true).1);
        }
    }

    /// Goes on from states that follow each other, the newest first.
    pub(crate) fn restore(&mut self, states: Vec<PartitionState>) -> Result<()> {
        let Some(newest) = states.first() else { return Ok(()) };
        self.watermark.advance_to(newest.watermark_us);
        self.skip_to(newest.next_offset);
        self.stored_offset = Some(newest.next_offset);
        self.await_checkpoint();
        for key in newest.panes.keys() {
            self.panes.insert(*key, Pane::new(Groups::default(), self.openness.is_watched(*key)));
        }
        for state in states {
            for (key, tables) in state.panes {
                let Some(pane) = self.panes.get_mut(&key) else { continue };
                tables.iter().try_for_each(|table| self.store.restore(&mut pane.groups, table))?;
            }
        }
        self.late = self.panes.keys().copied().filter(PaneKey::is_late).collect();
        Ok(())
    }

    /// The next checkpoint is as many rows ahead as between all of them: the rows alone determine where they are.
    fn await_checkpoint(&mut self) {
        self.next_checkpoint = self.next_offset().saturating_add(self.checkpoint_rows);
    }

    /// All groups, as one state.
    #[cfg(test)]
    pub(crate) fn whole_state(&mut self) -> Result<PartitionState> {
        let mut panes = BTreeMap::new();
        for (key, pane) in &self.panes {
            let (keys, slots) = pane.groups.of_slots(|_| true);
            panes.insert(*key, vec![self.store.state(&self.aggregate, &keys, &slots)?]);
        }
        let (next_offset, watermark_us) = (self.next_offset(), self.watermark.current_us());
        Ok(PartitionState { next_offset, after: None, watermark_us, panes })
    }
}
