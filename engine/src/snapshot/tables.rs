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
    known: Vec<Option<KnownKeys>>,
}

impl Newer {
    /// Those of a state.
    pub(super) fn than(state: &[TableState], shapes: &[TableShape]) -> Result<Self> {
        let known =
            shapes.iter().map(|shape| shape.key.as_ref().map(|_| KnownKeys::new(&shape.key_schema())).transpose());
        let mut newer = Self { known: known.collect::<Result<_>>()? };
        newer.add(state, shapes)?;
        Ok(newer)
    }

    fn add(&mut self, state: &[TableState], shapes: &[TableShape]) -> Result<()> {
        for ((known, table), shape) in self.known.iter_mut().zip(state).zip(shapes) {
            let (Some(known), Some(key)) = (known, &shape.key) else { continue };
            table.rows.iter().try_for_each(|rows| known.add(rows, key))?;
            table.gone.iter().try_for_each(|gone| known.add(gone, &(0..key.len())))?;
        }
        Ok(())
    }

    /// Adds to `newest` what an older state has of other keys.
    pub(super) fn add_older(
        &mut self,
        newest: &mut [TableState],
        older: Vec<TableState>,
        shapes: &[TableShape],
    ) -> Result<()> {
        let mut added = Vec::with_capacity(older.len());
        for ((known, table), shape) in self.known.iter().zip(older).zip(shapes) {
            let (mut rows, mut gone) = (Vec::new(), None);
            if let (Some(known), Some(key)) = (known, &shape.key) {
                for part in &table.rows {
                    rows.extend(known.others(part, key)?);
                }
                if let Some(keys) = &table.gone {
                    gone = known.others(keys, &(0..key.len()))?;
                }
            }
            added.push(TableState { rows, gone });
        }
        self.add(&added, shapes)?;
        for ((newest, added), shape) in newest.iter_mut().zip(added).zip(shapes) {
            newest.rows.extend(added.rows);
            newest.gone = match (newest.gone.take(), added.gone) {
                (Some(newer), Some(older)) => Some(concat_batches(&shape.key_schema(), [&newer, &older])?),
                (newer, older) => newer.or(older),
            };
        }
        Ok(())
    }
}
