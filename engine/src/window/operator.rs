//! The windowed aggregate over all partitions of a stream.
//!
//! [`PartitionWindows`] takes the rows of one partition; partitions run side by side. [`WindowOperator`] closes
//! windows: it merges the partitions' panes in partition order. What is emitted before and after is in `update.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, take};
use datafusion::error::Result;

use super::aggregate::{Evaluated, WindowAggregate};
use super::assign::{Assigner, Assignment, PaneKey};
use super::groups::Groups;
use super::pane::Pane;
use crate::watermark::Watermark;

/// Rows of a partition between two places where its panes are cut into states, at least. It grows with the number of
/// groups, so that cutting stays a small part of the work; the rows alone determine it.
const CHECKPOINT_ROWS: u64 = 1 << 20;

/// A row that no window took, as the index of its row in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LateRow {
    /// Index of the row.
    pub(crate) row: u32,
    /// Where its partition's watermark stood.
    pub(crate) watermark_us: i64,
}

/// How long windows take rows, and what can be seen of them meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Openness {
    /// For so long after its end, by the watermark, a window takes rows and is corrected.
    pub(crate) lateness_us: i64,
    /// Which panes can be looked at before they are complete.
    pub(crate) previews: Previews,
}

/// Panes that can be looked at before they are complete.
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
    fn has_preview(&self, key: PaneKey) -> bool {
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
    aggregate: Arc<WindowAggregate>,
    openness: Openness,
    /// How far event time has got.
    pub(crate) watermark: Watermark,
    pub(super) panes: BTreeMap<PaneKey, Pane>,
    /// Those of `panes` whose rows correct closed windows.
    pub(super) late: BTreeSet<PaneKey>,
    next_offset: u64,
    next_checkpoint: u64,
    checkpoint_rows: u64,
}

/// One partition's state at a checkpoint; what a snapshot stores.
#[derive(Debug, Clone)]
pub(crate) struct PartitionState {
    /// First offset that is not in it.
    pub(crate) next_offset: u64,
    /// Offset of the following checkpoint.
    pub(crate) next_checkpoint: u64,
    /// The watermark.
    pub(crate) watermark_us: i64,
    /// The open panes.
    pub(crate) panes: Vec<(PaneKey, RecordBatch)>,
}

impl PartitionWindows {
    pub(crate) fn new(
        aggregate: Arc<WindowAggregate>,
        openness: Openness,
        delay_us: i64,
        checkpoint_rows: Option<u64>,
    ) -> Self {
        let checkpoint_rows = checkpoint_rows.unwrap_or(CHECKPOINT_ROWS);
        Self {
            aggregate,
            openness,
            watermark: Watermark::new(delay_us),
            panes: BTreeMap::new(),
            late: BTreeSet::new(),
            next_offset: 0,
            next_checkpoint: checkpoint_rows,
            checkpoint_rows,
        }
    }

    /// Goes on from a stored state.
    pub(crate) fn restore(&mut self, state: PartitionState) {
        self.watermark.advance_to(state.watermark_us);
        self.next_offset = state.next_offset;
        self.next_checkpoint = state.next_checkpoint;
        let openness = self.openness;
        let panes = state.panes.into_iter();
        self.panes = panes.map(|(key, state)| (key, Pane::restored(state, openness.has_preview(key)))).collect();
        self.late = self.panes.keys().copied().filter(|key| key.is_late()).collect();
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
        self.next_checkpoint - self.next_offset
    }

    /// The aggregate whose panes these are.
    pub(crate) fn aggregate(&self) -> &WindowAggregate {
        &self.aggregate
    }

    /// The same, to be held while the panes change.
    pub(super) fn shared_aggregate(&self) -> Arc<WindowAggregate> {
        Arc::clone(&self.aggregate)
    }

