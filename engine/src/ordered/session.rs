//! `SESSION`: per key, rows that are less than a gap apart. A session ends a gap after its last row.
//!
//! Sessions are emitted by (end, key).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DFSchema;
use thermocline_sql::{KeyedAggregate, timestamp_type};

use super::operator::{OrderedOperator, OrderedRows};
use crate::error::Result;
use crate::keyed::{Accumulators, Bounds, KeyTable, KeyedFunctions};

/// Sessions that are emitted as one batch, at most.
const BATCH_ROWS: usize = 8_192;

/// Open sessions by key.
#[derive(Debug)]
pub(crate) struct Session {
    gap_us: i64,
    functions: KeyedFunctions,
    keys: KeyTable,
    accumulators: Accumulators,
    /// By the key's number.
    open: Vec<Open>,
    ended: Vec<Ended>,
    /// For each key with an open session, a moment at or before its end.
    due: BinaryHeap<Reverse<(i64, u32)>>,
    state_schema: [SchemaRef; 1],
    numbers: Vec<u32>,
    slots: Vec<u32>,
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

#[derive(Debug, Clone, Copy)]
struct Ended {
    end_us: i64,
    key: u32,
    held: Held,
}

impl Session {
    pub(crate) fn try_new(gap_us: i64, aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let functions = KeyedFunctions::try_new(aggregate, input_schema)?;
        let keys = KeyTable::new(functions.key_schema())?;
        let accumulators = functions.accumulators()?;
        let time = |name| Arc::new(Field::new(name, timestamp_type(), false));
        let fields = functions.key_schema().fields().iter().cloned().chain([time("first"), time("last")]);
        let fields = fields.chain(functions.state_fields()?.into_iter().map(Arc::new));
        let state_schema = [Arc::new(Schema::new(fields.collect::<Vec<_>>()))];
        Ok(Self {
            gap_us,
            functions,
            keys,
            accumulators,
            open: Vec::new(),
            ended: Vec::new(),
            due: BinaryHeap::new(),
            state_schema,
            numbers: Vec::new(),
            slots: Vec::new(),
        })
    }

    fn end_us(&self, held: Held) -> i64 {
        held.last_us.saturating_add(self.gap_us)
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
            self.ended.push(Ended { end_us: self.end_us(held), key, held });
        }
        let slot = self.accumulators.allocate();
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
                self.ended.push(Ended { end_us: self.end_us(held), key, held });
            } else {
                self.hold(key, held);
            }
        }
    }

    fn emit(&mut self, ended: &[Ended]) -> Result<RecordBatch> {
        let bounds: Vec<Bounds> =
            ended.iter().map(|e| Bounds { start_us: e.held.first_us, end_us: e.end_us }).collect();
        let slots: Vec<u32> = ended.iter().map(|e| e.held.slot).collect();
        let keys = self.keys.columns(ended.iter().map(|e| e.key))?;
        let results = self.accumulators.take(&slots)?;
        Ok(self.functions.output(&bounds, &keys, results)?)
    }

    fn held(&self) -> impl Iterator<Item = (u32, Held)> {
        (0..).zip(&self.open).filter_map(|(key, open)| Some((key, open.session?)))
    }
}

impl OrderedOperator for Session {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let evaluated = self.functions.evaluate(&rows.batches[0])?;
        let mut numbers = std::mem::take(&mut self.numbers);
        self.keys.intern(rows.times_us.len(), &evaluated.keys, &mut numbers)?;
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        slots.extend(numbers.iter().zip(&rows.times_us).map(|(key, time_us)| self.place(*key, *time_us)));
        self.accumulators.update(&evaluated.arguments, &evaluated.filters, &slots)?;
        (self.numbers, self.slots) = (numbers, slots);
        Ok(())
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        self.end_before(watermark_us);
        let mut ended = std::mem::take(&mut self.ended);
        // A session that a later row has ended ends before that row, which is before the watermark.
        debug_assert!(ended.iter().all(|e| e.end_us <= watermark_us));
        let keys = &self.keys;
        ended.sort_unstable_by(|a, b| {
            a.end_us.cmp(&b.end_us).then_with(|| keys.ordered(a.key).cmp(keys.ordered(b.key)))
        });
        let batches = ended.chunks(BATCH_ROWS).map(|part| self.emit(part)).collect::<Result<_>>()?;
        for Ended { key, .. } in ended {
            let open = self.open[key as usize];
            if open.session.is_none() && !open.is_due {
                self.keys.remove(key);
            }
        }
        Ok(batches)
    }

    fn horizon_us(&self) -> Option<i64> {
        self.held().map(|(_, held)| self.end_us(held)).max()
    }

    fn state_schemas(&self) -> &[SchemaRef] {
        &self.state_schema
    }

    fn state(&mut self) -> Result<Vec<RecordBatch>> {
        let held: Vec<(u32, Held)> = self.held().collect();
        let schema = Arc::clone(&self.state_schema[0]);
        if held.is_empty() {
            return Ok(vec![RecordBatch::new_empty(schema)]);
        }
        let slots: Vec<u32> = held.iter().map(|(_, held)| held.slot).collect();
        let mut columns = self.keys.columns(held.iter().map(|(key, _)| *key))?;
        for time in [|held: &Held| held.first_us, |held: &Held| held.last_us] {
            let times = TimestampMicrosecondArray::from_iter_values(held.iter().map(|(_, held)| time(held)));
            columns.push(Arc::new(times.with_timezone("UTC")));
        }
        columns.extend(self.accumulators.state(&slots)?);
        Ok(vec![RecordBatch::try_new(schema, columns)?])
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let rows = state[0].num_rows();
        let (keys, others) = state[0].columns().split_at(self.functions.key_schema().fields().len());
        let states = &others[2..];
        let times = |column: &ArrayRef| column.as_primitive::<TimestampMicrosecondType>().values().to_vec();
        let (first, last) = (times(&others[0]), times(&others[1]));
        debug_assert_eq!(first.len(), rows);
        let mut numbers = Vec::new();
        self.keys.intern(rows, keys, &mut numbers)?;
        let slots = self.accumulators.restore(rows, states)?;
        self.open.resize(numbers.iter().max().map_or(0, |n| *n as usize + 1), Open::default());
        for (row, key) in numbers.into_iter().enumerate() {
            self.hold(key, Held { slot: slots[row], first_us: first[row], last_us: last[row] });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.bytes() + self.open.capacity() * size_of::<Open>()
    }
}
