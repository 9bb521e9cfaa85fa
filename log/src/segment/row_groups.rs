//! Writes Parquet a row group at a time, and in it a column at a time: the dictionary of one column stays in the
//! processor's cache instead of making room for the others' with every batch, and only one encoded column is in memory.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::column::{self, Compressor};
use super::encoding;

/// Rows of a row group: enough for dictionaries to pay, few enough to skip by their statistics.
const ROW_GROUP_ROWS: usize = 512 << 10;
/// Bytes of the rows of a row group, beyond its last batch: they are all in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet file being written to `W`. After an error it only gives errors.
pub(super) struct RowGroups<W: Write + Send> {
    schema: SchemaRef,
    target: Target<W>,
    /// Made for the first row group.
    compressor: Option<Compressor>,
    /// The rows of the next row group.
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    /// Of a row group.
    pub(super) max_rows: usize,
}

/// The file begins with the first row group, or when it ends without one.
enum Target<W: Write + Send> {
    Unbegun(W),
    Begun(Box<SerializedFileWriter<W>>, ArrowRowGroupWriterFactory),
    Failed,
}

impl<W: Write + Send> RowGroups<W> {
    pub(super) fn new(target: W, schema: SchemaRef) -> Self {
        Self {
            schema,
            target: Target::Unbegun(target),
            compressor: None,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            max_rows: ROW_GROUP_ROWS,
        }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (self.max_rows - self.waiting_rows).min(batch.num_rows() - from);
            let part = batch.slice(from, rows);
            from += rows;
            self.waiting_rows += rows;
            self.waiting_bytes +=
                part.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>();
            self.waiting.push(part);
            if self.waiting_rows == self.max_rows || self.waiting_bytes >= ROW_GROUP_BYTES {
                self.write_group()?;
            }
        }
        Ok(())
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> Result<W> {
        if !self.waiting.is_empty() {
            self.write_group()?;
        }
        self.target.begin(&self.schema)?.0.into_inner()
    }

    fn write_group(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        (self.waiting_rows, self.waiting_bytes) = (0, 0);
        let (mut file, factory) = self.target.begin(&self.schema)?;
        let descr = file.schema_descr().columns().to_vec();
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new()?),
        };
        let mut others = factory.create_column_writers(file.flushed_row_groups().len())?.into_iter();
        let mut group = file.next_row_group()?;
        for (index, field) in self.schema.fields().iter().enumerate() {
            let arrays: Vec<ArrayRef> = batches.iter().map(|batch| Arc::clone(batch.column(index))).collect();
            let leaf = descr.len() - others.len();
            if let Some(chunk) = column::encode(&descr[leaf], &arrays, compressor)? {
                others.next();
                group.append_column(&chunk.bytes, chunk.close)?;
            } else {
                write_other(field, &arrays, &mut others, &mut group)?;
            }
        }
        group.close()?;
        self.target = Target::Begun(file, factory);
        Ok(())
    }
}

/// Writes a column with the `parquet` crate's own writers: a nested one is several columns of the file.
fn write_other<W: Write + Send>(
    field: &Field,
    arrays: &[ArrayRef],
    writers: &mut impl Iterator<Item = ArrowColumnWriter>,
    group: &mut SerializedRowGroupWriter<'_, W>,
) -> Result<()> {
    let mut leaves: Vec<ArrowColumnWriter> = Vec::new();
    for array in arrays {
        let values = compute_leaves(field, array)?;
        if leaves.is_empty() {
            leaves.extend(writers.by_ref().take(values.len()));
        }
        leaves.iter_mut().zip(&values).try_for_each(|(leaf, values)| leaf.write(values))?;
    }
    leaves.into_iter().try_for_each(|leaf| leaf.close()?.append_to_row_group(group))
}

impl<W: Write + Send> Target<W> {
    /// Takes the file, begun if it was not before.
    fn begin(&mut self, schema: &SchemaRef) -> Result<(Box<SerializedFileWriter<W>>, ArrowRowGroupWriterFactory)> {
        match std::mem::replace(self, Self::Failed) {
            Self::Begun(file, factory) => Ok((file, factory)),
            Self::Unbegun(sink) => {
                let writer = ArrowWriter::try_new(sink, Arc::clone(schema), Some(encoding::properties()))?;
                let (file, factory) = writer.into_serialized_writer()?;
                Ok((Box::new(file), factory))
            }
            Self::Failed => Err(ParquetError::General("writing failed before".to_owned())),
        }
    }
}
