//! Pairs of rows of two inputs with the same key, near each other in event time: interval joins and window joins.
//!
//! A pair is emitted as the later of its rows comes, in the order of the later rows, and for one of them in the order of the
//! earlier ones. A row that has no pair and is kept by an outer join is emitted once the watermark has passed the last time
//! that a match could have.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::JoinType;
use thermocline_sql::{JoinReach, StreamJoin, timestamp_type};

use super::join_keys::{JoinKeys, NO_KEY};
use super::joined_rows::{JoinedRows, Residual};
use super::operator::{OrderedOperator, OrderedRows};
use super::rows::{NO_ROW, RowStore};
use crate::error::Result;
use crate::query::FailedRow;
use crate::snapshot::{TableShape, TableState};

/// Rows that are emitted as one batch, at most.
const BATCH_ROWS: usize = 8_192;

/// Pairs that are gathered before they are looked at, at most by one row's more.
const EVENTS: usize = 65_536;

/// Columns of a side's state before those of its rows: time, whether it has a pair.
const STATE_COLUMNS: usize = 2;

/// A join of two inputs.
#[derive(Debug)]
pub(crate) struct Join {
    reach: JoinReach,
    rows: JoinedRows,
    residual: Option<Residual>,
    /// Whether a side's rows are emitted without a match.
    preserved: [bool; 2],
    keys: JoinKeys,
    /// By the key's number, the rows of each side that can still match.
    by_key: Vec<[VecDeque<u64>; 2]>,
    /// Room for numbers in `by_key`.
    room: usize,
    sides: [Side; 2],
    /// What has happened and is not emitted yet: a pair, or a row that can match no more.
    events: Vec<(u64, u64)>,
    ready: Vec<RecordBatch>,
    /// Pairs that the residual failed on: they are none.
    failed: Vec<(RecordBatch, Vec<FailedRow>)>,
    /// Keys that may have no rows any more.
    emptied: Vec<u32>,
    state_shapes: [TableShape; 2],
    numbers: [Vec<u32>; 2],
}

/// The rows of one input, in the order they came; those before `expired` can match no more.
#[derive(Debug)]
struct Side {
    store: RowStore,
    first: u64,
    expired: u64,
    times_us: VecDeque<i64>,
    keys: VecDeque<u32>,
    matched: VecDeque<bool>,
}

impl Side {
    fn new(schema: SchemaRef) -> Self {
        Self {
            store: RowStore::new(schema),
            first: 0,
            expired: 0,
            times_us: VecDeque::new(),
            keys: VecDeque::new(),
            matched: VecDeque::new(),
        }
    }

    fn index(&self, row: u64) -> usize {
        (row - self.first) as usize
    }

    fn time_us(&self, row: u64) -> i64 {
        self.times_us[self.index(row)]
    }

    /// The time of the first row that can still match.
    fn front_us(&self) -> Option<i64> {
        self.times_us.get(self.index(self.expired)).copied()
    }

    fn push(&mut self, time_us: i64, key: u32, matched: bool) -> u64 {
        self.times_us.push_back(time_us);
        self.keys.push_back(key);
        self.matched.push_back(matched);
        self.first + self.times_us.len() as u64 - 1
    }

    fn forget_expired(&mut self) {
        let expired = self.index(self.expired);
        self.times_us.drain(..expired);
        self.keys.drain(..expired);
        self.matched.drain(..expired);
        self.first = self.expired;
        self.store.forget_before(self.first);
    }

    /// Its rows, which are not copied, with their times and whether they have pairs.
    fn state(&self, shape: &TableShape) -> Result<TableState> {
        let (mut times, mut matched) = (self.times_us.iter().copied(), self.matched.iter().copied());
        let part = |rows: RecordBatch| {
            let times = TimestampMicrosecondArray::from_iter_values(times.by_ref().take(rows.num_rows()));
            let matched = BooleanArray::from(matched.by_ref().take(rows.num_rows()).collect::<Vec<_>>());
            let mut columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(matched)];
            columns.extend(rows.columns().iter().cloned());
            Ok(RecordBatch::try_new(Arc::clone(&shape.schema), columns)?)
        };
        Ok(TableState { rows: self.store.parts_from(self.first).map(part).collect::<Result<_>>()?, gone: None })
    }

    fn bytes(&self) -> usize {
        self.store.bytes()
            + self.times_us.capacity() * size_of::<i64>()
            + self.keys.capacity() * size_of::<u32>()
            + self.matched.capacity() * size_of::<bool>()
    }
}

