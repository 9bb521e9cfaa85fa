//! Data directories of every format version that was ever written open for ever, with every row, cursor and value.
//!
//! `tests/fixtures/v1` is committed and never written again. After a format change the next version's is made with
//! `THERMOCLINE_WRITE_FIXTURE=v2 cargo test -p thermocline-log --test fixtures`; an existing folder is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMillisecondArray, types::TimestampMillisecondType};
use arrow::compute::concat_batches;
use common::{copy_dir, options};
use thermocline_log::{
    Commit, Log, LogOptions, ManualClock, OffsetRange, Retention, Stream, StreamSpec, inspect, verify,
};

const WRITE_VARIABLE: &str = "THERMOCLINE_WRITE_FIXTURE";
const FIRST_MS: i64 = 1_700_000_000_000;
/// Which of the devices `pump-0` to `pump-4` the partition key places where.
const DEVICES: [&[i64]; 3] = [&[2], &[1, 3, 4], &[0]];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn written() -> LogOptions {
    LogOptions { journal_file_bytes: 4 << 10, clock: Arc::new(ManualClock::new(FIRST_MS)), ..options() }
}

/// Readings `numbers`, each of the device `n % 5`.
fn readings(numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    let n: Vec<i64> = numbers.into_iter().collect();
    let times = n.iter().map(|n| FIRST_MS + n * 100).collect::<Vec<_>>();
    let celsius = n.iter().map(|n| (n % 4 != 3).then(|| 20.0 + f64::from(i32::try_from(*n).unwrap()) / 8.0));
    RecordBatch::try_from_iter_with_nullable([
        ("time", Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")) as ArrayRef, false),
        ("device", Arc::new(StringArray::from_iter_values(n.iter().map(|n| format!("pump-{}", n % 5)))), false),
        ("celsius", Arc::new(Float64Array::from(celsius.collect::<Vec<_>>())), true),
    ])
    .unwrap()
}

fn events(numbers: std::ops::Range<i64>) -> RecordBatch {
    let ok: Vec<bool> = numbers.clone().map(|n| n % 2 == 0).collect();
    RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef),
        ("ok", Arc::new(BooleanArray::from(ok))),
    ])
    .unwrap()
}

/// Two streams of three and one partitions; sealed and unsealed rows; cursors, some moved twice; values, one replaced and
/// one deleted; a key and a producer.
async fn write(dir: &Path) {
    let log = Log::open(dir, written()).unwrap();
    let pumps = StreamSpec {
        partitions: 3,
        partition_key: vec!["device".to_owned()],
        retention: Retention { max_age: Some(Duration::from_secs(1 << 31)), max_bytes: Some(1 << 40) },
        ..StreamSpec::new("pumps", readings(0..1).schema())
    };
    let pumps = log.create_stream(pumps).await.unwrap().id();
    let checks = log.create_stream(StreamSpec::new("checks", events(0..1).schema())).await.unwrap().id();
    let mut commit = Commit::new();
    commit.append(pumps, readings(0..20)).append(checks, events(0..3));
    commit.move_cursor("report", pumps, 1, 2).move_cursor("report", checks, 0, 1);
    commit.put("state/a", b"one".to_vec()).put("state/b", b"two".to_vec()).put("gone", b"soon".to_vec());
    log.commit(commit).await.unwrap();
    log.seal().await.unwrap();
    let mut commit = Commit::new();
    commit.append(pumps, readings(20..30)).append(checks, events(3..7));
    commit.move_cursor("report", pumps, 1, 6).move_cursor("archive", pumps, 2, 5);
    commit.put("state/a", b"three".to_vec()).delete("gone").idempotency_key("upload/1", 7);
    log.commit(commit).await.unwrap();
    for sequence in 5..7 {
        let mut commit = Commit::new();
        commit.producer("meter", sequence);
        log.commit(commit).await.unwrap();
    }
    log.close().await.unwrap();
}

