//! The current rows of a view, by key, in memory: the latest row of each key that the view's stream holds.
//!
//! It follows the stream: whoever asks first brings it up to date, so that an answer has every row that was durable when it was
//! asked for. A commit's rows are one batch of the stream, which is taken whole: no answer has a part of one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use parking_lot::Mutex;
use thermocline_log::{Log, SelectedRows, SelectiveReader, Stream};

use crate::error::{Error, Result};
use crate::gap::next_kept;

/// Rows that are read, and answered, at once.
const BATCH_ROWS: usize = 8_192;

/// Chunks are joined as long as they have no more rows than this together.
const JOINED_ROWS: usize = 65_536;

/// The latest row of each key.
pub(crate) struct CurrentRows {
    name: String,
    log: Log,
    stream: Stream,
    key: Vec<usize>,
    state: Mutex<State>,
}

struct State {
    reader: SelectiveReader,
    converter: RowConverter,
    /// The offset of each key's row. Keys are encoded so that bytes compare as keys do, and that those of the same first
    /// columns begin with the same bytes.
    current: BTreeMap<Box<[u8]>, u64>,
    key_bytes: usize,
    /// By a bound of their offsets from below.
    chunks: BTreeMap<u64, Chunk>,
    /// The oldest offset that is held.
    start: u64,
}

/// Rows with their offsets, ascending, some of them not current any more.
struct Chunk {
    offsets: Vec<u64>,
    is_current: Vec<bool>,
    count: usize,
    rows: RecordBatch,
}

impl fmt::Debug for CurrentRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentRows").field("view", &self.name).field("key", &self.key).finish_non_exhaustive()
    }
}

impl CurrentRows {
    /// Nothing is read yet. `key`: the columns of the stream that a row is known by.
    pub(crate) fn new(name: &str, log: &Log, stream: &Stream, key: &[String]) -> Result<Self> {
        let key = key.iter().map(|name| stream.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let start = log.range(stream.id(), 0)?.start;
        let state = State {
            reader: log.reader(stream.id(), 0, start, None)?.selective(None),
            converter: converter(stream.schema(), &key)?,
            current: BTreeMap::new(),
            key_bytes: 0,
            chunks: BTreeMap::new(),
            start,
        };
        Ok(Self { name: name.to_owned(), log: log.clone(), stream: stream.clone(), key, state: Mutex::new(state) })
    }

    /// Columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.stream.schema()
    }

    /// Columns of the key, in the order in which rows are sorted and found.
    pub(crate) fn key(&self) -> &[usize] {
        &self.key
    }

    /// Takes what has come since the last time.
    fn catch_up(&self) -> Result<()> {
        self.caught_up().map(|_| ())
    }

    fn caught_up(&self) -> Result<parking_lot::MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        let mut taken = 0;
        while let Some(rows) = next_kept(&mut state.reader, BATCH_ROWS)? {
            taken += rows.batch.num_rows();
            state.take(rows, &self.key)?;
        }
        let start = self.log.range(self.stream.id(), 0)?.start;
        if start > state.start {
            state.forget_before(start, &self.key)?;
        }
        if taken > 0 {
            metrics::gauge!("thermocline_view_rows", "view" => self.name.clone()).set(state.current.len() as f64);
            metrics::gauge!("thermocline_view_bytes", "view" => self.name.clone()).set(state.bytes() as f64);
        }
        Ok(state)
    }

    /// Stays up to date, so that who asks need not wait.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let caught_up = match self.catch_up() {
                Ok(()) => self.wait().await,
                failed => failed,
            };
            if let Err(error) = caught_up {
                tracing::warn!(view = self.name, %error, "a view is not followed any more; who queries it is told why");
                return;
            }
        }
    }

    /// Resolves when there are rows that were not taken.
    async fn wait(&self) -> Result<()> {
        let position = self.state.lock().reader.position();
        self.log.reader(self.stream.id(), 0, position, None)?.wait().await;
        Ok(())
    }

    /// The current rows in the order of their keys: all, or those whose key begins with these values, of one row.
    pub(crate) fn read(&self, projection: &[usize], begins_with: &[ArrayRef]) -> Result<Vec<RecordBatch>> {
        let prefix = match begins_with {
            [] => None,
            values => {
                let converter = converter(self.schema(), &self.key[..values.len()])?;
                Some(converter.convert_columns(values)?.row(0).as_ref().to_vec())
            }
        };
        self.caught_up()?.read(projection, prefix.as_deref())
    }

    /// Number of current rows and bytes held, as of the last time it was brought up to date.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.current.len(), state.bytes())
    }
}

fn converter(schema: &SchemaRef, columns: &[usize]) -> Result<RowConverter> {
    let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}

impl State {
    fn take(&mut self, rows: SelectedRows, key: &[usize]) -> Result<()> {
        let SelectedRows { start_offset, batch, .. } = rows;
        let keys = self.converter.convert_columns(batch.project(key)?.columns())?;
        let count = batch.num_rows();
        let offsets = (start_offset..start_offset + count as u64).collect();
        let mut chunk = Chunk { offsets, is_current: vec![true; count], count, rows: batch };
        for (offset, key) in (start_offset..).zip(&keys) {
            match self.current.get_mut(key.as_ref()) {
                None => {
                    self.key_bytes += key.as_ref().len();
                    self.current.insert(key.as_ref().into(), offset);
                }
                Some(known) => {
                    let before = std::mem::replace(known, offset);
                    match before >= start_offset {
                        true => chunk.retire(before),
                        false => self.retire(before)?,
                    }
                }
            }
        }
        // Memory of its own: what was read may be a part of much more.
        chunk.copy_current()?;
        self.chunks.insert(start_offset, chunk);
        self.join_last()
    }

