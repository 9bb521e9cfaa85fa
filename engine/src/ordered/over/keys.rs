//! One `PARTITION BY`: its keys, what each remembers, and which of its rows frames still need.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use thermocline_sql::{GroupColumn, KeyedAggregate, Numbering, OverCall, OverFunction};

use super::framed::{Framed, Reach};
use super::held::HeldRows;
use super::owners::{Complete, EVERYONE, Owners};
use super::running::Running;
use crate::error::Result;
use crate::keyed::{KeyTable, KeyedFunctions};
use crate::snapshot::{TableShape, TableState};

/// Rows of a key that frames need, in their order.
pub(super) type Entries = VecDeque<Entry>;

/// A row of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) time_us: i64,
    pub(super) number: u64,
}

/// The end of a key that never ends.
const NEVER: i64 = i64::MAX;
/// No place in the gathered rows.
const NOWHERE: usize = usize::MAX;

/// What a key remembers.
#[derive(Debug, Default)]
struct Key {
    is_known: bool,
    is_touched: bool,
    /// Whose watermark it goes by.
    owner: u32,
    counts: Counts,
    /// From here on it has no more rows.
    ends_us: i64,
    entries: Entries,
    /// Entries before this one were emitted, where calls look ahead.
    emitted: usize,
    /// Entries before this one are complete, or will be at a known moment.
    known: usize,
    /// When it is looked at next.
    due_us: Option<i64>,
}

/// Rows and times of a key so far.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rows: u64,
    /// Rows up to the first of this time.
    rank: u64,
    times: u64,
    last_us: i64,
}

impl Counts {
    fn add(&mut self, time_us: i64) {
        self.rows += 1;
        if self.rows == 1 || time_us != self.last_us {
            self.rank = self.rows;
            self.times += 1;
            self.last_us = time_us;
        }
    }

    fn of(&self, numbering: Numbering) -> u64 {
        match numbering {
            Numbering::RowNumber => self.rows,
            Numbering::Rank => self.rank,
            Numbering::DenseRank => self.times,
        }
    }
}

/// The keys of one `PARTITION BY` with its calls.
#[derive(Debug)]
pub(super) struct Keys {
    functions: KeyedFunctions,
    ends: Option<(Arc<dyn PhysicalExpr>, i64)>,
    table: KeyTable,
    numbering: Vec<(usize, Numbering)>,
    running: Vec<Running>,
    /// Computed when a row comes.
    behind: Vec<Framed>,
    /// Computed when a row is complete.
    ahead: Vec<Framed>,
    reach: Reach,
    keys: Vec<Key>,
    owners: Owners,
    /// The rows of the last batch: their key, and which of its entries.
    batch: Vec<(u32, usize)>,
    /// Scratch: where a key's rows begin among those gathered.
    starts: Vec<usize>,
    entries: usize,
    /// Room for entries in all keys.
    room: usize,
    state_shapes: [TableShape; 2],
}

impl Keys {
    /// The calls of one partition over rows of `input`, of which those of `held` are held for frames.
    pub(super) fn try_new(calls: &[(usize, &OverCall)], input: &DFSchema, held: &DFSchema) -> Result<Self> {
        let partition = &calls[0].1.partition;
        let group = partition.keys.iter().cloned().map(GroupColumn::Key).collect();
        let functions = KeyedFunctions::try_new(&KeyedAggregate { group, aggregates: Vec::new() }, input)?;
        let ends = partition.ends.as_ref().map(|ends| {
            let planning = PhysicalPlanningContext::default();
            create_physical_expr(&ends.column, input, &ExecutionProps::new(), &planning).map(|e| (e, ends.after_us))
        });
        let numbering = calls.iter().filter_map(|(n, call)| match call.function {
            OverFunction::Number(numbering) => Some((*n, numbering)),
            _ => None,
        });
        let (ahead, behind): (Vec<_>, Vec<_>) =
            calls.iter().copied().partition(|(_, call)| call.function.looks_ahead());
        let running = Running::of_calls(calls, input)?;
        let (behind, ahead) = (Framed::of_calls(&behind, held)?, Framed::of_calls(&ahead, held)?);
        let has_frames = !behind.is_empty() || !ahead.is_empty();
        let state_shapes = state_shapes(functions.key_schema(), &running, has_frames)?;
        Ok(Self {
            // With frames rows come and go, and all of them are stored each time, with their keys.
            table: match has_frames {
                true => KeyTable::new(functions.key_schema())?,
                false => KeyTable::tracked(functions.key_schema())?,
            },
            functions,
            ends: ends.transpose()?,
            numbering: numbering.collect(),
            running,
            reach: Reach::of(behind.iter().chain(&ahead)),
            behind,
            ahead,
            keys: Vec::new(),
            owners: Owners::default(),
            room: 0,
            batch: Vec::new(),
            starts: Vec::new(),
            entries: 0,
            state_shapes,
        })
    }

