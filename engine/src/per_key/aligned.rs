//! `TUMBLE`, `HOP` and `CUMULATE` by key: a window of a key is closed by the key's own watermark.
//!
//! What a row closes is emitted by (end, group); so is what all keys hold when everything is finished.
//!
//! Where lateness is allowed, a window stays for so long after its end by the key's watermark. Every row that comes
//! meanwhile emits it again; or, where only the last result counts, it is emitted again once, when the time has passed,
//! if rows have come.

use arrow::array::{Array, RecordBatch};
use datafusion::common::DFSchema;
use thermocline_sql::{GroupColumn, KeyedAggregate, WindowedShape};

use super::{Emitted, KeyWatermarks, Outcome, PerKeyOperator, Stamp, StampedRows};
use crate::error::Result;
use crate::keyed::{KeyTable, KeyedRows};
use crate::ordered::{BATCH_ROWS, Ended, WindowSlots};
use crate::query::evaluate_output;
use crate::snapshot::{TableShape, TableState};
use crate::window::{Assigner, Assignment};

/// Pairs of a row and a window that are aggregated at once.
const PAIRS: usize = 65_536;

/// Open windows of all keys of a partition.
#[derive(Debug)]
pub(crate) struct AlignedWindows {
    assigner: Assigner,
    lateness: Lateness,
    slots: WindowSlots,
    /// By the number of the group; its windows by their end.
    groups: Vec<Vec<Window>>,
    /// By the number of the watermark's key.
    keys: Vec<Key>,
    /// Rows that are not aggregated yet, each with the slot of a window.
    pairs: Pairs,
    /// Closed windows that are not emitted yet.
    ended: Vec<Ended>,
    state_shapes: [TableShape; 1],
}

/// How long windows take rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lateness {
    /// For so long after its end, by the key's watermark, a window takes rows and is emitted again.
    pub(crate) us: i64,
    /// It is emitted again only when that time has passed.
    pub(crate) last_only: bool,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    end_us: i64,
    slot: u32,
    stage: WindowStage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowStage {
    Open,
    /// Its first result was emitted, or would have been.
    Closed,
    /// Rows have come since.
    Changed,
}

/// What a key has open.
#[derive(Debug, Clone)]
struct Key {
    /// Groups with windows.
    groups: Vec<u32>,
    /// The first watermark that does something.
    due_us: i64,
}

/// Nothing is due.
const NEVER: i64 = i64::MAX;

#[derive(Debug, Default)]
struct Pairs {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

/// What a watermark has done to windows of a key.
#[derive(Debug, Default)]
struct Due {
    closed: Vec<Ended>,
    /// Windows that are emitted a last time.
    corrected: Vec<Ended>,
    /// Slots of windows that take no rows any more, where they outlive their first result.
    settled: Vec<u32>,
}

impl AlignedWindows {
    /// The windows of a shape over rows of `input_schema`, the output of the stage below.
    pub(crate) fn try_new(shape: &WindowedShape, lateness: Lateness, input_schema: &DFSchema) -> Result<Self> {
        let group = shape.group.iter().map(|column| match column {
            GroupColumn::Key(expr) => GroupColumn::Key(expr.clone().unalias()),
            window => window.clone(),
        });
        let aggregate = KeyedAggregate { group: group.collect(), aggregates: shape.aggregates.clone() };
        let slots = WindowSlots::try_new(&aggregate, input_schema)?;
        let state_shapes = [slots.window_shape(&["end_us", "stage", "key"])?];
        Ok(Self {
            assigner: Assigner::new(&shape.window),
            lateness,
            slots,
            groups: Vec::new(),
            keys: Vec::new(),
            pairs: Pairs::default(),
            ended: Vec::new(),
            state_shapes,
        })
    }

    fn grow(&mut self, groups: &[u32], keys: impl Iterator<Item = u32>) {
        let count = |last: Option<u32>| last.map_or(0, |last| last as usize + 1);
        let (groups, keys) = (count(groups.iter().max().copied()), count(keys.max()));
        if groups > self.groups.len() {
            self.groups.resize(groups, Vec::new());
        }
        if keys > self.keys.len() {
            self.keys.resize(keys, Key { groups: Vec::new(), due_us: NEVER });
        }
    }

