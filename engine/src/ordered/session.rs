//! `SESSION`: per key, rows that are less than a gap apart. A session ends a gap after its last row.
//!
//! Sessions are emitted by (end, key).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use thermocline_sql::KeyedAggregate;

use super::operator::{OrderedOperator, OrderedRows};
use super::slots::{BATCH_ROWS, Ended, WindowSlots};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::snapshot::{TableShape, TableState};

/// Open sessions by key.
#[derive(Debug)]
pub(crate) struct Session {
    gap_us: i64,
    slots: WindowSlots,
    /// By the key's number.
    open: Vec<Open>,
    ended: Vec<Ended>,
    /// For each key with an open session, a moment at or before its end.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    state_shapes: [TableShape; 1],
}

/// What a key has.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    session: Option<Held>,
    /// Whether the key stands in `due`.
    is_due: bool,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u32,
    first_us: i64,
    last_us: i64,
}

impl Session {
    pub(crate) fn try_new(gap_us: i64, aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let slots = WindowSlots::try_new(aggregate, input_schema)?;
        let state_shapes = [slots.window_shape(&["first_us", "last_us"])?];
        Ok(Self { gap_us, slots, open: Vec::new(), ended: Vec::new(), due: BinaryHeap::new(), state_shapes })
    }

    fn end_us(&self, held: Held) -> i64 {
        held.last_us.saturating_add(self.gap_us)
    }

    fn ended(&self, key: u32, held: Held) -> Ended {
        Ended { key, slot: held.slot, start_us: held.first_us, end_us: self.end_us(held) }
    }

    /// Puts a row into the session of its key, which it may open.
    fn place(&mut self, key: u32, time_us: i64) -> u32 {
        let at = key as usize;
        if at >= self.open.len() {
            self.open.resize(at + 1, Open::default());
        }
        if let Some(held) = self.open[at].session {
            if time_us < self.end_us(held) {
                self.open[at].session = Some(Held { last_us: time_us, ..held });
                return held.slot;
            }
            self.ended.push(self.ended(key, held));
        }
        let slot = self.slots.allocate();
        self.hold(key, Held { slot, first_us: time_us, last_us: time_us });
        slot
    }

    fn hold(&mut self, key: u32, held: Held) {
        let end_us = self.end_us(held);
        let open = &mut self.open[key as usize];
        open.session = Some(held);
        if !open.is_due {
            open.is_due = true;
            self.due.push(Reverse((end_us, key)));
        }
    }

    /// Moves sessions that end at or before the watermark to `ended`.
    fn end_before(&mut self, watermark_us: i64) {
        while let Some(Reverse((due_us, key))) = self.due.peek().copied()
            && due_us <= watermark_us
        {
            self.due.pop();
            self.open[key as usize].is_due = false;
            let Some(held) = self.open[key as usize].session else { continue };
            if self.end_us(held) <= watermark_us {
                self.open[key as usize].session = None;
                self.ended.push(self.ended(key, held));
            } else {
                self.hold(key, held);
            }
        }
    }

    fn held(&self) -> impl Iterator<Item = (u32, Held)> {
        (0..).zip(&self.open).filter_map(|(key, open)| Some((key, open.session?)))
    }
}

impl OrderedOperator for Session {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let (evaluated, keys) = self.slots.evaluate(&rows.batches[0])?;
        let slots: Vec<u32> =
            keys.iter().zip(&rows.times_us).map(|(key, time_us)| self.place(*key, *time_us)).collect();
        self.slots.update(&evaluated, &slots)
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        self.end_before(watermark_us);
        let mut ended = std::mem::take(&mut self.ended);
        // A session that a later row has ended ends before that row, which is before the watermark.
        debug_assert!(ended.iter().all(|e| e.end_us <= watermark_us));
        let keys = &self.slots.keys;
        ended.sort_unstable_by(|a, b| {
            a.end_us.cmp(&b.end_us).then_with(|| keys.ordered(a.key).cmp(keys.ordered(b.key)))
        });
        let batches = ended.chunks(BATCH_ROWS).map(|part| self.slots.emit(part)).collect::<Result<_>>()?;
        for Ended { key, .. } in ended {
            let open = self.open[key as usize];
            if open.session.is_none() && !open.is_due {
                self.slots.keys.remove(key);
            }
        }
        Ok(batches)
    }

    fn horizon_us(&self) -> Option<i64> {
        self.held().map(|(_, held)| self.end_us(held)).max()
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        let taken = self.held().filter(|(key, _)| self.slots.keys.is_taken(*key));
        let held: Vec<_> = taken.map(|(key, held)| (key, held.slot, [held.first_us, held.last_us])).collect();
        Ok(vec![self.slots.windows(&self.state_shapes[0], &held)?])
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        vec![&mut self.slots.keys]
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (restored, slots) = self.slots.restore_windows(&state[0], 2)?;
        self.open.resize(restored.keys.iter().max().map_or(0, |n| *n as usize + 1), Open::default());
        for (row, key) in restored.keys.into_iter().enumerate() {
            let (first_us, last_us) = (restored.own[0][row], restored.own[1][row]);
            self.hold(key, Held { slot: slots[row], first_us, last_us });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.slots.bytes()
            + self.open.capacity() * size_of::<Open>()
            + self.due.capacity() * size_of::<Reverse<(i64, u32)>>()
            + self.ended.capacity() * size_of::<Ended>()
    }
}
