//! One partition's open panes: takes its rows, and gives the groups of a window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray, UInt32Array};
use datafusion::error::Result;

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::blocks::Blocks;
use super::groups::Groups;
use super::operator::Part;
use super::pane::Pane;
use super::sort_rows::{self, LateRow, RowsByPane, sort_rows};
use super::store::{Selection, Store};
use crate::keyed::Changes;
use crate::keyed::KeyedRows;
use crate::watermark::{Watermark, bounds_us};

/// Rows of a partition between two checkpoints: about how many are read again after a crash.
const CHECKPOINT_ROWS: u64 = 1 << 20;

/// Groups that may have changed between two checkpoints: the rows behind a checkpoint wait while they are copied.
const CHECKPOINT_GROUPS: u64 = 1 << 18;

/// How long windows take rows, and what can be seen of them meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Openness {
    /// For so long after its end, by the watermark, a window takes rows and is corrected.
    pub(crate) lateness_us: i64,
    /// What is looked at before it is complete.
    pub(crate) previews: Previews,
}

/// Panes that are looked at before they are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Previews {
    #[default]
    None,
    /// Those whose rows correct closed windows.
    Late,
    /// All.
    All,
}

impl Openness {
    pub(super) fn is_watched(&self, key: PaneKey) -> bool {
        match self.previews {
            Previews::None => false,
            Previews::Late => key.is_late(),
            Previews::All => true,
        }
    }
}

/// One partition's open panes.
#[derive(Debug)]
pub(crate) struct PartitionWindows {
    pub(super) aggregate: Arc<WindowAggregate>,
    pub(super) openness: Openness,
    /// How far event time has got.
    pub(crate) watermark: Watermark,
    pub(super) store: Store,
    pub(super) panes: BTreeMap<PaneKey, Pane>,
    /// Those of `panes` whose rows correct closed windows.
    pub(super) late: BTreeSet<PaneKey>,
    blocks: Option<Blocks>,
    next_offset: u64,
    /// Of which slots the state is not stored.
    pub(super) changes: Changes,
    /// The offset up to which the state is stored.
    pub(super) stored_offset: Option<u64>,
    pub(super) next_checkpoint: u64,
    pub(super) checkpoint_rows: u64,
    checkpoint_groups: u64,
    /// The key and the slot of each row that is taken, kept for their memory.
    numbers: Vec<u32>,
    slots: Vec<u32>,
}

