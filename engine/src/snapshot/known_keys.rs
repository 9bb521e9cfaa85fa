//! Keys that newer states have, while older ones are looked through.

use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::keyed::KeyTable;

/// Rows whose keys are looked at together, which bounds the memory that they take besides.
const ROWS: usize = 1 << 16;

/// A set of keys.
pub(crate) struct KnownKeys {
    keys: KeyTable,
    /// The number of each row's key, kept for its memory.
    numbers: Vec<u32>,
}

impl KnownKeys {
    /// No keys yet, which have these columns.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { keys: KeyTable::new(schema)?, numbers: Vec::new() })
    }

    /// Adds the keys of rows, which are in these columns.
    pub(crate) fn add(&mut self, rows: &RecordBatch, columns: &Range<usize>) -> Result<()> {
        for rows in pieces(rows) {
            self.keys.intern(rows.num_rows(), key_columns(&rows, columns), &mut self.numbers)?;
        }
        Ok(())
    }

    /// The rows whose keys are not here.
    pub(crate) fn others(&self, rows: &RecordBatch, columns: &Range<usize>) -> Result<Option<RecordBatch>> {
        let mut is_other = Vec::with_capacity(rows.num_rows());
        for rows in pieces(rows) {
            let are_known = self.keys.are_known(rows.num_rows(), key_columns(&rows, columns))?;
            is_other.extend(are_known.iter().map(|known| !known));
        }
        let is_other = BooleanArray::from(is_other);
        match is_other.true_count() {
            0 => Ok(None),
            all if all == rows.num_rows() => Ok(Some(rows.clone())),
            _ => Ok(Some(filter_record_batch(rows, &is_other)?)),
        }
    }
}

fn key_columns<'a>(rows: &'a RecordBatch, columns: &Range<usize>) -> &'a [ArrayRef] {
    &rows.columns()[columns.clone()]
}

fn pieces(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..rows.num_rows()).step_by(ROWS);
    starts.map(|start| rows.slice(start, ROWS.min(rows.num_rows() - start)))
}
