//! The wall clock jumps, far and both ways: it decides when rows are sealed and removed and how long commits are
//! remembered, never which rows there are and in which order.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{append, eventually, options, read_numbers, rows, schema};
use thermocline_log::{Error, Log, LogOptions, ManualClock, Retention, Stream, StreamSpec};

const NOW_MS: i64 = 1_700_000_000_000;
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
/// From the beginning of time to long after; 0 is what a machine without a battery wakes up with.
const JUMPS_MS: [i64; 10] = [
    NOW_MS,
    NOW_MS + 10 * YEAR_MS,
    NOW_MS - 20 * YEAR_MS,
    0,
    NOW_MS + 1,
    i64::MAX,
    NOW_MS - 1,
    1,
    NOW_MS + 7000 * YEAR_MS,
    NOW_MS,
];

fn with(clock: &Arc<ManualClock>) -> LogOptions {
    LogOptions { clock: Arc::clone(clock) as _, ..options() }
}

async fn stream_with(log: &Log, retention: Retention) -> Stream {
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap()
}

async fn seal_rows(log: &Log, stream: &Stream, from: i64, count: i64) {
    log.commit(append(stream, rows(from, count))).await.unwrap();
    log.seal().await.unwrap();
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Log {
    Log::open(dir, with(clock)).unwrap()
}

#[tokio::test]
async fn jumps_of_the_clock_change_neither_rows_nor_offsets_nor_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let small = || LogOptions { journal_file_bytes: 8 << 10, seal_age: Duration::from_secs(60), ..with(&clock) };
    let mut log = Log::open(dir.path(), small()).unwrap();
    let stream = stream_with(&log, Retention::default()).await;
    let mut end = 0_i64;
    // Each pair of jumps: between two commits, between commit and seal, between life and life.
    for from in JUMPS_MS {
        for to in JUMPS_MS {
            clock.set(from);
            let mut commit = append(&stream, rows(end, 3));
            commit.move_cursor("report", stream.id(), 0, end.unsigned_abs()).producer("meter", end.unsigned_abs() / 7);
            let receipt = log.commit(commit).await.unwrap();
            assert_eq!((receipt.ranges[0].start, receipt.ranges[0].end), (end.unsigned_abs(), end.unsigned_abs() + 3));
            clock.set(to);
            assert_eq!(
                log.commit(append(&stream, rows(end + 3, 4))).await.unwrap().ranges[0].start,
                end.unsigned_abs() + 3
            );
            end += 7;
            if end % 3 == 0 {
                log.seal().await.unwrap();
            }
            if end % 5 == 0 {
                drop(log);
                log = Log::open(dir.path(), small()).unwrap();
            }
            assert_eq!(log.cursor("report", stream.id(), 0), Some(end.unsigned_abs() - 7));
        }
        assert_eq!(read_numbers(&log, &stream, 0), (0..end).collect::<Vec<_>>(), "a clock of {from} ms");
    }
    drop(log);
    assert_eq!(thermocline_log::verify(dir.path()).unwrap(), []);
    let log = Log::open(dir.path(), small()).unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (0..end).collect::<Vec<_>>());
}

#[tokio::test]
async fn retention_by_bytes_removes_the_oldest_rows_where_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let log = open(dir.path(), &clock);
    let stream = stream_with(&log, Retention::default()).await;
    for (n, now_ms) in (0..).zip([NOW_MS, NOW_MS + YEAR_MS, NOW_MS - YEAR_MS, 0, NOW_MS - 1]) {
        clock.set(now_ms);
        seal_rows(&log, &stream, n * 1000, 1000).await;
    }
    let max_bytes = log.segments(stream.id(), 0).unwrap()[1..].iter().map(|segment| segment.bytes).sum();
    stream_with(&log, Retention { max_age: None, max_bytes: Some(max_bytes) }).await;
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 1000..5000, "the first segment was enough");
    assert_eq!(read_numbers(&log, &stream, 0), (1000..5000).collect::<Vec<_>>());
}