    /// Whether it has rows that wait for others.
    pub(super) fn looks_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether rows are held for frames.
    pub(super) fn has_frames(&self) -> bool {
        !self.ahead.is_empty() || !self.behind.is_empty()
    }

    /// Number of rows that frames need.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Numbers of the rows that frames need, in no order.
    pub(super) fn needed(&self) -> impl Iterator<Item = u64> {
        self.keys.iter().flat_map(|key| &key.entries).map(|entry| entry.number)
    }

    /// Adds rows that have the numbers from `first` on; the results of calls that need no frame. `owners`: for each row,
    /// whose watermark its key goes by, where there are several.
    pub(super) fn add(
        &mut self,
        rows: &RecordBatch,
        times_us: &[i64],
        owners: Option<&[u32]>,
        first: u64,
        results: &mut [Option<ArrayRef>],
    ) -> Result<()> {
        let evaluated = self.functions.evaluate(rows)?;
        let mut numbers = Vec::new();
        self.table.intern(times_us.len(), &evaluated.keys, &mut numbers)?;
        let ends = match &self.ends {
            Some((ends, after_us)) => Some((ends.evaluate(rows)?.into_array(rows.num_rows())?, *after_us)),
            None => None,
        };
        let ends = ends.as_ref().map(|(ends, after_us)| (ends.as_primitive::<TimestampMicrosecondType>(), *after_us));
        let highest = numbers.iter().max().map_or(0, |key| *key as usize + 1);
        if highest > self.keys.len() {
            self.keys.resize_with(highest, Key::default);
            self.starts.resize(highest, NOWHERE);
        }
        let mut counted: Vec<Vec<u64>> = vec![Vec::with_capacity(times_us.len()); self.numbering.len()];
        self.batch.clear();
        let has_frames = self.has_frames();
        for (row, (number, time_us)) in numbers.iter().zip(times_us).enumerate() {
            let key = &mut self.keys[*number as usize];
            if !key.is_known {
                key.is_known = true;
                key.owner = owners.map_or(EVERYONE, |owners| owners[row]);
                key.ends_us = NEVER;
                if let Some((ends, after_us)) = &ends
                    && ends.is_valid(row)
                {
                    key.ends_us = ends.value(row).saturating_add(*after_us);
                }
            }
            touch(key, *number, &mut self.owners);
            key.counts.add(*time_us);
            for (counted, (_, numbering)) in counted.iter_mut().zip(&self.numbering) {
                counted.push(key.counts.of(*numbering));
            }
            if has_frames {
                self.batch.push((*number, key.entries.len()));
                push_counted(&mut key.entries, Entry { time_us: *time_us, number: first + row as u64 }, &mut self.room);
                self.entries += 1;
            }
        }
        for ((call, _), counted) in self.numbering.iter().zip(counted) {
            results[*call] = Some(Arc::new(UInt64Array::from(counted)));
        }
        for running in &mut self.running {
            let computed = running.update(rows, &numbers, times_us)?;
            for (call, result) in running.calls.iter().zip(computed) {
                results[*call] = Some(result);
            }
        }
        Ok(())
    }

    /// The results of frames that do not look ahead, for the rows that were added last.
    pub(super) fn evaluate_behind(&mut self, held: &HeldRows, results: &mut [Option<ArrayRef>]) -> Result<()> {
        let Self { behind, keys, starts, batch, .. } = self;
        evaluate(behind, keys, starts, batch, held, results)
    }

    /// The results of frames that look ahead, for complete rows in this order; they have been emitted then.
    pub(super) fn evaluate_ahead(
        &mut self,
        rows: &[(u32, u64)],
        held: &HeldRows,
        results: &mut [Option<ArrayRef>],
    ) -> Result<()> {
        let Self { ahead, keys, starts, .. } = self;
        let place = |(key, number): &(u32, u64)| {
            let found = keys[*key as usize].entries.binary_search_by_key(number, |entry| entry.number);
            (*key, found.expect("a row that waits is held"))
        };
        let rows: Vec<(u32, usize)> = rows.iter().map(place).collect();
        evaluate(ahead, keys, starts, &rows, held, results)?;
        for (number, row) in rows {
            let key = &mut self.keys[number as usize];
            key.emitted = key.emitted.max(row + 1);
            touch(key, number, &mut self.owners);
        }
        Ok(())
    }

