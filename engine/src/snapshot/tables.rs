//! The tables that a state consists of.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};

use super::known_keys::KnownKeys;
use crate::error::Result;

/// Columns of a table, and how it is stored.
#[derive(Debug, Clone)]
pub(crate) struct TableShape {
    pub(crate) schema: SchemaRef,
    /// The columns of the keys that its rows belong to, where it stores what has changed: all rows of a key, which take the
    /// place of those that it had. Without them it is stored as a whole each time.
    pub(crate) key: Option<Range<usize>>,
}

impl TableShape {
    /// A table that is stored as a whole.
    pub(crate) fn whole(schema: SchemaRef) -> Self {
        Self { schema, key: None }
    }

    /// A table of which the rows of keys are stored that have changed.
    pub(crate) fn by_key(schema: SchemaRef, key: Range<usize>) -> Self {
        Self { schema, key: Some(key) }
    }

    /// Columns of its keys.
    pub(crate) fn key_schema(&self) -> SchemaRef {
        let fields = &self.schema.fields()[self.key.clone().unwrap_or(0..0)];
        Arc::new(Schema::new(fields.to_vec()))
    }
}

/// What is stored of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableState {
    /// Rows in any number of parts.
    pub(crate) rows: Vec<RecordBatch>,
    /// Keys that have no rows any more; columns of keys alone.
    pub(crate) gone: Option<RecordBatch>,
}

impl TableState {
    /// Rows, no keys being gone.
    pub(crate) fn of(rows: RecordBatch) -> Self {
        Self { rows: vec![rows], gone: None }
    }

    /// Number of rows, and of keys that are gone.
    pub(crate) fn size(&self) -> usize {
        self.rows.iter().chain(&self.gone).map(RecordBatch::num_rows).sum()
    }

    /// All rows in one part.
    pub(crate) fn into_rows(self, shape: &TableShape) -> Result<RecordBatch> {
        match <[RecordBatch; 1]>::try_from(self.rows) {
            Ok([only]) => Ok(only),
            Err(parts) => Ok(concat_batches(&shape.schema, &parts)?),
        }
    }
}

/// Keys that have a newer state, by table.
pub(super) struct Newer {
    tables: Vec<NewerKeys>,
}

struct NewerKeys {
    known: KnownKeys,
    /// How many parts of the rows that were put together it knows.
    parts: usize,
}

impl Newer {
    /// None yet.
    pub(super) fn new(shapes: &[TableShape]) -> Result<Self> {
        let none = |shape: &TableShape| Ok(NewerKeys { known: KnownKeys::new(&shape.key_schema())?, parts: 0 });
        Ok(Self { tables: shapes.iter().map(none).collect::<Result<_>>()? })
    }

    /// Adds to `newer`, which were put together so far, what an older state has of other keys.
    pub(super) fn add_older(
        &mut self,
        newer: &mut [TableState],
        older: Vec<TableState>,
        shapes: &[TableShape],
    ) -> Result<()> {
        for (((keys, newer), older), shape) in self.tables.iter_mut().zip(newer).zip(older).zip(shapes) {
            if let Some(key) = &shape.key {
                keys.add(newer, key)?;
                for part in &older.rows {
                    newer.rows.extend(keys.known.others(part, key)?);
                }
                let gone = older.gone.map(|gone| keys.known.others(&gone, &(0..key.len()))).transpose()?.flatten();
                newer.gone = match (newer.gone.take(), gone) {
                    (Some(newer), Some(older)) => Some(concat_batches(&shape.key_schema(), [&newer, &older])?),
                    (newer, older) => newer.or(older),
                };
            }
        }
        Ok(())
    }
}

impl NewerKeys {
    /// Adds the keys of a table that it does not know yet.
    fn add(&mut self, table: &TableState, key: &Range<usize>) -> Result<()> {
        table.rows[self.parts..].iter().try_for_each(|rows| self.known.add(rows, key))?;
        self.parts = table.rows.len();
        table.gone.iter().try_for_each(|gone| self.known.add(gone, &(0..key.len())))
    }
}