    /// Takes the partition's next rows: `times` of all of them, `evaluated` being what the stage below left, with the
    /// index of each row among `times` in `row_of`. Returns the late ones.
    pub(crate) fn update(
        &mut self,
        times: &TimestampMicrosecondArray,
        evaluated: &Evaluated,
        row_of: &UInt32Array,
    ) -> Result<Vec<LateRow>> {
        let watermarks = self.watermark.observe(times);
        self.next_offset += times.len() as u64;
        let openness = self.openness;
        let (by_pane, late) = assign(&self.aggregate.assigner, openness.lateness_us, times, &watermarks, row_of);
        for (key, indices) in by_pane {
            if key.is_late() {
                self.late.insert(key);
            }
            let pane = self.panes.entry(key).or_insert_with(|| Pane::new(openness.has_preview(key)));
            if indices.len() == row_of.len() {
                pane.update(&self.aggregate, row_of.len(), &evaluated.keys, &evaluated.arguments, &evaluated.filters)?;
            } else {
                let indices = UInt32Array::from(indices);
                let part = taken(evaluated, &indices)?;
                pane.update(&self.aggregate, indices.len(), &part.keys, &part.arguments, &part.filters)?;
            }
        }
        Ok(late)
    }

    /// Cuts all panes when the partition stands at a checkpoint offset, and returns the state there.
    pub(crate) fn checkpoint(&mut self) -> Result<Option<PartitionState>> {
        if self.next_offset < self.next_checkpoint {
            return Ok(None);
        }
        let mut panes = Vec::with_capacity(self.panes.len());
        for (key, pane) in &mut self.panes {
            panes.push((*key, pane.cut(&self.aggregate)?.clone()));
        }
        // Only panes that this partition itself keeps open: whether an older one is still here depends on the others.
        let watermark_us = self.watermark.current_us();
        let passed_us = watermark_us.saturating_sub(self.openness.lateness_us);
        let open = panes.iter().filter(|(key, _)| self.aggregate.assigner.last_end_us(key.start_us) > passed_us);
        let groups: usize = open.map(|(_, state)| state.num_rows()).sum();
        self.next_checkpoint = self.next_offset + self.checkpoint_rows.max(4 * groups as u64);
        Ok(Some(PartitionState {
            next_offset: self.next_offset,
            next_checkpoint: self.next_checkpoint,
            watermark_us,
            panes,
        }))
    }

    /// Number of open panes.
    pub(crate) fn open_panes(&self) -> usize {
        self.panes.len()
    }

    /// Bytes of open panes.
    pub(crate) fn bytes(&self) -> usize {
        self.panes.values().map(Pane::bytes).sum()
    }

    /// End of the next window after `closed_us` that has rows in time. A window ends after the start of each of its panes, so the
    /// panes from the earliest end found on cannot have an earlier one: only those of one window are looked at.
    fn next_end_us(&self, closed_us: i64) -> Option<i64> {
        let mut earliest: Option<i64> = None;
        for key in self.panes_from(self.aggregate.assigner.first_open_pane_us(closed_us)) {
            if earliest.is_some_and(|end_us| key.start_us >= end_us) {
                break;
            }
            let end_us = self.aggregate.assigner.next_end_us(*key, closed_us);
            earliest = earliest.into_iter().chain(end_us).min();
        }
        earliest
    }

    /// The panes that start at a time or later, in order.
    pub(super) fn panes_from(&self, start_us: i64) -> impl Iterator<Item = &PaneKey> {
        self.panes.range(first_key(start_us)..).map(|(key, _)| key)
    }

    /// End of the last window over its rows.
    pub(crate) fn last_end_us(&self) -> Option<i64> {
        self.panes.keys().next_back().map(|key| self.aggregate.assigner.last_end_us(key.start_us))
    }

    /// The panes that count for the window that ends at `end_us`, in order.
    fn covering(&self, end_us: i64) -> impl Iterator<Item = PaneKey> {
        let assigner = &self.aggregate.assigner;
        self.panes_of(end_us).filter(move |key| assigner.covers(*key, end_us))
    }

    /// All panes of the window that ends at `end_us`, in order.
    pub(super) fn panes_of(&self, end_us: i64) -> impl Iterator<Item = PaneKey> {
        let start_us = self.aggregate.assigner.window_start_us(end_us);
        self.panes.range(first_key(start_us)..first_key(end_us)).map(|(key, _)| *key)
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
            first.remove();
        }
    }
}