    /// Notes the rows whose moment the last batch has made known.
    pub(super) fn complete(&mut self, complete: &mut Complete) {
        for owner in self.owners.active() {
            for number in self.owners.touched(*owner) {
                note_complete(&mut self.keys[*number as usize], *number, &self.reach, false, complete);
            }
        }
    }

    /// Finds the keys of an owner that are due. A key that ends by the watermark completes its rows, as none comes after them.
    pub(super) fn find_due(&mut self, owner: u32, watermark_us: i64, complete: &mut Complete) {
        while let Some((due_us, number)) = self.owners.pop_due(owner, watermark_us) {
            let key = &mut self.keys[number as usize];
            if !key.is_known || key.owner != owner || key.due_us != Some(due_us) {
                continue;
            }
            key.due_us = None;
            touch(key, number, &mut self.owners);
        }
        if self.looks_ahead() {
            for number in self.owners.touched(owner) {
                let key = &mut self.keys[*number as usize];
                if key.ends_us <= watermark_us {
                    note_complete(key, *number, &self.reach, true, complete);
                }
            }
        }
    }

    /// Forgets what no frame needs any more, of the keys that something has happened to.
    pub(super) fn prune(&mut self, watermark_of: &dyn Fn(u32) -> i64) -> Result<()> {
        let mut removed = Vec::new();
        for (owner, touched) in self.owners.take_touched() {
            self.prune_touched(touched, watermark_of(owner), &mut removed);
        }
        if !removed.is_empty() {
            for running in &mut self.running {
                running.remove(&removed)?;
            }
        }
        Ok(())
    }

    fn prune_touched(&mut self, touched: Vec<u32>, watermark_us: i64, removed: &mut Vec<u32>) {
        let counts = !self.numbering.is_empty() || !self.running.is_empty();
        let (has_frames, looks_ahead) = (self.has_frames(), self.looks_ahead());
        for number in touched {
            let key = &mut self.keys[number as usize];
            key.is_touched = false;
            let ended = key.ends_us <= watermark_us;
            let forget = match ended {
                true => key.entries.len(),
                false => unneeded(key, &self.reach, looks_ahead, watermark_us),
            };
            key.entries.drain(..forget);
            key.emitted = key.emitted.saturating_sub(forget);
            key.known = key.known.saturating_sub(forget);
            self.entries -= forget;
            if ended || (!counts && key.entries.is_empty()) {
                self.table.remove(number);
                self.room -= key.entries.capacity();
                *key = Key::default();
                removed.push(number);
                continue;
            }
            let expires_us = match (self.reach.range_us, key.entries.front()) {
                // What is left for a number of rows stays.
                (Some(range_us), Some(front)) if has_frames && key.entries.len() > self.reach.rows => {
                    front.time_us.saturating_add(range_us).saturating_add(1)
                }
                _ => NEVER,
            };
            // A row that is due already waits for one that is not emitted; it is looked at when that is.
            let due_us = if expires_us > watermark_us { expires_us.min(key.ends_us) } else { key.ends_us };
            if due_us < key.due_us.unwrap_or(NEVER) {
                key.due_us = Some(due_us);
                self.owners.schedule(key.owner, due_us, number);
            }
        }
    }

    /// For each owner, the watermark that completes all rows that any watermark completes.
    pub(super) fn horizons_us(&self) -> BTreeMap<u32, i64> {
        let mut horizons = BTreeMap::new();
        for key in self.keys.iter().filter(|key| key.is_known && key.known < key.entries.len() && key.ends_us != NEVER)
        {
            let horizon_us = horizons.entry(key.owner).or_insert(key.ends_us);
            *horizon_us = key.ends_us.max(*horizon_us);
        }
        horizons
    }

    /// Its tables: keys, and their rows.
    pub(super) fn state_shapes(&self) -> &[TableShape; 2] {
        &self.state_shapes
    }

    /// Its keys, where those are stored that have changed.
    pub(super) fn tracked(&mut self) -> Option<&mut KeyTable> {
        if self.has_frames() { None } else { Some(&mut self.table) }
    }

