//! How each column of a segment is encoded, chosen by its type and, for floats, by what the values are like.
//! `benchmarks/README.md` has the measurements.

use std::iter;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

/// Values of a column that are looked at.
const SAMPLE_VALUES: usize = 4096;
/// Different doubles that fit the size at which Parquet gives up on a dictionary.
const MAX_DICTIONARY_VALUES: usize = 128 << 10;

/// What a segment is written with that begins with `batches`.
pub(super) fn properties(schema: &Schema, batches: &[RecordBatch]) -> WriterProperties {
    let zstd = ZstdLevel::try_new(1).expect("1 is a zstd level");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(true);
    for (index, field) in schema.fields().iter().enumerate() {
        let encoding = match field.data_type() {
            // Times differ from row to row and are close to each other.
            DataType::Timestamp(..) => Encoding::DELTA_BINARY_PACKED,
            DataType::Float32 | DataType::Float64 if mostly_distinct(batches, index) => Encoding::BYTE_STREAM_SPLIT,
            _ => continue,
        };
        let column = ColumnPath::new(vec![field.name().clone()]);
        properties =
            properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, encoding);
    }
    properties.build()
}

/// Whether a column of floats has too many different values for a dictionary. Readings rounded as sensors send them
/// have few; measured or computed in full precision hardly one comes twice.
pub(super) fn mostly_distinct(batches: &[RecordBatch], column: usize) -> bool {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let step = rows.div_ceil(SAMPLE_VALUES).max(1);
    let mut sample: Vec<u64> = batches.iter().flat_map(|batch| every(step, batch.column(column))).collect();
    let sampled = sample.len();
    sample.sort_unstable();
    sample.dedup();
    let repeated = sampled - sample.len();
    // Of n values drawn from d, about n * n / 2d are repetitions, while d is larger than n.
    let worth_it = MAX_DICTIONARY_VALUES.min(rows / 2).max(1);
    repeated < (sampled * sampled / (2 * worth_it)).min(sampled / 2)
}

/// The bits of each `step`th value that is not NULL.
fn every(step: usize, column: &ArrayRef) -> Vec<u64> {
    let rows = (0..column.len()).step_by(step).filter(|row| column.is_valid(*row));
    if let Some(doubles) = column.as_primitive_opt::<Float64Type>() {
        return rows.map(|row| doubles.value(row).to_bits()).collect();
    }
    let floats = column.as_primitive_opt::<Float32Type>();
    floats
        .map_or_else(|| iter::empty().collect(), |floats| rows.map(|row| floats.value(row).to_bits().into()).collect())
}
