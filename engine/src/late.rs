//! Late rows: what no window of a query took, kept in the stream `late.<stream>`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use thermocline_log::{Log, Stream};
use thermocline_sql::timestamp_type;

use crate::error::Result;
use crate::watermark::NO_WATERMARK;

/// Name of the stream that keeps the late rows of `stream`.
#[must_use]
pub fn late_stream_name(stream: &str) -> String {
    format!("late.{stream}")
}

/// Columns of a late stream: the stream's own (all nullable), the query that the row was late for, and where the
/// watermark stood (NULL for a row without event time).
#[must_use]
pub fn late_schema(stream: &Schema) -> SchemaRef {
    let own = stream.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let added = [
        Arc::new(Field::new("late_query", DataType::Utf8, false)),
        Arc::new(Field::new("late_watermark", timestamp_type(), true)),
    ];
    Arc::new(Schema::new(own.chain(added).collect::<Vec<_>>()))
}

/// A late row by its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LateOffset {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) watermark_us: i64,
}

/// The late rows with all their columns, read again from the log: a query reads only the columns that it needs.
pub(crate) fn late_rows(log: &Log, stream: &Stream, query: &str, late: &[LateOffset]) -> Result<RecordBatch> {
    let own = rows_at(log, stream, late.iter().map(|row| (row.partition, row.offset)))?;
    let queries: ArrayRef = Arc::new(StringArray::from_iter_values(late.iter().map(|_| query)));
    let watermarks = late.iter().map(|row| (row.watermark_us != NO_WATERMARK).then_some(row.watermark_us));
    let watermarks: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter(watermarks).with_timezone("UTC"));
    let columns = own.columns().iter().cloned().chain([queries, watermarks]).collect();
    Ok(RecordBatch::try_new(late_schema(stream.schema()), columns)?)
}

/// The rows at these partitions and offsets, with all columns.
pub(crate) fn rows_at(log: &Log, stream: &Stream, places: impl Iterator<Item = (u32, u64)>) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for (partition, offset) in places {
        let mut reader = log.reader(stream.id(), partition, offset, None)?;
        let found = reader.next(1)?.expect("a query has read this row, so it is durable");
        rows.push(found.batch);
    }
    Ok(concat_batches(stream.schema(), &rows)?)
}