    /// Its tables.
    pub(super) fn state(&mut self) -> Result<[TableState; 2]> {
        let is_stored = |key: &u32| self.keys[*key as usize].is_known && self.table.is_taken(*key);
        let known: Vec<u32> = (0..self.keys.len() as u32).filter(is_stored).collect();
        let [keys_schema, entries_schema] = self.state_shapes.each_ref().map(|shape| Arc::clone(&shape.schema));
        let (gone, columns) = self.table.taken_without(known.iter().copied())?;
        let gone = match gone {
            0 => None,
            keys => {
                let options = RecordBatchOptions::new().with_row_count(Some(keys));
                let schema = Arc::clone(self.functions.key_schema());
                Some(RecordBatch::try_new_with_options(schema, columns, &options)?)
            }
        };
        if known.is_empty() {
            let entries = TableState::of(RecordBatch::new_empty(entries_schema));
            return Ok([TableState { rows: Vec::new(), gone }, entries]);
        }
        let mut columns = self.table.columns(known.iter().copied())?;
        let of_known = || known.iter().map(|number| &self.keys[*number as usize]);
        for count in [|c: &Counts| c.rows, |c: &Counts| c.rank, |c: &Counts| c.times] {
            columns.push(Arc::new(UInt64Array::from_iter_values(of_known().map(|key| count(&key.counts)))));
        }
        columns.push(Arc::new(Int64Array::from_iter_values(of_known().map(|key| key.counts.last_us))));
        columns.push(Arc::new(Int64Array::from_iter_values(of_known().map(|key| key.ends_us))));
        columns.push(Arc::new(UInt32Array::from_iter_values(of_known().map(|key| key.owner))));
        for running in &mut self.running {
            columns.extend(running.state(&known)?);
        }
        let keys = RecordBatch::try_new(keys_schema, columns)?;
        let of_known = || known.iter().map(|number| &self.keys[*number as usize]);
        let rows =
            || (0_u32..).zip(of_known()).flat_map(|(n, key)| key.entries.iter().enumerate().map(move |e| (n, key, e)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(rows().map(|(n, ..)| n))),
            Arc::new(Int64Array::from_iter_values(rows().map(|(_, _, (_, entry))| entry.time_us))),
            Arc::new(UInt64Array::from_iter_values(rows().map(|(_, _, (_, entry))| entry.number))),
            Arc::new(rows().map(|(_, key, (at, _))| Some(at < key.emitted)).collect::<BooleanArray>()),
        ];
        let keys = TableState { rows: vec![keys], gone };
        Ok([keys, TableState::of(RecordBatch::try_new(entries_schema, columns)?)])
    }

