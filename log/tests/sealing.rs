//! From the tail into segments and on: reading across the border, trimming the journal, merging, retention.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{append, copy_dir, eventually, journal_files, numbers_stream, options, read_numbers, rows, schema};
use thermocline_log::{Commit, Error, Log, LogOptions, ManualClock, PartitionSnapshot, Retention, Stream, StreamSpec};

fn segment_files(dir: &Path) -> Vec<String> {
    let folder = dir.join("segments/numbers/0");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn seal_rows(log: &Log, stream: &Stream, from: i64, count: i64) {
    log.commit(append(stream, rows(from, count))).await.unwrap();
    log.seal().await.unwrap();
}

/// Every offset of the range is in exactly one segment or batch.
fn check(snapshot: &PartitionSnapshot) {
    let mut at = snapshot.range.start;
    for segment in &snapshot.segments {
        assert_eq!(segment.start_offset, at);
        assert!(segment.path.exists());
        at = segment.end_offset;
    }
    for batch in &snapshot.tail {
        assert_eq!(batch.start_offset, at);
        at = batch.end_offset();
    }
    assert_eq!(at, snapshot.range.end);
}

#[tokio::test]
async fn rows_are_read_across_the_border_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    seal_rows(&log, &stream, 0, 20_000).await;
    seal_rows(&log, &stream, 20_000, 1).await;
    log.commit(append(&stream, rows(20_001, 500))).await.unwrap();
    let expected: Vec<i64> = (0..20_501).collect();
    assert_eq!(read_numbers(&log, &stream, 0), expected);
    let snapshot = log.snapshot(stream.id(), 0).unwrap();
    check(&snapshot);
    assert_eq!((snapshot.segments.len(), snapshot.tail.len(), snapshot.range.clone()), (2, 1, 0..20_501));
    snapshot.segments[0].verify().unwrap();
    let tail = log.tail_rows(stream.id(), 0, 20_100).unwrap();
    assert_eq!((tail[0].start_offset, tail[0].end_offset()), (20_100, 20_501));
    for start in [0, 1, 8191, 8192, 19_999, 20_000, 20_001, 20_500] {
        let mut reader = log.reader(stream.id(), 0, start, Some(vec![1])).unwrap();
        let batch = reader.next(3).unwrap().unwrap();
        assert_eq!(batch.start_offset, start);
        assert_eq!(batch.batch.num_columns(), 1);
    }
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), expected);
    check(&log.snapshot(stream.id(), 0).unwrap());
}

#[tokio::test]
async fn full_tails_are_sealed_and_the_journal_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { seal_bytes: 100_000, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..200 {
        log.commit(append(&stream, rows(n * 500, 500))).await.unwrap();
    }
    eventually("full tails are sealed", || log.stats().tail_bytes < 100_000).await;
    eventually("old journal files are deleted", || journal_files(dir.path()).len() <= 2).await;
    assert_eq!(read_numbers(&log, &stream, 0), (0..100_000).collect::<Vec<_>>());
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (0..100_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_tails_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_000_000));
    let log = Log::open(
        dir.path(),
        LogOptions { seal_age: Duration::from_secs(60), clock: Arc::clone(&clock) as _, ..options() },
    )
    .unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 5))).await.unwrap();
    assert!(log.segments(stream.id(), 0).unwrap().is_empty());
    clock.advance(Duration::from_secs(61));
    eventually("the old tail is sealed", || log.segments(stream.id(), 0).unwrap().len() == 1).await;
    assert_eq!(read_numbers(&log, &stream, 0), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn cursors_and_values_outlive_the_journal_files_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { journal_file_bytes: 64 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    let mut commit = append(&stream, rows(0, 10));
    commit.move_cursor("sink", stream.id(), 0, 10).put("kept", b"value".to_vec());
    log.commit(commit).await.unwrap();
    let first = journal_files(dir.path());
    for n in 0..20 {
        seal_rows(&log, &stream, 10 + n * 400, 400).await;
    }
    assert!(!first[0].exists());
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(log.cursor("sink", stream.id(), 0), Some(10));
    assert_eq!(log.value("kept"), Some(b"value".to_vec()));
    assert_eq!(read_numbers(&log, &stream, 0), (0..8010).collect::<Vec<_>>());
}

#[tokio::test]
async fn small_segments_are_merged_and_stay_for_who_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..7 {
        seal_rows(&log, &stream, n * 10, 10).await;
    }
    let held = log.snapshot(stream.id(), 0).unwrap();
    assert_eq!(held.segments.len(), 7);
    seal_rows(&log, &stream, 70, 10).await;
    eventually("segments are merged", || log.segments(stream.id(), 0).unwrap().len() == 1).await;
    check(&held);
    assert_eq!(read_numbers(&log, &stream, 0), (0..80).collect::<Vec<_>>());

    // As a crash would leave it: the merged segment beside those it replaces.
    let crashed = dir.path().join("crashed");
    for part in ["journal", "segments"] {
        copy_dir(&dir.path().join(part), &crashed.join(part));
    }
    std::fs::copy(dir.path().join("LOG"), crashed.join("LOG")).unwrap();
    assert_eq!(segment_files(&crashed).len(), 8);
    let reopened = Log::open(&crashed, options()).unwrap();
    assert_eq!(read_numbers(&reopened, &stream, 0), (0..80).collect::<Vec<_>>());
    assert_eq!(segment_files(&crashed).len(), 1);

    drop(held);
    assert_eq!(segment_files(dir.path()).len(), 1);
}