/// The first key that a pane of this start may have.
fn first_key(start_us: i64) -> PaneKey {
    PaneKey { start_us, first_end_us: i64::MIN, on_time_end_us: i64::MIN }
}

type RowsByPane = Vec<(PaneKey, Vec<u32>)>;

/// Sorts the rows that the stage left into panes, in their order, and finds the late ones.
fn assign(
    assigner: &Assigner,
    lateness_us: i64,
    times: &TimestampMicrosecondArray,
    watermarks: &[i64],
    row_of: &UInt32Array,
) -> (RowsByPane, Vec<LateRow>) {
    let mut by_pane: RowsByPane = Vec::new();
    // Rows of one pane mostly follow each other: the map is asked only where they do not.
    let mut position_of: HashMap<PaneKey, usize> = HashMap::new();
    let mut late: Vec<LateRow> = Vec::new();
    let mut current = 0;
    let mut pane_end_us = i64::MIN;
    // A join may have made several rows of a late one; it is late once.
    let mut add_late = |row: LateRow| {
        if late.last() != Some(&row) {
            late.push(row);
        }
    };
    for (index, row) in row_of.values().iter().enumerate() {
        let at = *row as usize;
        let watermark_us = watermarks[at];
        if times.is_null(at) {
            add_late(LateRow { row: *row, watermark_us });
            continue;
        }
        // The watermark only rises: while it has passed no end that the pane's key names, the key stays.
        if let Some((key, indices)) = by_pane.get_mut(current)
            && (key.start_us..pane_end_us).contains(&times.value(at))
            && watermark_us < key.on_time_end_us
            && watermark_us.saturating_sub(lateness_us) < key.first_end_us
        {
            indices.push(index as u32);
            continue;
        }
        match assigner.assign(times.value(at), watermark_us, lateness_us) {
            Assignment::Uncovered => {}
            Assignment::Late => add_late(LateRow { row: *row, watermark_us }),
            Assignment::Pane(key) => {
                if by_pane.get(current).is_none_or(|(k, _)| *k != key) {
                    current = *position_of.entry(key).or_insert_with(|| {
                        by_pane.push((key, Vec::new()));
                        by_pane.len() - 1
                    });
                    pane_end_us = assigner.pane_end_us(key.start_us);
                }
                by_pane[current].1.push(index as u32);
            }
        }
    }
    (by_pane, late)
}

fn taken(evaluated: &Evaluated, indices: &UInt32Array) -> Result<Evaluated> {
    let array = |column: &ArrayRef| Ok(take(column, indices, None)?);
    Ok(Evaluated {
        keys: evaluated.keys.iter().map(array).collect::<Result<_>>()?,
        arguments: evaluated
            .arguments
            .iter()
            .map(|columns| columns.iter().map(array).collect::<Result<_>>())
            .collect::<Result<_>>()?,
        filters: evaluated
            .filters
            .iter()
            .map(|filter| {
                let Some(filter) = filter else { return Ok(None) };
                let filter = take(filter, indices, None)?;
                Ok(Some(filter.as_any().downcast_ref::<BooleanArray>().expect("taken from a boolean array").clone()))
            })
            .collect::<Result<_>>()?,
    })
}

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
    /// What the last window of a stretch held, where windows cumulate.
    running: Option<Running>,
}

/// The state of a cumulating window; the next one of its stretch adds to it.
#[derive(Debug)]
struct Running {
    start_us: i64,
    end_us: i64,
    state: RecordBatch,
}