    /// Goes on from its tables.
    pub(super) fn restore(&mut self, keys: &RecordBatch, rows: &RecordBatch, complete: &mut Complete) -> Result<()> {
        if keys.num_rows() == 0 {
            return Ok(());
        }
        let (key_columns, others) = keys.columns().split_at(self.functions.key_schema().fields().len());
        let mut numbers = Vec::new();
        self.table.intern(keys.num_rows(), key_columns, &mut numbers)?;
        let count = |n: usize| others[n].as_primitive::<UInt64Type>().values();
        let time = |n: usize| others[n].as_primitive::<Int64Type>().values();
        let owners = others[5].as_primitive::<UInt32Type>().values();
        self.keys.resize_with(numbers.len(), Key::default);
        self.starts.resize(numbers.len(), NOWHERE);
        for (row, number) in numbers.iter().enumerate() {
            let key = &mut self.keys[*number as usize];
            key.is_known = true;
            key.owner = owners[row];
            // It is scheduled with the next watermark.
            touch(key, *number, &mut self.owners);
            key.counts =
                Counts { rows: count(0)[row], rank: count(1)[row], times: count(2)[row], last_us: time(3)[row] };
            key.ends_us = time(4)[row];
        }
        let mut at = 6;
        for (n, running) in self.running.iter_mut().enumerate() {
            let width = running.state_fields(n)?.len();
            running.restore(&numbers, &others[at..at + width])?;
            at += width;
        }
        let emitted = rows.column(3).as_boolean();
        let columns = (rows.column(0).as_primitive::<UInt32Type>(), rows.column(1).as_primitive::<Int64Type>());
        let row_numbers = rows.column(2).as_primitive::<UInt64Type>();
        for row in 0..rows.num_rows() {
            let key = &mut self.keys[numbers[columns.0.value(row) as usize] as usize];
            let entry = Entry { time_us: columns.1.value(row), number: row_numbers.value(row) };
            push_counted(&mut key.entries, entry, &mut self.room);
            key.emitted += usize::from(emitted.value(row));
            key.known = key.emitted;
        }
        self.entries = rows.num_rows();
        if self.looks_ahead() {
            self.complete(complete);
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
            + self.keys.capacity() * size_of::<Key>()
            + self.room * size_of::<Entry>()
            + self.owners.bytes()
            + self.batch.capacity() * size_of::<(u32, usize)>()
            + self.starts.capacity() * size_of::<usize>()
            + self.running.iter().map(Running::bytes).sum::<usize>()
    }
}

/// Notes that something has happened to a key.
fn touch(key: &mut Key, number: u32, owners: &mut Owners) {
    if !std::mem::replace(&mut key.is_touched, true) {
        owners.touch(key.owner, number);
    }
}

fn push_counted(entries: &mut Entries, entry: Entry, room: &mut usize) {
    let before = entries.capacity();
    entries.push_back(entry);
    *room += entries.capacity() - before;
}

/// Notes the moments of the rows that are known to be complete then; of all rows where the key `is_over`.
fn note_complete(key: &mut Key, number: u32, reach: &Reach, is_over: bool, complete: &mut Complete) {
    let last_us = key.ends_us.saturating_sub(1);
    while let Some(entry) = key.entries.get(key.known) {
        let seen_us = match key.entries.get(key.known + reach.ahead_rows) {
            Some(following) => following.time_us.max(entry.time_us.saturating_add(reach.ahead_us)).min(last_us),
            None if is_over => last_us,
            None => break,
        };
        complete.push(key.owner, seen_us, entry.number, number);
        key.known += 1;
    }
}

/// How many of a key's first rows no frame needs any more: neither of rows to come nor of rows that wait.
fn unneeded(key: &Key, reach: &Reach, looks_ahead: bool, watermark_us: i64) -> usize {
    let entries = &key.entries;
    let before = |time_us: i64| entries.partition_point(|entry| entry.time_us < time_us);
    let mut unneeded = entries.len().saturating_sub(reach.rows);
    if let Some(range_us) = reach.range_us {
        unneeded = unneeded.min(before(watermark_us.saturating_sub(range_us)));
    }
    if looks_ahead && let Some(waiting) = entries.get(key.emitted) {
        unneeded = unneeded.min(key.emitted.saturating_sub(reach.rows));
        if let Some(range_us) = reach.range_us {
            unneeded = unneeded.min(before(waiting.time_us.saturating_sub(range_us)));
        }
    }
    unneeded
}

/// The results of frames around these rows, in their order.
fn evaluate(
    framed: &mut [Framed],
    keys: &[Key],
    starts: &mut [usize],
    rows: &[(u32, usize)],
    held: &HeldRows,
    results: &mut [Option<ArrayRef>],
) -> Result<()> {
    if framed.is_empty() {
        return Ok(());
    }
    let mut numbers = Vec::new();
    for (key, _) in rows {
        let start = &mut starts[*key as usize];
        if *start == NOWHERE {
            *start = numbers.len();
            numbers.extend(keys[*key as usize].entries.iter().map(|entry| entry.number));
        }
    }
    let gathered = held.gather(&numbers)?;
    for framed in framed {
        let frame = |(key, row): &(u32, usize)| {
            let frame = framed.range(&keys[*key as usize].entries, *row);
            let start = starts[*key as usize];
            start + frame.start..start + frame.end
        };
        let frames: Vec<_> = rows.iter().map(frame).collect();
        let computed = framed.evaluate(&gathered, &frames)?;
        for (call, result) in framed.calls.iter().zip(computed) {
            results[*call] = Some(result);
        }
    }
    for (key, _) in rows {
        starts[*key as usize] = NOWHERE;
    }
    Ok(())
}

fn state_shapes(key_schema: &SchemaRef, running: &[Running], has_frames: bool) -> Result<[TableShape; 2]> {
    let count = |name| Field::new(name, DataType::UInt64, false);
    let time = |name| Field::new(name, DataType::Int64, false);
    let mut keys: Vec<Field> = key_schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    keys.extend([count("rows"), count("rank"), count("times"), time("last_us"), time("ends_us")]);
    keys.push(Field::new("owner", DataType::UInt32, false));
    for (n, running) in running.iter().enumerate() {
        keys.extend(running.state_fields(n)?);
    }
    let entries = vec![
        Field::new("key", DataType::UInt32, false),
        time("time_us"),
        count("number"),
        Field::new("emitted", DataType::Boolean, false),
    ];
    let keys = Arc::new(Schema::new(keys));
    let keys = match has_frames {
        true => TableShape::whole(keys),
        false => TableShape::by_key(keys, 0..key_schema.fields().len()),
    };
    Ok([keys, TableShape::whole(Arc::new(Schema::new(entries)))])
}