    /// The row of this offset is not current any more.
    fn retire(&mut self, offset: u64) -> Result<()> {
        let (first, chunk) = self.chunks.range_mut(..=offset).next_back().expect("every current row is in a chunk");
        chunk.retire(offset);
        match chunk.count {
            0 => {
                let first = *first;
                self.chunks.remove(&first);
            }
            count if count < chunk.offsets.len() / 2 => chunk.copy_current()?,
            _ => {}
        }
        Ok(())
    }

    /// Joins the last chunks as long as they are of about one size, so that there are few.
    fn join_last(&mut self) -> Result<()> {
        loop {
            let mut last = self.chunks.iter().rev().map(|(first, chunk)| (*first, chunk.count));
            let (Some((first, count)), Some((before, count_before))) = (last.next(), last.next()) else {
                return Ok(());
            };
            if count_before > 2 * count || count + count_before > JOINED_ROWS {
                return Ok(());
            }
            let mut joined = self.chunks.remove(&before).expect("just found");
            let mut chunk = self.chunks.remove(&first).expect("just found");
            joined.copy_current()?;
            chunk.copy_current()?;
            joined.rows = concat_batches(&joined.rows.schema(), [&joined.rows, &chunk.rows])?;
            joined.offsets.extend(chunk.offsets);
            joined.is_current.extend(chunk.is_current);
            joined.count += chunk.count;
            self.chunks.insert(before, joined);
        }
    }

    /// Forgets the rows that retention has removed.
    fn forget_before(&mut self, start: u64, key: &[usize]) -> Result<()> {
        self.start = start;
        let old: Vec<u64> = self.chunks.range(..start).map(|(first, _)| *first).collect();
        for first in old {
            let mut chunk = self.chunks.remove(&first).expect("just found");
            let keys = self.converter.convert_columns(chunk.rows.project(key)?.columns())?;
            for n in 0..chunk.offsets.partition_point(|offset| *offset < start) {
                if chunk.is_current[n] {
                    self.current.remove(keys.row(n).as_ref());
                    self.key_bytes -= keys.row(n).as_ref().len();
                    chunk.retire(chunk.offsets[n]);
                }
            }
            if chunk.count > 0 {
                chunk.copy_current()?;
                self.chunks.insert(first, chunk);
            }
        }
        Ok(())
    }

    fn read(&self, projection: &[usize], prefix: Option<&[u8]>) -> Result<Vec<RecordBatch>> {
        let offsets: Vec<u64> = match prefix {
            None => self.current.values().copied().collect(),
            Some(prefix) => {
                let from = (Bound::Included(prefix), Bound::Unbounded);
                let found = self.current.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
                found.map(|(_, offset)| *offset).collect()
            }
        };
        let firsts: Vec<u64> = self.chunks.keys().copied().collect();
        let chunks: Vec<&Chunk> = self.chunks.values().collect();
        let batches = chunks.iter().map(|chunk| chunk.rows.project(projection)).collect::<Result<Vec<_>, _>>()?;
        let sources: Vec<&RecordBatch> = batches.iter().collect();
        let place = |offset: &u64| {
            let chunk = firsts.partition_point(|first| first <= offset) - 1;
            let row = chunks[chunk].offsets.binary_search(offset).expect("every current row is in its chunk");
            (chunk, row)
        };
        let batch = |offsets: &[u64]| {
            if projection.is_empty() {
                let options = RecordBatchOptions::new().with_row_count(Some(offsets.len()));
                return Ok(RecordBatch::try_new_with_options(batches[0].schema(), Vec::new(), &options)?);
            }
            let places: Vec<(usize, usize)> = offsets.iter().map(place).collect();
            Ok::<_, Error>(interleave_record_batch(&sources, &places)?)
        };
        offsets.chunks(BATCH_ROWS).map(batch).collect()
    }

    fn bytes(&self) -> usize {
        let row = size_of::<u64>() + size_of::<bool>();
        let chunks = self.chunks.values().map(|chunk| chunk.rows.get_array_memory_size() + chunk.offsets.len() * row);
        chunks.sum::<usize>() + self.key_bytes + self.current.len() * size_of::<(Box<[u8]>, u64)>()
    }
}

impl Chunk {
    fn retire(&mut self, offset: u64) {
        let row = self.offsets.binary_search(&offset).expect("every current row is in its chunk");
        debug_assert!(self.is_current[row], "a row is replaced once");
        self.is_current[row] = false;
        self.count -= 1;
    }

    /// Keeps the current rows only, in memory of their own.
    fn copy_current(&mut self) -> Result<()> {
        let kept: Vec<u32> = (0..).zip(&self.is_current).filter(|(_, current)| **current).map(|(row, _)| row).collect();
        self.offsets = kept.iter().map(|row| self.offsets[*row as usize]).collect();
        self.is_current = vec![true; kept.len()];
        self.rows = take_record_batch(&self.rows, &UInt32Array::from(kept))?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "current_tests.rs"]
mod tests;