fn read_all(log: &Log, stream: &Stream, partition: u32) -> RecordBatch {
    let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = reader.next(1000).unwrap() {
        batches.push(rows.batch);
    }
    concat_batches(stream.schema(), &batches).unwrap()
}

/// Opens a copy and checks all that [`write`] has written.
async fn check(dir: &Path) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    assert_eq!(verify(copy.path()).unwrap(), []);
    let log = Log::open(copy.path(), options()).unwrap();
    let (pumps, checks) = (log.stream("pumps").unwrap(), log.stream("checks").unwrap());
    assert_eq!(log.streams().len(), 2);
    assert_eq!(pumps.spec().partition_key, ["device"]);
    assert_eq!(
        pumps.spec().retention,
        Retention { max_age: Some(Duration::from_secs(1 << 31)), max_bytes: Some(1 << 40) }
    );
    assert_eq!(checks.spec(), &StreamSpec::new("checks", events(0..1).schema()));
    for (partition, devices) in (0..).zip(DEVICES) {
        let expected = readings((0..30).filter(|n| devices.contains(&(n % 5))));
        assert_eq!(read_all(&log, &pumps, partition), expected, "partition {partition}");
        let sealed = log.segments(pumps.id(), partition).unwrap().last().unwrap().end_offset;
        assert_eq!(sealed, 4 * devices.len() as u64, "partition {partition}");
    }
    let times = read_all(&log, &pumps, 0);
    assert_eq!(times.column(0).as_primitive::<TimestampMillisecondType>().value(1), FIRST_MS + 700);
    assert_eq!(read_all(&log, &checks, 0), events(0..7));
    let cursors = [("report", 0), ("report", 1), ("report", 2), ("archive", 2)];
    let found = cursors.map(|(name, partition)| log.cursor(name, pumps.id(), partition));
    assert_eq!(found, [None, Some(6), None, Some(5)]);
    assert_eq!(log.cursor("report", checks.id(), 0), Some(1));
    let values = [("state/a".to_owned(), b"three".to_vec()), ("state/b".to_owned(), b"two".to_vec())];
    assert_eq!(log.values(""), values);
    // What is old can be continued by what is new.
    let mut commit = Commit::new();
    commit.append(checks.id(), events(7..9));
    log.commit(commit).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(read_all(&log, &checks, 0), events(0..9));
}

#[tokio::test]
async fn the_directory_of_version_1_opens() {
    check(&fixtures().join("v1")).await;
}

#[tokio::test]
async fn what_is_written_today_reads_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = match std::env::var(WRITE_VARIABLE) {
        Ok(version) => fixtures().join(version),
        Err(_) => temporary.path().join("today"),
    };
    assert!(!dir.exists(), "{} is there already and must stay as it is", dir.display());
    write(&dir).await;
    check(&dir).await;
    check_remembered(&dir);
}

/// The commits of [`write`] that are remembered, in directories of version 2 and later.
fn check_remembered(dir: &Path) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    let log = Log::open(copy.path(), written()).unwrap();
    let ranges = log.receipt("upload/1", 7).unwrap().unwrap().ranges;
    let checks = log.stream("checks").unwrap().id();
    assert_eq!(ranges.last(), Some(&OffsetRange { stream: checks, partition: 0, start: 3, end: 7 }));
    assert_eq!(log.producer_sequence("meter"), Some(6));
}

#[test]
fn inspect_tells_what_the_fixture_holds() {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&fixtures().join("v1"), copy.path());
    let found = inspect(copy.path()).unwrap();
    assert_eq!((found.values, found.torn_bytes), (2, 0));
    let names: Vec<_> = found.streams.iter().map(|found| found.stream.name()).collect();
    assert_eq!(names, ["checks", "pumps"]);
    let pump = &found.streams[1].partitions[2];
    assert_eq!((pump.partition, pump.start_offset, pump.sealed_offset, pump.end_offset), (2, 0, 4, 6));
    assert_eq!(pump.cursors, [("archive".to_owned(), 5)]);
    assert_eq!(pump.segment_bytes(), std::fs::metadata(&pump.segments[0].path).unwrap().len());
}
