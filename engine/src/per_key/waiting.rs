//! Rows that wait for the watermark of their key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::KeyWatermarks;
use crate::error::Result;
use crate::snapshot::{TableShape, TableState};

/// Chunks are not merged beyond this.
const MAX_CHUNK_ROWS: usize = 65_536;

/// No row waits at this place of a chunk.
const NOBODY: u32 = u32::MAX;

/// Rows in chunks, and each key's rows by (event time, order).
#[derive(Debug)]
pub(super) struct WaitingRows {
    schema: SchemaRef,
    state_shape: TableShape,
    chunks: BTreeMap<u32, Chunk>,
    next_chunk: u32,
    /// Where the row of an id stands: its chunk, and which row of that.
    places: Vec<(u32, u32)>,
    free: Vec<u32>,
    /// By the key's number.
    keys: Vec<BinaryHeap<Reverse<Waiting>>>,
    next_order: u64,
}

#[derive(Debug)]
struct Chunk {
    rows: RecordBatch,
    /// Id of each row.
    ids: Vec<u32>,
    waiting: usize,
}

/// A row that waits; compares by (event time, order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    time_us: i64,
    order: u64,
    id: u32,
}

/// A row that was let go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Released {
    pub(super) key: u32,
    pub(super) time_us: i64,
    order: u64,
    id: u32,
}

