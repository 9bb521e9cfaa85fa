//! The layout of data files, as measured on sensor rows: ordered by the first text column (the device) and then the
//! time; times and integers delta-encoded, noisy floats byte-split, text and quantised floats by dictionary, zstd 3; a
//! bloom filter on the first text column; row groups of at most a million rows.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::columns::{event_time, first_text};
use crate::error::{Error, Result};

const ROW_GROUP_ROWS: usize = 1_000_000;
const ZSTD_LEVEL: i32 = 3;
/// Floats with at most this many different values, and at most one in [`QUANTISED_SHARE`], are quantised: sensors
/// round, and a dictionary then takes a third of the bytes.
const QUANTISED_DISTINCT: usize = 1 << 18;
const QUANTISED_SHARE: usize = 4;
/// Room for the dictionary of a quantised column.
const DICTIONARY_BYTES: usize = QUANTISED_DISTINCT * size_of::<f64>();

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

/// Rows by device, then time, then as they came; nulls first.
fn in_order(rows: &RecordBatch, device: Option<usize>, time: Option<usize>) -> Result<RecordBatch> {
    if device.is_none() && time.is_none() {
        return Ok(rows.clone());
    }
    let ranks = device.map(|device| ranks(rows.column(device))).transpose()?;
    let times = time.map(|time| cast(rows.column(time), &DataType::Int64)).transpose()?;
    let times = times.as_ref().map(|times| times.as_primitive::<Int64Type>());
    let key = |row: u32| {
        let index = row as usize;
        let rank = ranks.as_ref().map_or(0, |ranks| ranks[index]);
        let time = times.filter(|times| times.is_valid(index)).map_or(i64::MIN, |times| times.value(index));
        (rank, time, row)
    };
    let mut keys: Vec<(u32, i64, u32)> = (0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX)).map(key).collect();
    keys.sort_unstable();
    let order = UInt32Array::from_iter_values(keys.into_iter().map(|(_, _, row)| row));
    Ok(take_record_batch(rows, &order)?)
}

/// Numbers in the order of the texts, from 1, null as 0: there are few different texts, and numbers sort quicker.
fn ranks(texts: &ArrayRef) -> Result<Vec<u32>> {
    let texts = cast(texts, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut distinct: Vec<&str> = texts.iter().flatten().collect::<HashSet<_>>().into_iter().collect();
    distinct.sort_unstable();
    let ranks: HashMap<&str, u32> = distinct.into_iter().zip(1..).collect();
    Ok(texts.iter().map(|text| text.and_then(|text| ranks.get(text).copied()).unwrap_or(0)).collect())
}

fn properties(rows: &RecordBatch, device: Option<usize>) -> Result<WriterProperties> {
    let zstd = ZstdLevel::try_new(ZSTD_LEVEL).map_err(internal)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
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

/// Whether the values are few different ones.
fn is_quantised(values: &ArrayRef) -> bool {
    let limit = QUANTISED_DISTINCT.min(values.len() / QUANTISED_SHARE);
    let bits = |row: usize| match values.data_type() {
        DataType::Float32 => u64::from(values.as_primitive::<Float32Type>().value(row).to_bits()),
        _ => values.as_primitive::<Float64Type>().value(row).to_bits(),
    };
    let mut distinct = HashSet::new();
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        if distinct.insert(bits(row)) && distinct.len() > limit {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn rows_are_ordered_by_device_then_time_then_as_they_came() {
        let rows = RecordBatch::try_from_iter_with_nullable([
            (
                "device",
                Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b"), Some("a")])) as ArrayRef,
                true,
            ),
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), Some(2), Some(9), Some(1), None])), true),
            ("n", Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4])), false),
        ])
        .unwrap();
        let ordered = in_order(&rows, Some(0), Some(1)).unwrap();
        assert_eq!(ordered.column(2).as_primitive::<Int64Type>().values(), &[2, 4, 1, 0, 3]);
    }

    #[test]
    fn rounded_floats_are_quantised_and_noise_is_not() {
        let column = |value: &dyn Fn(u32) -> f64| -> ArrayRef {
            Arc::new((0..10_000).map(|row| (row % 7 != 0).then(|| value(row))).collect::<Float64Array>())
        };
        assert!(is_quantised(&column(&|row| (f64::from(row).sin() * 100.0).round() / 100.0)));
        assert!(!is_quantised(&column(&|row| f64::from(row).sin())));
        assert!(is_quantised(&column(&|_| f64::NAN)));
    }
}
