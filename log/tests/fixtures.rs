//! Data directories of every format version that was ever written open for ever, with every row, cursor and value.
//!
//! `tests/fixtures/v1` and `v2` are committed and never written again. After a format change the next version's is made with
//! `THERMOCLINE_WRITE_FIXTURE=v3 cargo test -p thermocline-log --test fixtures`; an existing folder is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMillisecondArray, types::TimestampMillisecondType};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use common::{copy_dir, options};
use thermocline_log::{
    Commit, Error, Log, LogOptions, ManualClock, OffsetRange, Retention, Stream, StreamSpec, inspect, verify,
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

/// What `meters` become, version after version of the schema: a column gets wider, one is new, another is new.
fn meters_schema(version: usize) -> Schema {
    let value = Field::new("value", if version == 0 { DataType::Int32 } else { DataType::Int64 }, false);
    let room = Field::new("room", DataType::Utf8, true);
    let ok = Field::new("ok", DataType::Boolean, true);
    Schema::new([value, room, ok].into_iter().take(version + 1).collect::<Vec<_>>())
}

fn meters_spec(version: usize) -> StreamSpec {
    StreamSpec::new("meters", Arc::new(meters_schema(version)))
}

/// Four rows that were appended under each version in turn, as `version` shows them: version 0 in a segment, 1 in a
/// segment and in the tail, 2 in the tail.
fn meters(part: usize, version: usize) -> RecordBatch {
    let appended_under = METERS_PARTS[part];
    let n = i32::try_from(part * 4).unwrap();
    let value: ArrayRef = match version {
        0 => Arc::new(Int32Array::from_iter_values(n..n + 4)),
        _ => Arc::new(Int64Array::from_iter_values((n..n + 4).map(i64::from))),
    };
    let room = (n..n + 4).map(|n| (appended_under > 0 && n % 4 != 2).then(|| format!("room {n}")));
    let ok = (n..n + 4).map(|n| (appended_under > 1).then_some(n % 2 == 0));
    let columns = [value, Arc::new(StringArray::from_iter(room)), Arc::new(BooleanArray::from_iter(ok))];
    RecordBatch::try_new(Arc::new(meters_schema(version)), columns.into_iter().take(version + 1).collect()).unwrap()
}

/// The version of the schema that each four rows of `meters` were appended under.
const METERS_PARTS: [usize; 4] = [0, 1, 1, 2];
/// So many of them are in segments, each in one of its own.
const METERS_SEALED: usize = 2;

async fn append_meters(log: &Log, part: usize) {
    let version = METERS_PARTS[part];
    let stream = log.create_stream(meters_spec(version)).await.unwrap();
    let mut commit = Commit::new();
    commit.append(stream.id(), meters(part, version));
    log.commit(commit).await.unwrap();
}

/// Two streams of three and one partitions; sealed and unsealed rows; cursors, some moved twice; values, one replaced and
/// one deleted; a key and two producers; a third stream with rows under three schemas.
async fn write(dir: &Path) {
    let log = Log::open(dir, written()).unwrap();
    for part in 0..METERS_SEALED {
        append_meters(&log, part).await;
        log.seal().await.unwrap();
    }
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
    let mut commit = Commit::new();
    commit.append(checks, events(7..9)).producer("counter", 40);
    log.commit(commit).await.unwrap();
    for part in METERS_SEALED..METERS_PARTS.len() {
        append_meters(&log, part).await;
    }
    log.close().await.unwrap();
}

/// What a version's directory holds more than that of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Version1,
    /// A stream whose schema changed; keys and producers, one with two rows of `checks`.
    Version2,
}

impl Holds {
    fn checks(self) -> i64 {
        match self {
            Self::Version1 => 7,
            Self::Version2 => 9,
        }
    }
}

fn read_all(log: &Log, stream: &Stream, partition: u32) -> RecordBatch {
    let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = reader.next(1000).unwrap() {
        batches.push(rows.batch);
    }
    concat_batches(stream.schema(), &batches).unwrap()
}

/// Opens a copy and checks all that [`write`] has written, or had in an earlier version.
async fn check(dir: &Path, holds: Holds) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    assert_eq!(verify(copy.path()).unwrap(), []);
    // At the clock's instant of then, or what is remembered for a while would be forgotten.
    let log = Log::open(copy.path(), written()).unwrap();
    let (pumps, checks) = (log.stream("pumps").unwrap(), log.stream("checks").unwrap());
    let names: Vec<_> = log.streams().iter().map(|stream| stream.name().to_owned()).collect();
    match holds {
        Holds::Version1 => assert_eq!(names, ["checks", "pumps"]),
        Holds::Version2 => {
            assert_eq!(names, ["checks", "meters", "pumps"]);
            check_meters(&log).await;
            check_remembered(&log).await;
        }
    }
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
    let before = holds.checks();
    assert_eq!(read_all(&log, &checks, 0), events(0..before));
    assert_eq!(log.segments(checks.id(), 0).unwrap().last().unwrap().end_offset, 3);
    let cursors = [("report", 0), ("report", 1), ("report", 2), ("archive", 2)];
    let found = cursors.map(|(name, partition)| log.cursor(name, pumps.id(), partition));
    assert_eq!(found, [None, Some(6), None, Some(5)]);
    assert_eq!(log.cursor("report", checks.id(), 0), Some(1));
    let values = [("state/a".to_owned(), b"three".to_vec()), ("state/b".to_owned(), b"two".to_vec())];
    assert_eq!(log.values(""), values);
    // What is old can be continued by what is new.
    let mut commit = Commit::new();
    commit.append(checks.id(), events(before..before + 2));
    log.commit(commit).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(read_all(&log, &checks, 0), events(0..before + 2));
}