impl WaitingRows {
    /// Rows with these columns.
    pub(super) fn new(schema: SchemaRef) -> Self {
        let own = ["__key", "__order", "__time_us"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
        let fields: Vec<_> = own.into_iter().chain(schema.fields().iter().cloned()).collect();
        Self {
            schema,
            state_shape: TableShape::by_key(Arc::new(Schema::new(fields)), 0..1),
            chunks: BTreeMap::new(),
            next_chunk: 0,
            places: Vec::new(),
            free: Vec::new(),
            keys: Vec::new(),
            next_order: 0,
        }
    }

    /// Begins a chunk of rows, of which none waits yet.
    pub(super) fn open(&mut self, rows: RecordBatch) {
        let ids = vec![NOBODY; rows.num_rows()];
        self.next_chunk = self.next_chunk.wrapping_add(1);
        self.chunks.insert(self.next_chunk, Chunk { rows, ids, waiting: 0 });
    }

    /// Lets a row of the last chunk wait.
    pub(super) fn push(&mut self, row: u32, key: u32, time_us: i64) {
        let place = (self.next_chunk, row);
        let id = match self.free.pop() {
            Some(id) => {
                self.places[id as usize] = place;
                id
            }
            None => {
                self.places.push(place);
                self.places.len() as u32 - 1
            }
        };
        let chunk = self.chunks.get_mut(&self.next_chunk).expect("a chunk was opened");
        chunk.ids[row as usize] = id;
        chunk.waiting += 1;
        if key as usize >= self.keys.len() {
            self.keys.resize_with(key as usize + 1, BinaryHeap::new);
        }
        self.keys[key as usize].push(Reverse(Waiting { time_us, order: self.next_order, id }));
        self.next_order += 1;
    }

    /// Lets the rows of a key go that are before a watermark, by (event time, order).
    pub(super) fn release(&mut self, key: u32, watermark_us: i64, released: &mut Vec<Released>) {
        let Some(rows) = self.keys.get_mut(key as usize) else { return };
        while let Some(Reverse(row)) = rows.peek()
            && row.time_us < watermark_us
        {
            let Waiting { time_us, order, id } = *row;
            rows.pop();
            released.push(Released { key, time_us, order, id });
        }
    }

    /// Lets all rows go, by (event time, order).
    pub(super) fn release_all(&mut self) -> Vec<Released> {
        let mut released = Vec::new();
        for key in 0..self.keys.len() as u32 {
            let rows = std::mem::take(&mut self.keys[key as usize]).into_iter();
            released.extend(rows.map(|Reverse(Waiting { time_us, order, id })| Released { key, time_us, order, id }));
        }
        released.sort_unstable_by_key(|row| (row.time_us, row.order));
        released
    }

    /// The rows that were let go, in this order; they are forgotten.
    pub(super) fn take(&mut self, released: &[Released]) -> Result<RecordBatch> {
        let rows = self.gather(released.iter().map(|row| row.id))?;
        for row in released {
            let (chunk, at) = self.places[row.id as usize];
            let chunk = self.chunks.get_mut(&chunk).expect("the chunk of a row that waits is there");
            chunk.ids[at as usize] = NOBODY;
            chunk.waiting -= 1;
            self.free.push(row.id);
        }
        self.tidy()?;
        Ok(rows)
    }

    fn gather(&self, ids: impl ExactSizeIterator<Item = u32>) -> Result<RecordBatch> {
        if ids.len() == 0 {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let numbers: BTreeMap<u32, usize> = self.chunks.keys().copied().zip(0..).collect();
        let sources: Vec<&RecordBatch> = self.chunks.values().map(|chunk| &chunk.rows).collect();
        let indices = ids.map(|id| {
            let (chunk, row) = self.places[id as usize];
            (numbers[&chunk], row as usize)
        });
        Ok(interleave_record_batch(&sources, &indices.collect::<Vec<_>>())?)
    }

    /// Forgets chunks of which no row waits, and rows that do not where they are the most of a chunk; merges the last chunks, so
    /// that each is at least twice as large as the next and a row is copied seldom.
    fn tidy(&mut self) -> Result<()> {
        self.chunks.retain(|_, chunk| chunk.waiting > 0);
        let spent = self.chunks.iter().filter(|(_, chunk)| 2 * chunk.waiting < chunk.rows.num_rows());
        for chunk in spent.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.merge(&[chunk])?;
        }
        while let Some((&last, small)) = self.chunks.last_key_value()
            && let Some((&before, large)) = self.chunks.range(..last).next_back()
            && large.waiting < 2 * small.waiting
            && large.waiting + small.waiting <= MAX_CHUNK_ROWS
        {
            self.merge(&[before, last])?;
        }
        Ok(())
    }

    /// Puts the waiting rows of chunks into the first of them.
    fn merge(&mut self, numbers: &[u32]) -> Result<()> {
        let chunks: Vec<Chunk> = numbers.iter().filter_map(|number| self.chunks.remove(number)).collect();
        let (mut indices, mut ids) = (Vec::new(), Vec::new());
        for (source, chunk) in chunks.iter().enumerate() {
            for (row, id) in chunk.ids.iter().enumerate().filter(|(_, id)| **id != NOBODY) {
                self.places[*id as usize] = (numbers[0], ids.len() as u32);
                indices.push((source, row));
                ids.push(*id);
            }
        }
        let rows = match chunks.as_slice() {
            [only] => take_record_batch(
                &only.rows,
                &UInt32Array::from_iter_values(indices.iter().map(|(_, row)| *row as u32)),
            )?,
            chunks => interleave_record_batch(&chunks.iter().map(|chunk| &chunk.rows).collect::<Vec<_>>(), &indices)?,
        };
        self.chunks.insert(numbers[0], Chunk { rows, waiting: ids.len(), ids });
        Ok(())
    }

    /// The table of its state.
    pub(super) fn state_shape(&self) -> &TableShape {
        &self.state_shape
    }

    /// The rows of keys that were taken, with the key, the order in which they came, and the time of each. Whatever lets rows of
    /// a key wait or go is a row of it, or moves its watermark.
    pub(super) fn state(&self, watermarks: &KeyWatermarks) -> Result<TableState> {
        let mut rows: Vec<Released> = Vec::new();
        for (key, waiting) in (0..).zip(&self.keys).filter(|(key, _)| watermarks.is_taken(*key)) {
            let waiting = waiting.iter();
            rows.extend(waiting.map(|Reverse(row)| Released {
                key,
                time_us: row.time_us,
                order: row.order,
                id: row.id,
            }));
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(row.key)))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.order.cast_signed()))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.time_us))),
        ];
        columns.extend(self.gather(rows.iter().map(|row| row.id))?.columns().iter().cloned());
        let gone = watermarks.taken_without(rows.iter().map(|row| row.key)).into_iter().map(i64::from);
        let gone: ArrayRef = Arc::new(Int64Array::from_iter_values(gone));
        Ok(TableState {
            rows: vec![RecordBatch::try_new(Arc::clone(&self.state_shape.schema), columns)?],
            gone: Some(RecordBatch::try_new(self.state_shape.key_schema(), vec![gone])?),
        })
    }

    /// Goes on from a state. Rows keep their order, as others that were stored before have theirs.
    pub(super) fn restore(&mut self, state: &RecordBatch) -> Result<()> {
        let in_order = sort_to_indices(state.column(1), None, None)?;
        let state = take_record_batch(state, &in_order)?;
        let [keys, orders, times, columns @ ..] = state.columns() else { unreachable!("three columns of its own") };
        let options = RecordBatchOptions::new().with_row_count(Some(state.num_rows()));
        self.open(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.to_vec(), &options)?);
        let [keys, orders, times] = [keys, orders, times].map(|column| column.as_primitive::<Int64Type>());
        for row in 0..state.num_rows() {
            self.next_order = orders.value(row).cast_unsigned();
            self.push(row as u32, keys.value(row) as u32, times.value(row));
        }
        self.tidy()
    }

    /// The last event time of each key that has rows.
    pub(super) fn last_us(&self) -> impl Iterator<Item = (u32, i64)> {
        let last_us = |rows: &BinaryHeap<Reverse<Waiting>>| rows.iter().map(|Reverse(row)| row.time_us).max();
        (0..).zip(&self.keys).filter_map(move |(key, rows)| Some((key, last_us(rows)?)))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| chunk.rows.get_array_memory_size() + chunk.ids.capacity() * size_of::<u32>();
        let keys: usize = self.keys.iter().map(|rows| rows.capacity() * size_of::<Waiting>()).sum();
        self.chunks.values().map(chunk).sum::<usize>()
            + keys
            + self.keys.capacity() * size_of::<BinaryHeap<Waiting>>()
            + self.places.capacity() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn batch(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
    }

    fn values(rows: &RecordBatch) -> Vec<i64> {
        rows.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    /// The keys of this test, all of which have changed.
    fn all_taken() -> KeyWatermarks {
        let mut watermarks = KeyWatermarks::new(&batch(&[]).schema(), 0).unwrap();
        watermarks.observe(batch(&[0, 1, 2, 3, 4]).columns(), &vec![0; 5].into()).unwrap();
        watermarks.tracked().take_changes();
        watermarks
    }

    /// Rows that wait, by key, as (time, value) in the order they came.
    type Model = BTreeMap<u32, Vec<(i64, i64)>>;

    fn released(model: &mut Model, key: u32, watermark_us: i64) -> Vec<i64> {
        let Some(rows) = model.get_mut(&key) else { return vec![] };
        let (mut gone, left): (Vec<_>, Vec<_>) = rows.iter().partition(|(time_us, _)| *time_us < watermark_us);
        *rows = left;
        gone.sort_by_key(|(time_us, _)| *time_us);
        gone.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn rows_come_in_the_order_of_their_key_through_any_merge_and_restart() {
        let mut random = StdRng::seed_from_u64(3);
        let mut waiting = WaitingRows::new(batch(&[]).schema());
        let mut model = Model::new();
        let mut next = 0;
        for _ in 0..2_000 {
            let size = random.random_range(0..6);
            let rows: Vec<i64> = (next..next + size).collect();
            next += size;
            waiting.open(batch(&rows));
            for (row, value) in rows.iter().enumerate() {
                if random.random_range(0..5) == 0 {
                    continue;
                }
                let (key, time_us) = (random.random_range(0..5), random.random_range(0..50));
                waiting.push(row as u32, key, time_us);
                model.entry(key).or_default().push((time_us, *value));
            }
            let (mut gone, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.random_range(0..3) {
                // A key that never gets far keeps rows for long.
                let key = random.random_range(0..5);
                let watermark_us = if key == 0 { 1 } else { random.random_range(0..50) };
                waiting.release(key, watermark_us, &mut gone);
                expected.extend(released(&mut model, key, watermark_us));
            }
            assert_eq!(values(&waiting.take(&gone).unwrap()), expected);
            if random.random_range(0..50) == 0 {
                let state = waiting.state(&all_taken()).unwrap().into_rows(waiting.state_shape()).unwrap();
                waiting = WaitingRows::new(batch(&[]).schema());
                waiting.restore(&state).unwrap();
            }
            assert!(waiting.chunks.len() < 20, "{}", waiting.chunks.len());
        }
        let left = model.values().map(Vec::len).sum::<usize>();
        assert!(left > 500, "{left} rows");
        assert!(waiting.bytes() < 200 * left, "{} bytes of {left} rows", waiting.bytes());
        let all = waiting.release_all();
        assert!(all.is_sorted_by_key(|row| (row.time_us, row.order)));
        assert_eq!(waiting.take(&all).unwrap().num_rows(), left);
        assert!(waiting.chunks.is_empty());
    }
}
