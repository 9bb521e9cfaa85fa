//! Reading with a condition, over so many sealed rows that they are decoded ahead, and on into the tail.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use common::{append, numbers_stream, options, read_numbers, rows};
use thermocline_log::{Log, RowCondition};

/// True for every five hundredth number.
#[derive(Debug)]
struct Few;

impl RowCondition for Few {
    fn columns(&self) -> &[usize] {
        &[1]
    }

    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        Ok(rows.column(0).as_primitive::<Int64Type>().values().iter().map(|n| Some(n % 500 == 7)).collect())
    }
}

#[tokio::test]
async fn rows_left_out_of_segments_are_passed_and_those_of_the_tail_all_come() {
    let (sealed, all) = (140_000_i64, 141_000_i64);
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    for half in 0..2 {
        log.commit(append(&stream, rows(half * sealed / 2, sealed / 2))).await.unwrap();
        log.seal().await.unwrap();
    }
    log.commit(append(&stream, rows(sealed, all - sealed))).await.unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (0..all).collect::<Vec<_>>());

    for (from, max_rows) in [(0, 1), (0, 77), (123, 10_000), (139_999, 3)] {
        let reader = log.reader(stream.id(), 0, from, Some(vec![2, 1])).unwrap();
        let mut reader = reader.selective(Some(Arc::new(Few)));
        let (mut next, mut found) = (from, Vec::new());
        while let Some(rows) = reader.next(max_rows).unwrap() {
            assert_eq!(rows.start_offset, next, "offsets are contiguous");
            assert!(rows.batch.num_rows() <= max_rows);
            let numbers = rows.batch.column(1).as_primitive::<Int64Type>().values().to_vec();
            let at = |row: usize| rows.selected.as_ref().map_or(row as u64, |selected| u64::from(selected.value(row)));
            let offsets = (0..numbers.len()).map(|row| rows.start_offset + at(row));
            assert!(offsets.eq(numbers.iter().map(|n| n.cast_unsigned())), "a number is its offset");
            next = rows.end_offset();
            assert_eq!(reader.position(), next);
            found.extend(numbers);
        }
        assert_eq!(next, all.cast_unsigned());
        let expected = (from.cast_signed()..all).filter(|n| *n >= sealed || n % 500 == 7);
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
    log.close().await.unwrap();
}
