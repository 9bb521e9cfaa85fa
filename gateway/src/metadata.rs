//! Columns that a door fills: what it knows of a row beside the row itself. They are no part of what is sent: a decoder is
//! given the other columns, and a field of such a name is one that no column takes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};

use crate::error::Result;

/// A column of a stream that doors fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataColumn {
    /// Index of the column in the stream's schema; text, and a `Timestamp(µs, "UTC")` for the timestamp.
    pub column: usize,
    /// What it is.
    pub metadata: Metadata,
}

/// What a door may know of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// The message's key.
    Key,
    /// The topic or file that it came from.
    Topic,
    /// When it arrived.
    Timestamp,
    /// The headers that it came with, as a JSON object.
    Headers,
}

/// What a door knows of the rows of a body or of a part of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// By the clock of the gateway, in microseconds since 1970.
    pub(crate) at_us: i64,
    /// The file, where it is one.
    pub(crate) topic: Option<&'a str>,
    /// JSON text.
    pub(crate) headers: Option<&'a str>,
}

impl Arrival<'_> {
    /// Of rows that came with nothing.
    pub(crate) fn at(at_us: i64) -> Self {
        Self { at_us, topic: None, headers: None }
    }
}

/// The columns that are sent: all but the metadata.
pub(crate) fn sent_schema(schema: &SchemaRef, metadata: &[MetadataColumn]) -> SchemaRef {
    if metadata.is_empty() {
        return Arc::clone(schema);
    }
    Arc::new(schema.project(&sent_columns(schema, metadata)).expect("indices are below the number of columns"))
}

/// Where the column of an index is among those that are sent; `None` for metadata.
pub(crate) fn sent_index(metadata: &[MetadataColumn], column: usize) -> Option<usize> {
    let is_metadata = |column: usize| metadata.iter().any(|metadata| metadata.column == column);
    (!is_metadata(column)).then(|| column - (0..column).filter(|before| is_metadata(*before)).count())
}

fn sent_columns(schema: &Schema, metadata: &[MetadataColumn]) -> Vec<usize> {
    (0..schema.fields().len()).filter(|column| sent_index(metadata, *column).is_some()).collect()
}

/// Rows as they were sent, with the metadata at its place.
///
/// # Errors
/// Only when Arrow refuses the columns, which have the stream's types.
pub(crate) fn with_metadata(
    sent: &RecordBatch,
    schema: &SchemaRef,
    metadata: &[MetadataColumn],
    arrival: &Arrival<'_>,
) -> Result<RecordBatch> {
    let rows = sent.num_rows();
    let mut sent = sent.columns().iter();
    let column = |index: usize| -> ArrayRef {
        match metadata.iter().find(|metadata| metadata.column == index) {
            None => Arc::clone(sent.next().expect("every other column is sent")),
            Some(MetadataColumn { metadata: Metadata::Timestamp, .. }) => {
                let times = TimestampMicrosecondArray::from_value(arrival.at_us, rows);
                Arc::new(times.with_data_type(schema.field(index).data_type().clone()))
            }
            Some(MetadataColumn { metadata, .. }) => {
                let text = match metadata {
                    Metadata::Topic => arrival.topic,
                    Metadata::Headers => arrival.headers,
                    // No door that there is has keys.
                    Metadata::Key | Metadata::Timestamp => None,
                };
                match text {
                    Some(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))),
                    None => new_null_array(schema.field(index).data_type(), rows),
                }
            }
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;

    #[test]
    fn metadata_stands_at_its_place() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let schema = Arc::new(Schema::new(vec![
            Field::new("topic", DataType::Utf8, true),
            Field::new("a", DataType::Int64, true),
            Field::new("at", time, false),
            Field::new("key", DataType::Utf8, true),
            Field::new("b", DataType::Int64, true),
        ]));
        let of = |column, metadata| MetadataColumn { column, metadata };
        let metadata = [of(0, Metadata::Topic), of(2, Metadata::Timestamp), of(3, Metadata::Key)];
        assert_eq!([0, 1, 2, 3, 4].map(|column| sent_index(&metadata, column)), [None, Some(0), None, None, Some(1)]);
        let sent = sent_schema(&schema, &metadata);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1, 2])), Arc::new(Int64Array::from(vec![3, 4]))];
        let rows = RecordBatch::try_new(sent, columns).unwrap();
        let arrival = Arrival { topic: Some("a.csv"), ..Arrival::at(7) };
        let whole = with_metadata(&rows, &schema, &metadata, &arrival).unwrap();
        let mut json = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut json);
        writer.write(&whole).unwrap();
        let expected = [
            "a\":1,\"at\":\"1970-01-01T00:00:00.000007Z\",\"b\":3",
            "a\":2,\"at\":\"1970-01-01T00:00:00.000007Z\",\"b\":4",
        ];
        let expected = expected.map(|rest| format!("{{\"topic\":\"a.csv\",\"{rest}}}\n"));
        assert_eq!(String::from_utf8(json).unwrap(), expected.concat());
    }
}