/// Rows of every schema are there, as rows of the newest.
async fn check_meters(log: &Log) {
    let newest = log.stream("meters").unwrap();
    assert_eq!(newest.spec(), &meters_spec(2));
    let sealed: Vec<_> = log.segments(newest.id(), 0).unwrap().iter().map(|segment| segment.end_offset).collect();
    assert_eq!(sealed, [4, 8]);
    let parts: Vec<_> = (0..METERS_PARTS.len()).map(|part| meters(part, 2)).collect();
    assert_eq!(read_all(log, &newest, 0), concat_batches(newest.schema(), &parts).unwrap());
    let again = log.create_stream(meters_spec(2)).await.unwrap();
    assert_eq!((again.id(), again.spec()), (newest.id(), newest.spec()));
}

/// The commits that are remembered: stored a second time they are duplicates.
async fn check_remembered(log: &Log) {
    let ranges = log.receipt("upload/1", 7).unwrap().unwrap().ranges;
    let (checks, pumps) = (log.stream("checks").unwrap().id(), log.stream("pumps").unwrap().id());
    let range = |stream, partition, start, end| OffsetRange { stream, partition, start, end };
    let expected = [range(pumps, 0, 4, 6), range(pumps, 1, 12, 18), range(pumps, 2, 4, 6), range(checks, 0, 3, 7)];
    assert_eq!(ranges, expected);
    assert!(matches!(log.receipt("upload/1", 8), Err(Error::KeyReused { .. })));
    assert_eq!(log.producer_sequence("meter"), Some(6));
    assert_eq!(log.producer_sequence("counter"), Some(40));
    let mut commit = Commit::new();
    commit.append(checks, events(7..9)).producer("counter", 40);
    let again = log.commit(commit).await.unwrap();
    assert_eq!((again.duplicate, again.ranges), (true, vec![range(checks, 0, 7, 9)]));
    let mut commit = Commit::new();
    commit.producer("counter", 42);
    assert!(matches!(log.commit(commit).await, Err(Error::OutOfSequence { .. })));
}

#[tokio::test]
async fn the_directory_of_version_1_opens() {
    check(&fixtures().join("v1"), Holds::Version1).await;
}

#[tokio::test]
async fn the_directory_of_version_2_opens() {
    check(&fixtures().join("v2"), Holds::Version2).await;
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
    check(&dir, Holds::Version2).await;
    check_inspect(&dir, Holds::Version2);
}

#[test]
fn inspect_tells_what_the_fixtures_hold() {
    check_inspect(&fixtures().join("v1"), Holds::Version1);
    check_inspect(&fixtures().join("v2"), Holds::Version2);
}

/// A partition's number, start, and end of what is sealed and of all; its cursors.
type Told = (u32, u64, u64, u64, Vec<(String, u64)>);

fn check_inspect(dir: &Path, holds: Holds) {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(dir, copy.path());
    let found = inspect(copy.path()).unwrap();
    let remembered = if holds == Holds::Version1 { (0, 0) } else { (1, 2) };
    assert_eq!((found.idempotency_keys, found.producers), remembered);
    assert_eq!((found.values, found.torn_bytes), (2, 0));
    let journal = std::fs::read_dir(copy.path().join("journal")).unwrap().count();
    assert_eq!(found.journal_files, journal as u64);
    let mut told: Vec<(&str, Vec<Told>)> = Vec::new();
    for stream in &found.streams {
        for partition in &stream.partitions {
            let files = partition.segments.iter().map(|segment| std::fs::metadata(&segment.path).unwrap().len());
            assert_eq!(partition.segment_bytes(), files.sum::<u64>());
        }
        let partitions = stream
            .partitions
            .iter()
            .map(|p| (p.partition, p.start_offset, p.sealed_offset, p.end_offset, p.cursors.clone()));
        told.push((stream.stream.name(), partitions.collect()));
    }
    let cursor = |name: &str, at| vec![(name.to_owned(), at)];
    let mut expected = vec![
        ("checks", vec![(0, 0, 3, holds.checks().unsigned_abs(), cursor("report", 1))]),
        ("pumps", vec![(0, 0, 4, 6, vec![]), (1, 0, 12, 18, cursor("report", 6)), (2, 0, 4, 6, cursor("archive", 5))]),
    ];
    if holds == Holds::Version2 {
        expected.insert(1, ("meters", vec![(0, 0, 8, 16, vec![])]));
    }
    assert_eq!(told, expected);
}