#[tokio::test]
async fn retention_by_age_removes_nothing_while_the_clock_is_back_and_only_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let log = open(dir.path(), &clock);
    let retention = Retention { max_age: Some(Duration::from_secs(3600)), max_bytes: None };
    let stream = stream_with(&log, retention).await;
    // The second segment is from a clock that was ahead by an hour.
    for (n, now_ms) in (0..).zip([NOW_MS, NOW_MS + 3_600_000, NOW_MS + 1000]) {
        clock.set(now_ms);
        seal_rows(&log, &stream, n * 10, 10).await;
    }
    for now_ms in [0, NOW_MS - YEAR_MS, NOW_MS] {
        clock.set(now_ms);
        log.seal().await.unwrap();
        assert_eq!(log.range(stream.id(), 0).unwrap(), 0..30, "a clock of {now_ms} ms");
    }
    // The first and the third are old enough: the third is behind one that is not.
    clock.set(NOW_MS + 3_700_000);
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 10..30);
    clock.set(NOW_MS + 7_300_000);
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 30..30);
    drop(log);
    clock.set(0);
    let log = open(dir.path(), &clock);
    assert_eq!(log.range(stream.id(), 0).unwrap(), 30..30, "what was removed does not come back");
    assert_eq!(log.commit(append(&stream, rows(30, 1))).await.unwrap().ranges[0].start, 30);
}

#[tokio::test]
async fn a_tail_from_the_future_is_sealed_with_its_size_and_one_from_the_past_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS + YEAR_MS));
    let options = LogOptions { seal_age: Duration::from_secs(60), seal_bytes: 20_000, ..with(&clock) };
    let log = Log::open(dir.path(), options).unwrap();
    let stream = stream_with(&log, Retention::default()).await;
    log.commit(append(&stream, rows(0, 10))).await.unwrap();
    clock.set(NOW_MS);
    log.commit(append(&stream, rows(10, 2000))).await.unwrap();
    eventually("the tail is sealed", || log.stats().tail_bytes < 20_000).await;
    log.seal().await.unwrap();
    log.commit(append(&stream, rows(2010, 10))).await.unwrap();
    clock.set(NOW_MS + 10 * YEAR_MS);
    eventually("the old tail is sealed", || log.stats().tail_bytes == 0).await;
    assert_eq!(read_numbers(&log, &stream, 0), (0..2020).collect::<Vec<_>>());
}

#[tokio::test]
async fn commits_stay_remembered_while_the_clock_is_back_and_after_it_was_ahead_for_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let mut log = open(dir.path(), &clock);
    let stream = stream_with(&log, Retention::default()).await;
    let keyed = |stream: &Stream| {
        let mut commit = append(stream, rows(0, 5));
        commit.idempotency_key("upload/1", 7);
        commit
    };
    let produced = |stream: &Stream| {
        let mut commit = append(stream, rows(5, 5));
        commit.producer("meter", 3);
        commit
    };
    let first = log.commit(keyed(&stream)).await.unwrap();
    let second = log.commit(produced(&stream)).await.unwrap();
    for now_ms in [NOW_MS - 1, 0, NOW_MS - YEAR_MS, NOW_MS + 1000, NOW_MS] {
        // Ahead for a moment, in which nothing is asked for.
        clock.set(NOW_MS + YEAR_MS);
        log.seal().await.unwrap();
        clock.set(now_ms);
        for (commit, receipt) in [(keyed(&stream), &first), (produced(&stream), &second)] {
            let again = log.commit(commit).await.unwrap();
            assert_eq!((again.duplicate, &again.ranges), (true, &receipt.ranges), "a clock of {now_ms} ms");
        }
        let mut gap = append(&stream, rows(0, 1));
        gap.producer("meter", 5);
        assert!(matches!(log.commit(gap).await, Err(Error::OutOfSequence { expected: 4, found: 5, .. })));
        drop(log);
        log = open(dir.path(), &clock);
    }
    assert_eq!(read_numbers(&log, &stream, 0), (0..10).collect::<Vec<_>>());
}