#[tokio::test]
async fn what_was_being_written_at_a_crash_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    seal_rows(&log, &stream, 0, 10).await;
    drop(log);
    let half = dir.path().join("segments/numbers/0/00000000000000000010-00000000000000000020.tmp");
    std::fs::write(&half, b"half a segment").unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    assert!(!half.exists());
    assert_eq!(read_numbers(&log, &stream, 0), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn damage_of_a_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    seal_rows(&log, &stream, 0, 100).await;
    let path = log.segments(stream.id(), 0).unwrap()[0].path.clone();
    let content = std::fs::read(&path).unwrap();
    for byte in (0..content.len()).step_by(97) {
        let mut damaged = content.clone();
        damaged[byte] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let mut reader = log.reader(stream.id(), 0, 50, None).unwrap();
        assert!(matches!(reader.next(10), Err(Error::Corrupt { path: named, .. }) if named == path), "byte {byte}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { journal_file_bytes: 32 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..5 {
        seal_rows(&log, &stream, n * 1000, 1000).await;
    }
    drop(log);
    let segments = segment_files(dir.path());
    for missing in [0, 2] {
        let path = dir.path().join("segments/numbers/0").join(&segments[missing]);
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = Log::open(dir.path(), options()).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
        std::fs::write(&path, content).unwrap();
    }
    Log::open(dir.path(), options()).unwrap();
}

#[tokio::test]
async fn retention_by_age_waits_for_cursors() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_000_000));
    let with_clock = || LogOptions { clock: Arc::clone(&clock) as _, ..options() };
    let log = Log::open(dir.path(), with_clock()).unwrap();
    let retention = Retention { max_age: Some(Duration::from_secs(60)), max_bytes: None };
    let spec = StreamSpec { retention, ..StreamSpec::new("numbers", schema()) };
    let stream = log.create_stream(spec).await.unwrap();
    for n in 0..3 {
        seal_rows(&log, &stream, n * 10, 10).await;
        clock.advance(Duration::from_secs(40));
    }
    // Appended 120, 80 and 40 seconds ago.
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 20..30);
    let mut reader = log.reader(stream.id(), 0, 5, None).unwrap();
    assert!(matches!(reader.next(1), Err(Error::OffsetRemoved { offset: 5, oldest: 20, .. })));
    assert_eq!(segment_files(dir.path()).len(), 1);

    let mut commit = Commit::new();
    commit.move_cursor("slow", stream.id(), 0, 25);
    log.commit(commit).await.unwrap();
    clock.advance(Duration::from_secs(1000));
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 20..30);
    let mut commit = Commit::new();
    commit.move_cursor("slow", stream.id(), 0, 30);
    log.commit(commit).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 30..30);
    drop(log);
    let log = Log::open(dir.path(), with_clock()).unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 30..30);
    assert_eq!(log.commit(append(&stream, rows(30, 1))).await.unwrap().ranges[0].start, 30);
}

#[tokio::test]
async fn retention_by_bytes_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let mut commit = Commit::new();
    commit.move_cursor("slow", stream.id(), 0, 0);
    log.commit(commit).await.unwrap();
    for n in 0..5 {
        seal_rows(&log, &stream, n * 1000, 1000).await;
    }
    let segments = log.segments(stream.id(), 0).unwrap();
    let max_bytes = segments[3..].iter().map(|segment| segment.bytes).sum();
    let retention = Retention { max_age: None, max_bytes: Some(max_bytes) };
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 3000..5000);
    assert!(segments[0].path.exists(), "held");
    drop(segments);
    assert_eq!(segment_files(dir.path()).len(), 2);
    assert_eq!(read_numbers(&log, &stream, 0), (3000..5000).collect::<Vec<_>>());
}

#[tokio::test]
async fn segments_that_come_back_after_retention_are_removed_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { journal_file_bytes: 32 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..5 {
        seal_rows(&log, &stream, n * 1000, 1000).await;
    }
    let segments = log.segments(stream.id(), 0).unwrap();
    let second = (segments[1].path.clone(), std::fs::read(&segments[1].path).unwrap());
    let max_bytes = segments[4].bytes;
    drop(segments);
    let retention = Retention { max_age: None, max_bytes: Some(max_bytes) };
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 4000..5000);
    // The start is known from checkpoints too, once the journal has moved on.
    for n in 0..5 {
        log.commit(append(&stream, rows(5000 + n * 1000, 1000))).await.unwrap();
    }
    drop(log);
    std::fs::write(&second.0, second.1).unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (4000..10_000).collect::<Vec<_>>());
    assert!(!second.0.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_whole_while_sealing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { seal_bytes: 20_000, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    let (writing, id) = (log.clone(), stream.clone());
    let writer = tokio::spawn(async move {
        for n in 0..300 {
            writing.commit(append(&id, rows(n * 100, 100))).await.unwrap();
        }
    });
    let mut seen = 0;
    while !writer.is_finished() {
        let snapshot = log.snapshot(stream.id(), 0).unwrap();
        check(&snapshot);
        assert!(snapshot.range.end >= seen);
        seen = snapshot.range.end;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    log.seal().await.unwrap();
    check(&log.snapshot(stream.id(), 0).unwrap());
    assert_eq!(read_numbers(&log, &stream, 0), (0..30_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_follows_sees_every_row_once_while_sealing_and_merging_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { seal_bytes: 5_000, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
    let following = tokio::spawn(async move {
        let mut at = 0;
        while at < 20_000 {
            match reader.next(777).unwrap() {
                Some(rows) => {
                    assert_eq!(rows.start_offset, at);
                    at = rows.end_offset();
                }
                None => reader.wait().await,
            }
        }
    });
    for n in 0..400 {
        log.commit(append(&stream, rows(n * 50, 50))).await.unwrap();
    }
    following.await.unwrap();
}
