//! Retention removes rows while they are read: what a reader has begun it can finish, then it is told what was removed.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use common::{append, numbers_stream, options, rows, schema};
use thermocline_log::{Error, Log, LogOptions, PartitionReader, Retention, Rows, Stream, StreamSpec};

async fn seal_rows(log: &Log, stream: &Stream, from: i64, count: i64) {
    log.commit(append(stream, rows(from, count))).await.unwrap();
    log.seal().await.unwrap();
}

async fn keep_at_most(log: &Log, max_bytes: u64) {
    let retention = Retention { max_age: None, max_bytes: Some(max_bytes) };
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap();
    log.seal().await.unwrap();
}

/// Rows that begin at the reader's position and are those of their offsets.
fn check(rows: &Rows, position: u64) {
    assert_eq!(rows.start_offset, position);
    let numbers = rows.batch.column(1).as_primitive::<Int64Type>().values();
    let expected = (rows.start_offset.cast_signed()..).take(numbers.len()).collect::<Vec<_>>();
    assert_eq!(numbers.as_ref(), expected);
}

fn read_some(reader: &mut PartitionReader, max_rows: usize) {
    let position = reader.position();
    check(&reader.next(max_rows).unwrap().unwrap(), position);
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir.join("segments/numbers/0")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn a_reader_finishes_its_segment_and_is_told_what_was_removed_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    // Too few rows to be decoded ahead: the readers open one segment at a time.
    for n in 0..4 {
        seal_rows(&log, &stream, n * 16_000, 16_000).await;
    }
    let paths = segment_files(dir.path());
    let mut fresh = log.reader(stream.id(), 0, 0, None).unwrap();
    let mut first = log.reader(stream.id(), 0, 0, None).unwrap();
    read_some(&mut first, 10);
    let mut second = log.reader(stream.id(), 0, 16_000, None).unwrap();
    read_some(&mut second, 10_000);
    let snapshot = log.snapshot(stream.id(), 0).unwrap();
    keep_at_most(&log, snapshot.segments[3].bytes).await;
    assert_eq!(log.range(stream.id(), 0).unwrap(), 48_000..64_000);

    // Held by the snapshot and the readers alike.
    assert!(paths.iter().all(|path| path.exists()));
    snapshot.segments[0].verify().unwrap();
    drop(snapshot);
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [true, true, false, true]);

    for (reader, end) in [(&mut first, 16_000), (&mut second, 32_000)] {
        while reader.position() < end {
            read_some(reader, 777);
        }
        let told = reader.next(1).unwrap_err();
        assert!(matches!(told, Error::OffsetRemoved { offset, oldest: 48_000, .. } if offset == end), "{told}");
    }
    assert!(matches!(fresh.next(1), Err(Error::OffsetRemoved { offset: 0, oldest: 48_000, .. })));
    assert_eq!(segment_files(dir.path()), paths[3..], "the last reader has left");
    for reader in [&mut fresh, &mut first] {
        reader.seek(48_000);
        read_some(reader, 100);
    }
    keep_at_most(&log, 0).await;
    drop(fresh);
    drop(first);
    assert_eq!(segment_files(dir.path()).len(), 0);
}

#[tokio::test]
async fn what_is_decoded_ahead_outlives_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    // More than are ever decoded ahead at once.
    for n in 0..6 {
        seal_rows(&log, &stream, n * 60_000, 60_000).await;
    }
    let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
    read_some(&mut reader, 10);
    let newest = log.segments(stream.id(), 0).unwrap().pop().unwrap();
    keep_at_most(&log, newest.bytes).await;
    let oldest = 300_000;
    assert_eq!(log.range(stream.id(), 0).unwrap(), oldest..360_000);

    let told = loop {
        let position = reader.position();
        match reader.next(777) {
            Ok(rows) => check(&rows.unwrap(), position),
            Err(error) => break error,
        }
    };
    let end = reader.position();
    assert!(end.is_multiple_of(60_000) && end < oldest, "whole segments: {end}");
    assert!(
        matches!(told, Error::OffsetRemoved { offset, oldest: first, .. } if (offset, first) == (end, oldest)),
        "{told}"
    );
    assert_eq!(segment_files(dir.path()), [newest.path], "the reader holds no other");
    reader.seek(oldest);
    read_some(&mut reader, 100);
}

const ROWS: u64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_no_wrong_row_while_retention_removes_what_they_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { seal_bytes: 5_000, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    keep_at_most(&log, 3_000).await;
    let mut reading = Vec::new();
    // From one that keeps up to ones that are overtaken.
    for max_rows in [5_000, 500, 50] {
        let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
        reading.push(tokio::spawn(async move {
            let mut removed = 0;
            while reader.position() < ROWS {
                let position = reader.position();
                match reader.next(max_rows) {
                    Ok(Some(rows)) => check(&rows, position),
                    Ok(None) => reader.wait().await,
                    Err(Error::OffsetRemoved { offset, oldest, .. }) => {
                        assert!(offset == position && oldest > position);
                        removed += oldest - position;
                        reader.seek(oldest);
                    }
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
            removed
        }));
    }
    for n in 0..ROWS.cast_signed() / 50 {
        log.commit(append(&stream, rows(n * 50, 50))).await.unwrap();
    }
    for reader in reading {
        reader.await.unwrap();
    }
    log.seal().await.unwrap();
    let range = log.range(stream.id(), 0).unwrap();
    assert!(range.start > 0 && range.end == ROWS, "{range:?}");
    let held = log.segments(stream.id(), 0).unwrap();
    assert_eq!(segment_files(dir.path()), held.iter().map(|segment| segment.path.clone()).collect::<Vec<_>>());
}