impl PartitionWindows {
    pub(crate) fn new(
        aggregate: Arc<WindowAggregate>,
        openness: Openness,
        delay_us: i64,
        checkpoint_rows: Option<u64>,
    ) -> Result<Self> {
        let (checkpoint_rows, checkpoint_groups) = match checkpoint_rows {
            None => (CHECKPOINT_ROWS, CHECKPOINT_GROUPS),
            Some(rows) => (rows.max(1), u64::MAX),
        };
        Ok(Self {
            store: Store::new(&aggregate)?,
            blocks: Blocks::suit(&aggregate.assigner).then(Blocks::default),
            aggregate,
            openness,
            watermark: Watermark::new(delay_us),
            panes: BTreeMap::new(),
            late: BTreeSet::new(),
            next_offset: 0,
            changes: Changes::default(),
            stored_offset: None,
            next_checkpoint: checkpoint_rows,
            checkpoint_rows,
            checkpoint_groups,
            numbers: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// First offset whose row it has not taken.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Goes on at a later offset: the rows before it are gone.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.next_offset = self.next_offset.max(offset);
    }

    /// How many rows it may take before [`checkpoint`](Self::checkpoint) is due.
    pub(crate) fn rows_to_checkpoint(&self) -> u64 {
        self.next_checkpoint.saturating_sub(self.next_offset)
    }

    /// The aggregate whose panes these are.
    pub(crate) fn aggregate(&self) -> &WindowAggregate {
        &self.aggregate
    }

    /// Takes the partition's next rows: `times` of all of them, `rows` being what the stage below left, with the index of
    /// each row among `times` in `row_of`. Returns the late ones.
    pub(crate) fn update(
        &mut self,
        times: &TimestampMicrosecondArray,
        rows: &KeyedRows,
        row_of: &UInt32Array,
    ) -> Result<Vec<LateRow>> {
        let before = self.watermark;
        let bounds_us = bounds_us(times);
        if let Some((_, latest_us)) = bounds_us {
            self.watermark.pass_time(latest_us);
        }
        self.next_offset += times.len() as u64;
        let all = sort_rows::Rows { times, bounds_us, row_of, before, after_us: self.watermark.current_us() };
        let sorted = sort_rows(&self.aggregate.assigner, self.openness.lateness_us, &all);
        let RowsByPane { panes, pane_of, taken, late } = sorted;
        match taken {
            None => self.add(rows, &panes, &pane_of)?,
            Some(taken) => self.add(&rows.take(&UInt32Array::from(taken))?, &panes, &pane_of)?,
        }
        Ok(late)
    }

    /// Adds rows, each to one of `panes`.
    fn add(&mut self, rows: &KeyedRows, panes: &[PaneKey], pane_of: &[u32]) -> Result<()> {
        if pane_of.is_empty() {
            return Ok(());
        }
        let mut numbers = std::mem::take(&mut self.numbers);
        self.store.keys.intern(pane_of.len(), &rows.keys, &mut numbers)?;
        let mut open: Vec<Pane> = Vec::with_capacity(panes.len());
        for key in panes {
            let known = self.panes.remove(key);
            open.push(known.unwrap_or_else(|| {
                let mut groups = Groups::default();
                if let Some((_, last)) = self.panes.last_key_value() {
                    groups.reserve_as(&last.groups);
                }
                Pane::new(groups, self.openness.is_watched(*key))
            }));
        }
        if open.iter().any(Pane::is_watched) {
            numbers.iter().zip(pane_of).for_each(|(number, pane)| open[*pane as usize].touch(*number));
        }
        let mut slots = std::mem::take(&mut self.slots);
        self.store.slots(&mut open, &numbers, pane_of, &mut slots);
        self.changes.mark(&slots);
        if self.changes.count() >= self.checkpoint_groups && !self.changes.are_taken() {
            self.next_checkpoint = self.next_checkpoint.min(self.next_offset);
        }
        open.iter_mut().for_each(|pane| pane.has_changed = true);
        self.store.accumulators.update(&rows.arguments, &rows.filters, &slots)?;
        self.late.extend(panes.iter().filter(|key| key.is_late()));
        self.panes.extend(panes.iter().copied().zip(open));
        (self.numbers, self.slots) = (numbers, slots);
        Ok(())
    }

    /// Number of open panes.
    pub(crate) fn open_panes(&self) -> usize {
        self.panes.len()
    }

    /// Bytes of open panes.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.blocks.as_ref().map_or(0, Blocks::bytes);
        let of_rows = (self.numbers.capacity() + self.slots.capacity()) * size_of::<u32>();
        let panes: usize = self.panes.values().map(Pane::bytes).sum();
        self.store.bytes() + self.changes.bytes() + blocks + panes + of_rows
    }

    /// End of the next window after `closed_us` that has rows in time. A window ends after the start of each of its panes, so the
    /// panes from the earliest end found on cannot have an earlier one: only those of one window are looked at.
    pub(super) fn next_end_us(&self, closed_us: i64) -> Option<i64> {
        let assigner = &self.aggregate.assigner;
        let mut earliest: Option<i64> = None;
        for key in self.panes.range(PaneKey::first(assigner.first_open_pane_us(closed_us))..).map(|(key, _)| key) {
            if earliest.is_some_and(|end_us| key.start_us >= end_us) {
                break;
            }
            let end_us = assigner.next_end_us(*key, closed_us);
            earliest = earliest.into_iter().chain(end_us).min();
        }
        earliest
    }

    /// End of the last window over its rows.
    pub(crate) fn last_end_us(&self) -> Option<i64> {
        self.panes.keys().next_back().map(|key| self.aggregate.assigner.last_end_us(key.start_us))
    }

    /// All panes of the window that ends at `end_us`, in order.
    fn panes_of(&self, end_us: i64) -> impl Iterator<Item = (&PaneKey, &Pane)> {
        let start_us = self.aggregate.assigner.window_start_us(end_us);
        self.panes.range(PaneKey::first(start_us)..PaneKey::first(end_us))
    }

    /// What it has of the first result of the window that ends at `end_us`.
    pub(crate) fn first_part(&mut self, end_us: i64) -> Result<Part> {
        let selection = self.first_result(end_us)?;
        Ok(Part { columns: self.columns_of(&selection)?, selection })
    }

    /// The same of windows that are closed [together](super::WindowOperator::due_together), which are over then.
    pub(crate) fn first_parts(&mut self, ends_us: &[i64]) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(ends_us.len());
        for end_us in ends_us {
            let mut part = self.first_part(*end_us)?;
            self.store.accumulators.release(&std::mem::take(&mut part.selection.temporary));
            parts.push(part);
        }
        if let Some(last_us) = ends_us.last() {
            self.forget(*last_us);
        }
        Ok(parts)
    }

