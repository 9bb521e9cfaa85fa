//! Places the rows of a batch in partitions, a whole batch at a time; order within a partition is kept.
//!
//! The key of a row is the text of its key columns (a text column as it is, any other type as Arrow casts it to
//! text), joined by [`KEY_SEPARATOR`]; NULL counts as empty text. The partition is Kafka's default for that key.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use crate::murmur2::partition_of;

/// Stands between the texts of several key columns: the ASCII unit separator.
pub(crate) const KEY_SEPARATOR: u8 = 0x1f;

/// Splits `batch` by the key in `key_columns`: (partition, rows) with at least one row each, partitions ascending.
pub(crate) fn split_by_key(
    batch: &RecordBatch,
    key_columns: &[usize],
    partitions: u32,
) -> Result<Vec<(u32, RecordBatch)>, ArrowError> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let placed = partition_of_rows(batch, key_columns, partitions)?;
    let first = placed[0];
    if placed.iter().all(|partition| *partition == first) {
        return Ok(vec![(first, batch.clone())]);
    }
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::new(); partitions as usize];
    for (row, partition) in (0_u32..).zip(&placed) {
        rows_of[*partition as usize].push(row);
    }
    (0_u32..)
        .zip(rows_of)
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(partition, rows)| Ok((partition, take_record_batch(batch, &UInt32Array::from(rows))?)))
        .collect()
}

/// The partition of every row.
fn partition_of_rows(batch: &RecordBatch, key_columns: &[usize], partitions: u32) -> Result<Vec<u32>, ArrowError> {
    let texts =
        key_columns.iter().map(|column| text_of(batch.column(*column))).collect::<Result<Vec<StringArray>, _>>()?;
    let mut joined = Vec::new();
    Ok((0..batch.num_rows())
        .map(|row| {
            let key = match texts.as_slice() {
                [only] => bytes_of(only, row),
                several => {
                    joined.clear();
                    for (index, text) in several.iter().enumerate() {
                        if index > 0 {
                            joined.push(KEY_SEPARATOR);
                        }
                        joined.extend_from_slice(bytes_of(text, row));
                    }
                    joined.as_slice()
                }
            };
            partition_of(key, partitions)
        })
        .collect())
}

fn text_of(column: &Arc<dyn Array>) -> Result<StringArray, ArrowError> {
    match column.data_type() {
        DataType::Utf8 => Ok(column.as_string::<i32>().clone()),
        _ => Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

fn bytes_of(text: &StringArray, row: usize) -> &[u8] {
    if text.is_null(row) { &[] } else { text.value(row).as_bytes() }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn keeps_order_and_places_as_kafka_does() {
        let keys = ["21", "foobar", "abc", "21", "abc"];
        let rows = batch(vec![
            ("k", Arc::new(StringArray::from(keys.to_vec())) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4]))),
        ]);
        let split = split_by_key(&rows, &[0], 4).unwrap();
        assert_eq!(split.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>(), 5);
        for (partition, rows) in split {
            let numbers = rows.column(1).as_primitive::<arrow::datatypes::Int64Type>();
            assert!(numbers.values().is_sorted());
            for key in rows.column(0).as_string::<i32>().iter().flatten() {
                assert_eq!(partition, partition_of(key.as_bytes(), 4));
            }
        }
    }

    #[test]
    fn other_types_by_their_text_and_null_as_empty() {
        let rows = batch(vec![("k", Arc::new(Int64Array::from(vec![Some(21), None])) as ArrayRef)]);
        let placed = partition_of_rows(&rows, &[0], 1000).unwrap();
        assert_eq!(placed, [partition_of(b"21", 1000), partition_of(b"", 1000)]);
    }

    #[test]
    fn several_columns_are_joined_by_the_separator() {
        let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let rows = batch(vec![("a", text(&["x", "xy"])), ("b", text(&["yz", "z"]))]);
        let placed = partition_of_rows(&rows, &[0, 1], 1 << 30).unwrap();
        assert_eq!(placed, [partition_of(b"x\x1fyz", 1 << 30), partition_of(b"xy\x1fz", 1 << 30)]);
        assert_ne!(placed[0], placed[1]);
    }
}
