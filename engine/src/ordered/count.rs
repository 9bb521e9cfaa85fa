//! `COUNT_WINDOW`: per key, a window of so many rows begins at the first row and at each that is a slide further.
//!
//! Windows are emitted in the order of the rows that fill them; one that is not full waits for rows, however long.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use thermocline_sql::KeyedAggregate;

use super::operator::{OrderedOperator, OrderedRows};
use super::slots::{BATCH_ROWS, Ended, WindowSlots};
use crate::error::Result;
use crate::keyed::{KeyTable, KeyedRows};
use crate::snapshot::{TableShape, TableState};

/// Pairs of a row and a window that are worked on at once.
const PAIRS: usize = 65_536;

/// Open windows by key.
#[derive(Debug)]
pub(crate) struct CountWindow {
    rows: u32,
    slide: u32,
    slots: WindowSlots,
    /// By the key's number.
    open: Vec<Open>,
    pairs: Pairs,
    ended: Vec<Ended>,
    ready: Vec<RecordBatch>,
    state_shapes: [TableShape; 2],
}

/// What a key has.
#[derive(Debug, Clone, Default)]
struct Open {
    /// Rows since the last one that could begin a window; 0 when the next one does.
    position: u32,
    /// The oldest first.
    windows: VecDeque<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u32,
    first_us: i64,
    rows: u32,
}

/// Rows with the slots of windows that they are in.
#[derive(Debug, Default)]
struct Pairs {
    rows: Vec<u32>,
    slots: Vec<u32>,
}

impl CountWindow {
    pub(crate) fn try_new(rows: u32, slide: u32, aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let slots = WindowSlots::try_new(aggregate, input_schema)?;
        let state_shapes = [slots.key_shape(&["position"]), slots.window_shape(&["first_us", "rows"])?];
        let (open, ended, ready) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { rows, slide, slots, open, pairs: Pairs::default(), ended, ready, state_shapes })
    }

    /// Puts a row into the windows that it is in, one of which it may begin, and one fill.
    fn place(&mut self, row: u32, key: u32, time_us: i64) {
        let open = &mut self.open[key as usize];
        if open.position == 0 {
            let slot = self.slots.allocate();
            open.windows.push_back(Held { slot, first_us: time_us, rows: 0 });
        }
        open.position = (open.position + 1) % self.slide;
        for window in &mut open.windows {
            window.rows += 1;
            self.pairs.rows.push(row);
            self.pairs.slots.push(window.slot);
        }
        if let Some(full) = open.windows.pop_front_if(|window| window.rows == self.rows) {
            let end_us = time_us.saturating_add(1);
            self.ended.push(Ended { key, slot: full.slot, start_us: full.first_us, end_us });
        }
    }

    /// Aggregates the pairs, and makes rows of the windows that are full.
    fn flush(&mut self, rows: &KeyedRows) -> Result<()> {
        let Pairs { rows: indices, slots } = &mut self.pairs;
        self.slots.update_at(rows, indices, slots)?;
        indices.clear();
        slots.clear();
        if !self.ended.is_empty() {
            self.ready.push(self.slots.emit(&self.ended)?);
            self.ended.clear();
        }
        Ok(())
    }

    fn grow(&mut self, keys: &[u32]) {
        let keys = keys.iter().max().map_or(0, |key| *key as usize + 1);
        if keys > self.open.len() {
            self.open.resize(keys, Open::default());
        }
    }
}

impl OrderedOperator for CountWindow {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let (evaluated, keys) = self.slots.evaluate(&rows.batches[0])?;
        self.grow(&keys);
        for ((row, key), time_us) in (0..).zip(&keys).zip(&rows.times_us) {
            self.place(row, *key, *time_us);
            if self.pairs.rows.len() >= PAIRS || self.ended.len() >= BATCH_ROWS {
                self.flush(&evaluated)?;
            }
        }
        self.flush(&evaluated)?;
        for key in keys {
            let open = &self.open[key as usize];
            if open.position == 0 && open.windows.is_empty() {
                self.slots.keys.remove(key);
            }
        }
        Ok(())
    }

    /// Rows fill windows, not the time.
    fn advance(&mut self, _watermark_us: i64) -> Result<Vec<RecordBatch>> {
        Ok(std::mem::take(&mut self.ready))
    }

    fn horizon_us(&self) -> Option<i64> {
        None
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        debug_assert!(self.ready.is_empty(), "what was emitted is taken before the state");
        let is_held =
            |key: u32, open: &Open| (open.position > 0 || !open.windows.is_empty()) && self.slots.keys.is_taken(key);
        let held: Vec<(u32, &Open)> = (0..).zip(&self.open).filter(|(key, open)| is_held(*key, open)).collect();
        let keys: Vec<_> = held.iter().map(|(key, open)| (*key, [i64::from(open.position)])).collect();
        let windows = held.iter().flat_map(|(key, open)| {
            open.windows.iter().map(|window| (*key, window.slot, [window.first_us, i64::from(window.rows)]))
        });
        let windows: Vec<_> = windows.collect();
        let keys = self.slots.keys(&self.state_shapes[0], &keys)?;
        Ok(vec![keys, self.slots.windows(&self.state_shapes[1], &windows)?])
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        vec![&mut self.slots.keys]
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let keys = self.slots.restore_keys(&state[0], 1)?;
        self.grow(&keys.keys);
        for (key, position) in keys.keys.iter().zip(&keys.own[0]) {
            self.open[*key as usize].position = *position as u32;
        }
        let (windows, slots) = self.slots.restore_windows(&state[1], 2)?;
        for (row, key) in windows.keys.into_iter().enumerate() {
            let held = Held { slot: slots[row], first_us: windows.own[0][row], rows: windows.own[1][row] as u32 };
            self.open[key as usize].windows.push_back(held);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let windows: usize = self.open.iter().map(|open| open.windows.capacity()).sum();
        let ready: usize = self.ready.iter().map(RecordBatch::get_array_memory_size).sum();
        let pairs = self.pairs.rows.capacity() + self.pairs.slots.capacity();
        self.slots.bytes()
            + self.open.capacity() * size_of::<Open>()
            + windows * size_of::<Held>()
            + pairs * size_of::<u32>()
            + self.ended.capacity() * size_of::<Ended>()
            + ready
    }
}