    /// Puts a row into its windows; those of them that are closed go to `corrected`. Whether any window took it, or none
    /// is there.
    fn place(&mut self, row: u32, group: u32, time_us: Option<i64>, stamp: Stamp, corrected: &mut Vec<Ended>) -> bool {
        let Some(time_us) = time_us else { return false };
        let pane = match self.assigner.assign(time_us, stamp.before_us, self.lateness.us) {
            Assignment::Pane(pane) => pane,
            Assignment::Late => return false,
            Assignment::Uncovered => return true,
        };
        let Self { assigner, slots, groups, keys, pairs, lateness, .. } = self;
        let (windows, key) = (&mut groups[group as usize], &mut keys[stamp.key as usize]);
        for end_us in assigner.counted_ends_us(pane, i64::MIN, i64::MAX) {
            let at = windows.partition_point(|window| window.end_us < end_us);
            if windows.get(at).is_none_or(|window| window.end_us != end_us) {
                if windows.is_empty() {
                    key.groups.push(group);
                }
                let stage = if end_us <= stamp.before_us { WindowStage::Closed } else { WindowStage::Open };
                let window = Window { end_us, slot: slots.allocate(), stage };
                key.due_us = key.due_us.min(window.due_us(lateness.us));
                windows.insert(at, window);
            }
            let window = &mut windows[at];
            pairs.rows.push(row);
            pairs.slots.push(window.slot);
            match window.stage {
                WindowStage::Open => {}
                _ if lateness.last_only => window.stage = WindowStage::Changed,
                _ => corrected.push(window.ended(group, assigner)),
            }
        }
        true
    }

    /// Does to a key's windows what its watermark says.
    fn take_due(&mut self, key: u32, watermark_us: i64) -> Due {
        self.slots.keys.mark(&self.keys[key as usize].groups);
        let Self { assigner, lateness, groups, keys, .. } = self;
        let (key, mut due) = (&mut keys[key as usize], Due::default());
        key.due_us = NEVER;
        key.groups.retain(|group| {
            let windows = &mut groups[*group as usize];
            windows.retain_mut(|window| {
                if window.stage == WindowStage::Open && window.end_us <= watermark_us {
                    window.stage = WindowStage::Closed;
                    due.closed.push(window.ended(*group, assigner));
                }
                if window.stage == WindowStage::Open || window.due_us(lateness.us) > watermark_us {
                    key.due_us = key.due_us.min(window.due_us(lateness.us));
                    return true;
                }
                if window.stage == WindowStage::Changed {
                    due.corrected.push(window.ended(*group, assigner));
                }
                if lateness.us > 0 {
                    due.settled.push(window.slot);
                }
                false
            });
            !windows.is_empty()
        });
        due
    }

    fn sort(&self, windows: &mut [Ended]) {
        let keys = &self.slots.keys;
        windows.sort_unstable_by(|a, b| {
            a.end_us.cmp(&b.end_us).then_with(|| keys.ordered(a.key).cmp(keys.ordered(b.key)))
        });
    }

    /// Emits the windows that a watermark has closed, by (end, group), and those whose lateness has passed where the watermark
    /// came by.
    fn close(&mut self, due: Due, rows: Option<&KeyedRows>, emitted: &mut Vec<Emitted>) -> Result<()> {
        let Due { mut closed, mut corrected, settled } = due;
        self.sort(&mut closed);
        if self.lateness.us == 0 {
            // No row comes after it: what the batch's other rows do changes nothing.
            self.ended.extend(closed);
            return Ok(());
        }
        self.flush(rows, emitted)?;
        self.sort(&mut corrected);
        let first = |window: Ended| (window.end_us, false, window);
        let last = |window: Ended| (window.end_us.saturating_add(self.lateness.us), true, window);
        let mut all: Vec<_> = closed.into_iter().map(first).chain(corrected.into_iter().map(last)).collect();
        // Stable: those of one moment stay sorted.
        all.sort_by_key(|(moment_us, is_correction, _)| (*moment_us, *is_correction));
        for part in all.chunk_by(|a, b| a.1 == b.1) {
            let windows: Vec<Ended> = part.iter().map(|(_, _, window)| *window).collect();
            self.preview(&windows, part[0].1, emitted)?;
        }
        self.slots.free(&settled)
    }

    /// Emits windows that go on.
    fn preview(&mut self, windows: &[Ended], is_correction: bool, emitted: &mut Vec<Emitted>) -> Result<()> {
        for windows in windows.chunks(BATCH_ROWS) {
            emitted.push(Emitted { rows: self.slots.preview(windows)?, is_correction });
        }
        Ok(())
    }

    /// Aggregates the pairs, and makes rows of the windows that have ended.
    fn flush(&mut self, rows: Option<&KeyedRows>, emitted: &mut Vec<Emitted>) -> Result<()> {
        if let Some(rows) = rows {
            self.slots.update_at(rows, &self.pairs.rows, &self.pairs.slots)?;
            self.pairs.rows.clear();
            self.pairs.slots.clear();
        }
        for ended in self.ended.chunks(BATCH_ROWS) {
            emitted.push(Emitted { rows: self.slots.emit(ended)?, is_correction: false });
        }
        self.ended.clear();
        Ok(())
    }

    /// Forgets those of the groups that have no windows.
    fn forget(&mut self, groups: impl Iterator<Item = u32>) {
        for group in groups {
            if self.groups[group as usize].is_empty() {
                self.slots.keys.remove(group);
            }
        }
    }
}

impl Window {
    /// The first watermark that does something to it.
    fn due_us(&self, lateness_us: i64) -> i64 {
        match self.stage {
            WindowStage::Open => self.end_us,
            WindowStage::Closed | WindowStage::Changed => self.end_us.saturating_add(lateness_us),
        }
    }

