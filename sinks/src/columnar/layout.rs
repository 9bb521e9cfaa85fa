//! The layout of data files, as measured on sensor rows: ordered by the first text column (the device) and then the
//! time; times and integers delta-encoded, noisy floats byte-split, text and quantised floats by dictionary, zstd 3; a
//! bloom filter on the first text column; row groups of at most a million rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, cast, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::columns::{event_time, first_text};
use crate::error::{Error, Result};

const ROW_GROUP_ROWS: usize = 1_000_000;
const ZSTD_LEVEL: i32 = 3;
/// How many values decide whether floats are quantised, and how few of them may differ.
const SAMPLE_ROWS: usize = 4096;
const QUANTISED_DISTINCT: usize = SAMPLE_ROWS / 8;

/// A file's bytes and the rows in the order they have in it.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub bytes: Vec<u8>,
    pub rows: RecordBatch,
}

/// Encodes rows as a Parquet file. The same rows in the same order give the same bytes.
pub(crate) fn encode(rows: &RecordBatch, timestamp: Option<&str>) -> Result<Encoded> {
    let schema = rows.schema();
    let device = first_text(&schema);
    let time = event_time(&schema, timestamp);
    let rows = in_order(rows, device, time)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(&rows, device)?)).map_err(internal)?;
    writer.write(&rows).map_err(internal)?;
    let bytes = writer.into_inner().map_err(internal)?;
    Ok(Encoded { bytes, rows })
}

fn internal(error: ParquetError) -> Error {
    Error::Arrow(arrow::error::ArrowError::ExternalError(Box::new(error)))
}

/// Rows by device, then time, then as they came.
fn in_order(rows: &RecordBatch, device: Option<usize>, time: Option<usize>) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    if let Some(device) = device {
        columns.push(ranks(rows.column(device))?);
    }
    columns.extend(time.map(|time| Arc::clone(rows.column(time))));
    if columns.is_empty() {
        return Ok(rows.clone());
    }
    let last_row = u32::try_from(rows.num_rows()).unwrap_or(u32::MAX);
    columns.push(Arc::new(UInt32Array::from_iter_values(0..last_row)));
    let columns: Vec<SortColumn> = columns.into_iter().map(|values| SortColumn { values, options: None }).collect();
    Ok(take_record_batch(rows, &lexsort_to_indices(&columns, None)?)?)
}

/// Numbers in the order of the texts, which sort much quicker; there are few different ones.
fn ranks(texts: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut distinct: Vec<&str> = texts.iter().flatten().collect::<HashSet<_>>().into_iter().collect();
    distinct.sort_unstable();
    let ranks: std::collections::HashMap<&str, u32> = distinct.into_iter().zip(0..).collect();
    Ok(Arc::new(texts.iter().map(|text| text.and_then(|text| ranks.get(text).copied())).collect::<UInt32Array>()))
}

fn properties(rows: &RecordBatch, device: Option<usize>) -> Result<WriterProperties> {
    let zstd = ZstdLevel::try_new(ZSTD_LEVEL).map_err(internal)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("thermocline ", env!("CARGO_PKG_VERSION")).to_owned());
    let schema = rows.schema();
    for (index, field) in schema.fields().iter().enumerate() {
        let path = || ColumnPath::new(vec![field.name().clone()]);
        let plain = match field.data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(_, _) => {
                Some(Encoding::DELTA_BINARY_PACKED)
            }
            DataType::Float32 | DataType::Float64 if !is_quantised(rows.column(index)) => {
                Some(Encoding::BYTE_STREAM_SPLIT)
            }
            _ => None,
        };
        if let Some(encoding) = plain {
            properties = properties.set_column_dictionary_enabled(path(), false).set_column_encoding(path(), encoding);
        }
        if device == Some(index) {
            properties = properties.set_column_bloom_filter_enabled(path(), true);
        }
    }
    Ok(properties.build())
}

/// Whether a sample of the values has few different ones.
fn is_quantised(values: &ArrayRef) -> bool {
    let stride = (values.len() / SAMPLE_ROWS).max(1);
    let sample = (0..values.len()).step_by(stride).take(SAMPLE_ROWS).filter(|row| values.is_valid(*row));
    let bits = |row: usize| match values.data_type() {
        DataType::Float32 => u64::from(values.as_primitive::<Float32Type>().value(row).to_bits()),
        _ => values.as_primitive::<Float64Type>().value(row).to_bits(),
    };
    let distinct = sample.map(bits).collect::<HashSet<u64>>().len();
    distinct <= QUANTISED_DISTINCT.min(values.len() / 8)
}
