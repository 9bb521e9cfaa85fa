//! Hands out rows that were written under one schema of a stream in another: columns by name, missing ones as NULL,
//! narrower types widened.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::evolution::widens;

/// The way from one schema of a stream to another.
#[derive(Debug)]
pub(crate) struct Adapter {
    stream: String,
    target: SchemaRef,
    /// For each column of the target the index of the one it comes from; `None` where there was none.
    sources: Vec<Option<usize>>,
}

impl Adapter {
    /// From `found` to `target`, both schemas (or parts of schemas) of `stream`. Columns that only `found` has are left
    /// out.
    ///
    /// # Errors
    /// [`Error::SchemaChanged`] when `target` is older and cannot hold what `found` can.
    pub(crate) fn new(stream: &str, found: &Schema, target: &SchemaRef) -> Result<Self> {
        let source = |field: &Arc<Field>| match found.index_of(field.name()) {
            Err(_) if field.is_nullable() => Ok(None),
            Err(_) => Err(changed(stream, field, "no such column".to_owned())),
            Ok(index) => {
                let source = found.field(index).data_type();
                if source == field.data_type() || widens(source, field.data_type()) {
                    Ok(Some(index))
                } else {
                    Err(changed(stream, field, source.to_string()))
                }
            }
        };
        let sources = target.fields().iter().map(source).collect::<Result<_>>()?;
        Ok(Self { stream: stream.to_owned(), target: Arc::clone(target), sources })
    }

    /// The columns that it reads, ascending.
    pub(crate) fn columns_read(&self) -> Vec<usize> {
        let mut read: Vec<usize> = self.sources.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        read
    }

    /// The same for batches that hold only the columns of [`Self::columns_read`].
    pub(crate) fn over_columns_read(mut self) -> Self {
        let read = self.columns_read();
        for source in self.sources.iter_mut().flatten() {
            *source = read.binary_search(source).expect("a column that is read");
        }
        self
    }

    /// The rows under the target schema.
    ///
    /// # Errors
    /// [`Error::SchemaChanged`] for a NULL where the target, being older, has none.
    pub(crate) fn adapt(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        // A value that does not fit is a defect; it must not become NULL.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let column = |(field, source): (&Arc<Field>, &Option<usize>)| {
            let Some(source) = source else { return Ok(new_null_array(field.data_type(), rows.num_rows())) };
            let column = rows.column(*source);
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(changed(&self.stream, field, "NULL".to_owned()));
            }
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            Ok(cast_with_options(column, field.data_type(), &strict)?)
        };
        let columns = self.target.fields().iter().zip(&self.sources).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &options)?)
    }
}

/// The columns of `projection`; all when `None`.
pub(crate) fn projected(schema: &SchemaRef, projection: Option<&[usize]>) -> Result<SchemaRef> {
    match projection {
        None => Ok(Arc::clone(schema)),
        Some(columns) => Ok(Arc::new(schema.project(columns)?)),
    }
}

fn changed(stream: &str, field: &Field, found: String) -> Error {
    let not_null = if field.is_nullable() { "" } else { " not null" };
    Error::SchemaChanged {
        stream: stream.to_owned(),
        column: field.name().clone(),
        expected: format!("{}{not_null}", field.data_type()),
        found,
    }
}