/// The first and the last time of a match of a row of side `side` at `time_us`.
fn match_times(reach: JoinReach, side: usize, time_us: i64) -> (i64, i64) {
    match (reach, side) {
        (JoinReach::Interval { min_us, max_us }, 0) => (time_us.saturating_sub(max_us), time_us.saturating_sub(min_us)),
        (JoinReach::Interval { min_us, max_us }, _) => (time_us.saturating_add(min_us), time_us.saturating_add(max_us)),
        (JoinReach::Window { size_us, offset_us }, _) => {
            let start_us = time_us.saturating_sub(time_us.saturating_sub(offset_us).rem_euclid(size_us));
            (start_us, start_us.saturating_add(size_us - 1))
        }
    }
}

/// The watermark by which a row has all its matches.
fn settled_us(reach: JoinReach, side: usize, time_us: i64) -> i64 {
    match_times(reach, side, time_us).1.max(time_us).saturating_add(1)
}

impl Join {
    pub(crate) fn try_new(join: &StreamJoin, inputs: [SchemaRef; 2]) -> Result<Self> {
        let rows = JoinedRows::new(&join.rows);
        let residual = join.residual.as_ref().map(|expr| Residual::try_new(expr, &join.rows, &rows)).transpose()?;
        let state_shapes = inputs.each_ref().map(state_shape);
        let preserved = match join.join_type {
            JoinType::Left => [true, false],
            JoinType::Right => [false, true],
            JoinType::Full => [true, true],
            _ => [false, false],
        };
        Ok(Self {
            reach: join.reach,
            rows,
            residual,
            preserved,
            keys: JoinKeys::try_new(join.rows.keys, inputs.each_ref())?,
            by_key: Vec::new(),
            room: 0,
            sides: inputs.map(Side::new),
            events: Vec::new(),
            ready: Vec::new(),
            failed: Vec::new(),
            emptied: Vec::new(),
            state_shapes,
            numbers: [Vec::new(), Vec::new()],
        })
    }

    fn stores(&self) -> [&RowStore; 2] {
        [&self.sides[0].store, &self.sides[1].store]
    }

    fn grow_to(&mut self, key: u32) {
        if key as usize >= self.by_key.len() {
            self.by_key.resize_with(key as usize + 1, Default::default);
        }
    }

    /// Takes a row: it makes pairs with the earlier ones, and waits for later ones.
    fn take(&mut self, side: usize, time_us: i64, key: u32) {
        let row = self.sides[side].push(time_us, key, false);
        if key == NO_KEY {
            return;
        }
        self.grow_to(key);
        let (first_us, last_us) = match_times(self.reach, side, time_us);
        let of_key = &mut self.by_key[key as usize];
        for other in &of_key[1 - side] {
            let other_us = self.sides[1 - side].time_us(*other);
            if other_us > last_us {
                break;
            }
            if other_us >= first_us {
                self.events.push(if side == 0 { (row, *other) } else { (*other, row) });
            }
        }
        push_counted(&mut of_key[side], row, &mut self.room);
    }

    /// Lets go of the rows that are settled by the watermark, in the order in which they are; of one moment, the first
    /// input's first.
    fn expire(&mut self, watermark_us: i64) {
        loop {
            let due = |side: usize| {
                let settled_us = settled_us(self.reach, side, self.sides[side].front_us()?);
                (settled_us <= watermark_us).then_some((settled_us, side))
            };
            let Some((_, side)) = due(0).into_iter().chain(due(1)).min() else { return };
            let row = self.sides[side].expired;
            self.sides[side].expired += 1;
            let key = self.sides[side].keys[self.sides[side].index(row)];
            if key != NO_KEY {
                let of_key = &mut self.by_key[key as usize];
                let front = of_key[side].pop_front();
                debug_assert_eq!(front, Some(row), "rows of a key expire in their order");
                if of_key.iter().all(VecDeque::is_empty) {
                    self.emptied.push(key);
                }
            }
            if self.preserved[side] {
                self.events.push(if side == 0 { (row, NO_ROW) } else { (NO_ROW, row) });
            }
        }
    }