    fn ended(&self, group: u32, assigner: &Assigner) -> Ended {
        let start_us = assigner.window_start_us(self.end_us);
        Ended { key: group, slot: self.slot, start_us, end_us: self.end_us }
    }
}

impl PerKeyOperator for AlignedWindows {
    fn update(&mut self, rows: &StampedRows<'_>) -> Result<Outcome> {
        let (evaluated, row_of, failed) = evaluate_output(rows.output, |rows| self.slots.evaluate_rows(rows))?;
        let groups = self.slots.numbers(&evaluated, row_of.len())?;
        self.grow(&groups, rows.stamps.iter().map(|stamp| stamp.key));
        let mut outcome = Outcome { failed, ..Outcome::default() };
        let emitted = &mut outcome.emitted;
        let (mut at, mut corrected, mut emptied) = (0, Vec::new(), Vec::new());
        for (row, stamp) in rows.stamps.iter().enumerate() {
            let time_us = rows.times.is_valid(row).then(|| rows.times.value(row));
            let mut is_late = false;
            while at < row_of.len() && row_of.value(at) as usize == row {
                is_late |= !self.place(at as u32, groups[at], time_us, *stamp, &mut corrected);
                at += 1;
            }
            if is_late {
                outcome.late.push(row as u32);
            }
            if !corrected.is_empty() {
                self.flush(Some(&evaluated), emitted)?;
                self.sort(&mut corrected);
                corrected.dedup_by_key(|window| window.slot);
                self.preview(&corrected, true, emitted)?;
                corrected.clear();
            }
            if self.keys[stamp.key as usize].due_us <= stamp.after_us {
                emptied.extend(&self.keys[stamp.key as usize].groups);
                let due = self.take_due(stamp.key, stamp.after_us);
                self.close(due, Some(&evaluated), emitted)?;
            }
            if self.pairs.rows.len() >= PAIRS || self.ended.len() >= BATCH_ROWS {
                self.flush(Some(&evaluated), emitted)?;
            }
        }
        self.flush(Some(&evaluated), emitted)?;
        // Those of late rows never had any.
        self.forget(groups.into_iter().chain(emptied));
        Ok(outcome)
    }

    fn finish(&mut self, watermarks: &mut KeyWatermarks) -> Result<Vec<Emitted>> {
        let mut all = Due::default();
        let mut emptied = Vec::new();
        for key in 0..self.keys.len() as u32 {
            let windows = self.keys[key as usize].groups.iter().flat_map(|group| &self.groups[*group as usize]);
            let Some(end_us) =
                windows.filter(|window| window.stage == WindowStage::Open).map(|window| window.end_us).max()
            else {
                continue;
            };
            emptied.extend(&self.keys[key as usize].groups);
            watermarks.advance(key, end_us);
            let due = self.take_due(key, end_us);
            all.closed.extend(due.closed);
            all.corrected.extend(due.corrected);
            all.settled.extend(due.settled);
        }
        let mut emitted = Vec::new();
        self.close(all, None, &mut emitted)?;
        self.flush(None, &mut emitted)?;
        self.forget(emptied.into_iter());
        Ok(emitted)
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self, _watermarks: &KeyWatermarks) -> Result<Vec<TableState>> {
        let mut held = Vec::new();
        for (number, key) in self.keys.iter().enumerate() {
            for group in key.groups.iter().filter(|group| self.slots.keys.is_taken(**group)) {
                let windows = self.groups[*group as usize].iter();
                held.extend(windows.map(|w| (*group, w.slot, [w.end_us, w.stage as i64, number as i64])));
            }
        }
        Ok(vec![self.slots.windows(&self.state_shapes[0], &held)?])
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        vec![&mut self.slots.keys]
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (restored, slots) = self.slots.restore_windows(&state[0], 3)?;
        let [ends, stages, keys] = restored.own.as_slice() else { unreachable!("three columns were asked for") };
        self.grow(&restored.keys, keys.iter().map(|key| *key as u32));
        for (row, group) in restored.keys.into_iter().enumerate() {
            let stage = match stages[row] {
                0 => WindowStage::Open,
                1 => WindowStage::Closed,
                _ => WindowStage::Changed,
            };
            let window = Window { end_us: ends[row], slot: slots[row], stage };
            let key = &mut self.keys[keys[row] as usize];
            if self.groups[group as usize].is_empty() {
                key.groups.push(group);
            }
            key.due_us = key.due_us.min(window.due_us(self.lateness.us));
            // They were stored by their end.
            self.groups[group as usize].push(window);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let windows: usize = self.groups.iter().map(Vec::capacity).sum();
        let groups: usize = self.keys.iter().map(|key| key.groups.capacity()).sum();
        self.slots.bytes()
            + self.groups.capacity() * size_of::<Vec<Window>>()
            + windows * size_of::<Window>()
            + self.keys.capacity() * size_of::<Key>()
            + groups * size_of::<u32>()
    }
}