impl WindowOperator {
    /// What was emitted in an earlier life, up to `position`, is not emitted again.
    pub(crate) fn new(aggregate: Arc<WindowAggregate>, openness: Openness, position: Position) -> Self {
        Self { aggregate, openness, position, looked_us: position.closed_us, running: None }
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
                let groups = self.merged(partitions, end_us)?;
                // Corrections that are due at the same time come after it.
                let before_us = end_us.saturating_sub(lateness_us).saturating_sub(i64::from(lateness_us > 0));
                self.position.advance(end_us, before_us);
                Some(Closed { rows: self.output(end_us, groups)?, is_correction: false })
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

    /// The rows of a window, in key order.
    pub(super) fn output(&self, end_us: i64, groups: Groups) -> Result<RecordBatch> {
        let (keys, results) = groups.into_results()?;
        let (keys, results) = in_key_order(keys, results)?;
        self.aggregate.output(end_us, &keys, results)
    }

    fn merged(&mut self, partitions: &mut [&mut PartitionWindows], end_us: i64) -> Result<Groups> {
        if self.aggregate.assigner.is_cumulating() {
            return self.cumulated(partitions, end_us);
        }
        let aggregate = &self.aggregate;
        let assigner = &aggregate.assigner;
        let covering: Vec<(usize, PaneKey)> =
            partitions.iter().enumerate().flat_map(|(n, p)| p.covering(end_us).map(move |key| (n, key))).collect();
        // A tumbling window of one pane needs no merge; a hop's pane is always merged, because whether it was cut
        // before depends on when its first window closed. So does, with several partitions, that of a tumbling one: it
        // may have waited for another partition while its own passed a checkpoint.
        if let [(n, key)] = covering[..]
            && assigner.is_tumbling()
            && partitions.len() == 1
            && self.openness.lateness_us == 0
        {
            let pane = partitions[n].panes.remove(&key).expect("listed above");
            match pane.into_uncut() {
                Ok(groups) => return Ok(groups),
                Err(pane) => partitions[n].panes.insert(key, pane),
            };
        }
        let mut groups = Groups::new(aggregate)?;
        for (n, key) in covering {
            let pane = partitions[n].panes.get_mut(&key).expect("listed above");
            groups.merge(aggregate, pane.cut(aggregate)?)?;
        }
        Ok(groups)
    }
}

/// Windows that cumulate.
impl WindowOperator {
    /// A window of a stretch: the state of the one before it and the panes that are new in it. A pane is new in the first
    /// window in whose result it is, so that the same is merged in the same order also where the windows before were closed in an
    /// earlier life.
    fn cumulated(&mut self, partitions: &mut [&mut PartitionWindows], end_us: i64) -> Result<Groups> {
        let aggregate = &self.aggregate;
        let start_us = aggregate.assigner.window_start_us(end_us);
        let before = self.running.take().filter(|running| running.start_us == start_us && running.end_us < end_us);
        let mut state = before.as_ref().map(|running| running.state.clone());
        let merged_us = before.map_or(i64::MIN, |running| running.end_us);
        let mut fresh: Vec<(i64, usize, PaneKey)> = Vec::new();
        for (n, partition) in partitions.iter().enumerate() {
            let panes = partition.covering(end_us).filter(|key| key.on_time_end_us > merged_us);
            fresh.extend(panes.map(|key| (key.on_time_end_us, n, key)));
        }
        fresh.sort_unstable();
        for panes in fresh.chunk_by(|(a, ..), (b, ..)| a == b) {
            let mut groups = Groups::new(aggregate)?;
            if let Some(state) = &state {
                groups.merge(aggregate, state)?;
            }
            for (_, n, key) in panes {
                let pane = partitions[*n].panes.get_mut(key).expect("listed above");
                groups.merge(aggregate, pane.cut(aggregate)?)?;
            }
            state = Some(groups.into_state(aggregate)?);
        }
        let state = state.expect("a window is closed because a pane counts for it");
        let mut groups = Groups::new(aggregate)?;
        groups.merge(aggregate, &state)?;
        self.running = Some(Running { start_us, end_us, state });
        Ok(groups)
    }
}

/// Rows sorted by key, so that the order does not depend on partitions or arrival.
fn in_key_order(keys: Vec<ArrayRef>, results: Vec<ArrayRef>) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
    if keys.first().is_none_or(|column| column.len() < 2) {
        return Ok((keys, results));
    }
    let columns: Vec<SortColumn> =
        keys.iter().map(|values| SortColumn { values: Arc::clone(values), options: None }).collect();
    let order = lexsort_to_indices(&columns, None)?;
    let sorted = |columns: Vec<ArrayRef>| {
        columns.iter().map(|column| Ok(take(column, &order, None)?)).collect::<Result<Vec<_>>>()
    };
    Ok((sorted(keys)?, sorted(results)?))
}