    /// Makes rows of what has happened, and forgets the rows that were let go.
    fn flush(&mut self) -> Result<()> {
        let is_pair = |event: &(u64, u64)| event.0 != NO_ROW && event.1 != NO_ROW;
        let mut events = std::mem::take(&mut self.events);
        if let Some(residual) = &self.residual {
            let pairs: Vec<(u64, u64)> = events.iter().copied().filter(is_pair).collect();
            let mut holds = Vec::with_capacity(pairs.len());
            for part in pairs.chunks(BATCH_ROWS) {
                let failed = residual.evaluate(self.stores(), part, &mut holds)?;
                if !failed.is_empty() {
                    let pairs: Vec<_> = failed.iter().map(|failed| part[failed.row as usize]).collect();
                    let rows = self.rows.output(self.stores(), &pairs)?;
                    let failed = (0..).zip(failed).map(|(row, failed)| FailedRow { row, ..failed });
                    self.failed.push((rows, failed.collect()));
                }
            }
            let mut holds = holds.into_iter();
            events.retain(|event| !is_pair(event) || holds.next().expect("one for each pair"));
        }
        if self.preserved.contains(&true) {
            // All pairs of a row come before it is let go.
            for event in events.iter().filter(|event| is_pair(event)) {
                for (side, row) in [event.0, event.1].into_iter().enumerate() {
                    let index = self.sides[side].index(row);
                    self.sides[side].matched[index] = true;
                }
            }
            let is_matched = |side: &Side, row: u64| side.matched[side.index(row)];
            events.retain(|event| match *event {
                (row, NO_ROW) => !is_matched(&self.sides[0], row),
                (NO_ROW, row) => !is_matched(&self.sides[1], row),
                _ => true,
            });
        }
        for part in events.chunks(BATCH_ROWS) {
            self.ready.push(self.rows.output(self.stores(), part)?);
        }
        events.clear();
        self.events = events;
        self.sides.iter_mut().for_each(Side::forget_expired);
        Ok(())
    }
}

impl OrderedOperator for Join {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let mut numbers = std::mem::take(&mut self.numbers);
        for ((side, batch), numbers) in self.sides.iter_mut().zip(&rows.batches).zip(&mut numbers) {
            self.keys.intern(batch, numbers)?;
            side.store.push(batch.clone())?;
        }
        let mut next = [0, 0];
        for (time_us, side) in rows.times_us.iter().zip(&rows.inputs) {
            let side = usize::from(*side);
            self.expire(*time_us);
            self.take(side, *time_us, numbers[side][next[side]]);
            next[side] += 1;
            if self.events.len() >= EVENTS {
                self.flush()?;
            }
        }
        self.numbers = numbers;
        Ok(())
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        self.expire(watermark_us);
        self.flush()?;
        for key in self.emptied.drain(..) {
            let of_key = &mut self.by_key[key as usize];
            if of_key.iter().all(VecDeque::is_empty) {
                self.room -= std::mem::take(of_key).iter().map(VecDeque::capacity).sum::<usize>();
                self.keys.remove(key);
            }
        }
        Ok(std::mem::take(&mut self.ready))
    }

    fn take_failed(&mut self) -> Vec<(RecordBatch, Vec<FailedRow>)> {
        std::mem::take(&mut self.failed)
    }

    fn horizon_us(&self) -> Option<i64> {
        let of_side = |side: usize| {
            let last_us = self.sides[side].times_us.back().filter(|_| self.preserved[side])?;
            Some(settled_us(self.reach, side, *last_us))
        };
        of_side(0).max(of_side(1))
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        debug_assert!(self.events.is_empty(), "emitted by the last watermark");
        self.sides.iter().zip(&self.state_shapes).map(|(side, shape)| side.state(shape)).collect()
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        for (side, table) in state.iter().enumerate() {
            let schema = Arc::clone(self.sides[side].store.schema());
            let rows = RecordBatch::try_new(schema, table.columns()[STATE_COLUMNS..].to_vec())?;
            let mut numbers = Vec::new();
            self.keys.intern(&rows, &mut numbers)?;
            self.sides[side].store.push(rows)?;
            let times = table.column(0).as_primitive::<TimestampMicrosecondType>();
            let matched = table.column(1).as_boolean();
            for (i, key) in numbers.into_iter().enumerate() {
                let row = self.sides[side].push(times.value(i), key, matched.value(i));
                if key != NO_KEY {
                    self.grow_to(key);
                    push_counted(&mut self.by_key[key as usize][side], row, &mut self.room);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sides.iter().map(Side::bytes).sum::<usize>()
            + self.keys.bytes()
            + self.by_key.capacity() * size_of::<[VecDeque<u64>; 2]>()
            + self.room * size_of::<u64>()
            + self.events.capacity() * size_of::<(u64, u64)>()
            + self.numbers.iter().map(Vec::capacity).sum::<usize>() * size_of::<u32>()
            + self.emptied.capacity() * size_of::<u32>()
            + self.ready.iter().map(RecordBatch::get_array_memory_size).sum::<usize>()
    }
}

fn push_counted(numbers: &mut VecDeque<u64>, number: u64, room: &mut usize) {
    let before = numbers.capacity();
    numbers.push_back(number);
    *room += numbers.capacity() - before;
}

fn state_shape(input: &SchemaRef) -> TableShape {
    let time = Arc::new(Field::new("__time", timestamp_type(), false));
    let matched = Arc::new(Field::new("__matched", DataType::Boolean, false));
    let fields = [time, matched].into_iter().chain(input.fields().iter().cloned());
    TableShape::whole(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