    /// What it has of the window that ends at `end_us` as all its rows make it, late ones among them; of `wanted` keys, which are
    /// in their order.
    pub(super) fn present_part(&mut self, end_us: i64, wanted: Vec<u32>) -> Result<Part> {
        let selection = self.present_result(end_us, wanted)?;
        Ok(Part { columns: self.columns_of(&selection)?, selection })
    }

    /// Keys and results of groups.
    pub(super) fn columns_of(&mut self, groups: &Selection) -> Result<Vec<ArrayRef>> {
        let mut columns = self.store.key_columns(&groups.keys)?;
        columns.extend(self.store.accumulators.evaluate(&groups.slots)?);
        Ok(columns)
    }

    /// How many keys there are in open panes.
    pub(crate) fn keys(&self) -> usize {
        self.store.keys.len()
    }

    fn first_result(&mut self, end_us: i64) -> Result<Selection> {
        let assigner = &self.aggregate.assigner;
        match &mut self.blocks {
            Some(blocks) => {
                let parts = blocks.parts(assigner, &mut self.store, &self.panes, end_us)?;
                self.store.select(&parts, None)
            }
            None => {
                let start_us = assigner.window_start_us(end_us);
                let panes = self.panes.range(PaneKey::first(start_us)..PaneKey::first(end_us));
                let covering = panes.filter(|(key, _)| assigner.covers(**key, end_us));
                let parts: Vec<&Groups> = covering.map(|(_, pane)| &pane.groups).collect();
                self.store.select(&parts, None)
            }
        }
    }

    fn present_result(&mut self, end_us: i64, wanted: Vec<u32>) -> Result<Selection> {
        let assigner = &self.aggregate.assigner;
        let start_us = assigner.window_start_us(end_us);
        let panes = self.panes.range(PaneKey::first(start_us)..PaneKey::first(end_us));
        let counting = panes.filter(|(key, _)| assigner.counts_for(**key, end_us));
        let parts: Vec<&Groups> = counting.map(|(_, pane)| &pane.groups).collect();
        self.store.select(&parts, Some(wanted))
    }

    /// The keys of rows that came too late for the first result of the window that ends at `end_us`, and count for it.
    pub(super) fn corrected_keys(&self, end_us: i64) -> Vec<u32> {
        let assigner = &self.aggregate.assigner;
        let late = self.panes_of(end_us).filter(|(key, _)| key.on_time_end_us > end_us);
        let late = late.filter(|(key, _)| assigner.counts_for(**key, end_us));
        late.flat_map(|(_, pane)| pane.groups.iter().map(|(key, _)| key)).collect()
    }

    /// Drops the panes whose windows take no rows any more. A replay passes windows that were closed in an earlier life
    /// before its own watermark does; their panes stay until then, as they did the first time.
    pub(crate) fn forget(&mut self, settled_us: i64) {
        let assigner = &self.aggregate.assigner;
        let passed_us = settled_us.min(self.watermark.current_us().saturating_sub(self.openness.lateness_us));
        while let Some(first) = self.panes.first_entry()
            && assigner.last_end_us(first.key().start_us) <= passed_us
        {
            self.late.remove(first.key());
            self.store.release(&first.remove().groups);
        }
        if let Some(blocks) = &mut self.blocks {
            blocks.forget(&mut self.store, assigner, passed_us);
        }
    }
}
