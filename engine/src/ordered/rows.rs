//! Rows that are kept in the order they came, column by column, and given together by their numbers.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::SchemaRef;

use crate::error::Result;

/// Stands for a row of NULLs.
pub(crate) const NO_ROW: u64 = u64::MAX;

/// Chunks are not merged beyond this.
const MAX_CHUNK_ROWS: usize = 65_536;

/// Rows with numbers that count up.
#[derive(Debug)]
pub(crate) struct RowStore {
    schema: SchemaRef,
    chunks: VecDeque<Chunk>,
    next: u64,
    nulls: Vec<ArrayRef>,
}

#[derive(Debug)]
struct Chunk {
    /// Number of its first row.
    first: u64,
    rows: RecordBatch,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first + self.rows.num_rows() as u64
    }
}

impl RowStore {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let nulls = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        Self { schema, chunks: VecDeque::new(), next: 0, nulls }
    }

    /// Columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Keeps rows; returns the number of the first.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<u64> {
        let first = self.next;
        self.next += rows.num_rows() as u64;
        if rows.num_rows() == 0 {
            return Ok(first);
        }
        let mut chunk = Chunk { first, rows };
        // Few rows at a time would make many chunks: each is at least twice as large as the next, so that a row is copied
        // seldom and a look-up goes over few.
        while let Some(last) = self.chunks.back()
            && last.rows.num_rows() < 2 * chunk.rows.num_rows()
            && last.rows.num_rows() + chunk.rows.num_rows() <= MAX_CHUNK_ROWS
        {
            let rows = concat_batches(&self.schema, [&last.rows, &chunk.rows])?;
            chunk = Chunk { first: last.first, rows };
            self.chunks.pop_back();
        }
        self.chunks.push_back(chunk);
        Ok(first)
    }

    /// Forgets the rows before a number, chunk by chunk.
    pub(crate) fn forget_before(&mut self, number: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= number) {
            self.chunks.pop_front();
        }
    }

    /// Columns of the rows with these numbers, in their order.
    pub(crate) fn gather(&self, columns: &[usize], numbers: impl Iterator<Item = u64>) -> Result<Vec<ArrayRef>> {
        let mut source_of = vec![usize::MAX; self.chunks.len() + 1];
        let mut sources: Vec<usize> = Vec::new();
        let mut at = 0;
        let indices: Vec<(usize, usize)> = numbers
            .map(|number| {
                let (chunk, row) = match number {
                    NO_ROW => (self.chunks.len(), 0),
                    number => {
                        if !self.chunks.get(at).is_some_and(|chunk| (chunk.first..chunk.end()).contains(&number)) {
                            at = self.chunks.partition_point(|chunk| chunk.first <= number) - 1;
                        }
                        (at, (number - self.chunks[at].first) as usize)
                    }
                };
                if source_of[chunk] == usize::MAX {
                    source_of[chunk] = sources.len();
                    sources.push(chunk);
                }
                (source_of[chunk], row)
            })
            .collect();
        let gathered = columns.iter().map(|column| {
            let arrays = sources.iter().map(|chunk| match self.chunks.get(*chunk) {
                Some(chunk) => chunk.rows.column(*column).as_ref(),
                None => self.nulls[*column].as_ref(),
            });
            let arrays: Vec<&dyn Array> = arrays.collect();
            Ok(interleave(&arrays, &indices)?)
        });
        gathered.collect()
    }

    /// The rows from a number on, in parts as they are held.
    pub(crate) fn parts_from(&self, number: u64) -> impl Iterator<Item = RecordBatch> {
        self.chunks.iter().filter(move |chunk| chunk.end() > number).map(move |chunk| {
            let skipped = number.saturating_sub(chunk.first) as usize;
            chunk.rows.slice(skipped, chunk.rows.num_rows() - skipped)
        })
    }

    /// Number of rows held.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.num_rows()).sum()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.get_array_memory_size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn rows(values: std::ops::Range<i64>) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
    }

    #[test]
    fn rows_are_found_by_their_numbers_however_they_came() {
        let mut store = RowStore::new(rows(0..0).schema());
        let mut next = 0;
        for size in [1, 1, 5, 0, 1, 100, 3, 70_000, 2, 2, 9] {
            assert_eq!(store.push(rows(next..next + size)).unwrap(), next as u64);
            next += size;
        }
        assert!(store.chunks.len() < 6, "{}", store.chunks.len());
        store.forget_before(120);
        let numbers = [120, 70_111, 500, NO_ROW, 70_120, 121];
        let found = store.gather(&[0], numbers.into_iter()).unwrap();
        let found: Vec<_> = found[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, [Some(120), Some(70_111), Some(500), None, Some(70_120), Some(121)]);
        let rest = concat_batches(store.schema(), &store.parts_from(70_115).collect::<Vec<_>>()).unwrap();
        assert_eq!(rest, rows(70_115..next));
    }
}
