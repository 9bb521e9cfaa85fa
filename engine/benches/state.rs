//! What state costs: bytes a key in memory and in a snapshot, what a snapshot does to the query, and how long recovery takes.
//!
//! Text keys of eight bytes, each with a count and an average, in one window that stays open, or a session of its own
//! (`--windows session`), whose rows come in event-time order. Every part runs in a process of its own, so that what one leaves
//! to the allocator is not taken for the state of another:
//!
//! - *raw*: the same keys and figures in a hash map, for comparison;
//! - *fill*: the query over one stored row a key; the anonymous memory before and after it;
//! - *snapshot*: the same with snapshots on the way, then small commits at a fixed rate, in which partitions take more of them, of
//!   what has changed; how long each commit waited until the query had it behind it, from the time it was due;
//! - *recover*: log and query are opened again after that, as after a crash.
//!
//! `cargo bench -p thermocline-engine --bench state -- [--windows tumble] [--keys 10000000] [--rate 50000] [--seconds 30] [--dir DIR] [--keep]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use thermocline_engine::Engine;
use thermocline_log::{Log, LogOptions, Stream};

use crate::common::arguments::Arguments;
use crate::common::engine::{append, caught_up, checked, create_stream, position, start};
use crate::common::figures::{Quantiles, keep};
use crate::common::machine::{anonymous_bytes, cpu_seconds, heading};

const STREAM: &str = "CREATE STREAM readings (
    key TEXT NOT NULL, ts TIMESTAMP NOT NULL, value DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (key) WITH (partitions = 2);";

/// Rows that are appended at once while the log is filled.
const APPEND_ROWS: u64 = 65_536;
/// Every row is within one window of an hour; each is a moment after the one before it.
const START_US: i64 = 1_699_999_200_000_000;
const STEP_US: i64 = 20;
const EVERY: Duration = Duration::from_millis(2);

/// What the keys are counted in.
#[derive(Clone, Copy)]
struct Windows<'a>(&'a str);

impl Windows<'_> {
    /// A query of its own for each part: they share the stored rows, not the state.
    fn pipeline(self, part: &str) -> String {
        format!(
            "{STREAM}\nCREATE STREAM counted_{part} (ended TIMESTAMP, key TEXT, n BIGINT, mean DOUBLE);
             INSERT INTO counted_{part} SELECT window_end, key, count(*), avg(value)
             FROM {}(readings, ts, INTERVAL '1 hour') GROUP BY key, window_start, window_end;",
            self.0
        )
    }
}

/// Eight bytes, spread over the alphabet so that neighbours are no prefixes of each other.
fn key(n: u64) -> String {
    format!("{:08x}", (n as u32).wrapping_mul(0x9e37_79b1))
}

fn rows(first: u64, count: u64, keys: u64, schema: &SchemaRef) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values((first..first + count).map(|n| key(n % keys)))),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values((first..first + count).map(|n| START_US + n as i64 * STEP_US))
                .with_timezone("UTC"),
        ),
        Arc::new(Float64Array::from_iter_values((first..first + count).map(|n| (n % 1000) as f64 / 10.0))),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let keys = arguments.get("keys", 10_000_000);
    let windows = Windows(arguments.value("windows").unwrap_or("tumble"));
    let Some(part) = arguments.value("part") else { return all(&arguments, keys, windows) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = arguments.path().expect("a part is given its folder");
    let figures = runtime.block_on(async {
        match part {
            "raw" => raw(keys),
            "load" => load(&folder, keys).await,
            "fill" => fill(&folder, keys, windows).await,
            "snapshot" => snapshot(&arguments, &folder, keys, windows).await,
            "recover" => recover(&folder, keys, windows).await,
            other => panic!("no part {other}"),
        }
    });
    println!("{figures}");
}

/// Runs the parts one after the other.
fn all(arguments: &Arguments, keys: u64, windows: Windows<'_>) {
    heading("state");
    println!("{keys} keys, {}", windows.0);
    let folder = arguments.folder();
    let mut figures = serde_json::Map::new();
    for part in ["raw", "load", "fill", "snapshot", "recover"] {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process
            .args(["--bench", "--part", part, "--keys", &keys.to_string(), "--windows", windows.0])
            .arg(folder.path());
        for name in ["rate", "seconds"] {
            if let Some(value) = arguments.value(name) {
                process.args([&format!("--{name}"), value]);
            }
        }
        let output = process.stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{part}: {}", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().last().expect("a part prints its figures");
        println!("{part}: {last}");
        figures.insert(part.to_owned(), serde_json::from_str(last).unwrap());
    }
    figures.insert("keys".into(), keys.into());
    let name = if windows.0 == "tumble" { "state".to_owned() } else { format!("state-{}", windows.0) };
    keep(arguments, &name, &figures.into());
}

/// What a hash map of the same takes.
fn raw(keys: u64) -> Value {
    let before = anonymous_bytes();
    let began = Instant::now();
    let mut state: hashbrown::HashMap<Box<str>, (u64, f64)> = hashbrown::HashMap::new();
    for n in 0..keys {
        let (count, sum) = state.entry(key(n).into_boxed_str()).or_default();
        *count += 1;
        *sum += 1.0;
    }
    let seconds = began.elapsed().as_secs_f64();
    let resident = anonymous_bytes().saturating_sub(before);
    json!({ "seconds": seconds, "entries": state.len(), "resident_bytes_per_key": resident as f64 / keys as f64 })
}

/// Stores one row a key.
async fn load(folder: &Path, keys: u64) -> Value {
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let stream = create_stream(&log, &checked(STREAM), "readings").await;
    let began = Instant::now();
    let mut stored = 0;
    while stored < keys {
        let count = APPEND_ROWS.min(keys - stored);
        append(&log, &stream, rows(stored, count, keys, stream.schema())).await;
        stored += count;
    }
    log.seal().await.unwrap();
    let segments = log.stats().segment_bytes;
    log.close().await.unwrap();
    json!({ "seconds": began.elapsed().as_secs_f64(), "segment_bytes": segments })
}

/// Runs the part's query over the stored rows.
async fn filled(log: &Log, pipeline: &str, keys: u64, checkpoint_rows: Option<u64>) -> (Engine, f64) {
    let began = Instant::now();
    let engine = start(log, pipeline, checkpoint_rows).await;
    caught_up(&engine, keys).await;
    (engine, began.elapsed().as_secs_f64())
}

async fn fill(folder: &Path, keys: u64, windows: Windows<'_>) -> Value {
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let (before, cpu) = (anonymous_bytes(), cpu_seconds());
    let (engine, seconds) = filled(&log, &windows.pipeline("fill"), keys, Some(u64::MAX)).await;
    let cpu = cpu_seconds() - cpu;
    let resident = anonymous_bytes().saturating_sub(before);
    let accounted = engine.status().next().expect("a query").1.state_bytes();
    engine.abort().await;
    log.close().await.unwrap();
    let per_key = |bytes: u64| bytes as f64 / keys as f64;
    json!({ "seconds": seconds, "cpu_seconds": cpu, "resident_bytes": resident, "accounted_bytes": accounted,
        "resident_bytes_per_key": per_key(resident), "accounted_bytes_per_key": per_key(accounted) })
}

/// What the query does while its partitions take a snapshot, and before.
async fn snapshot(arguments: &Arguments, folder: &Path, keys: u64, windows: Windows<'_>) -> Value {
    let rate: u64 = arguments.get("rate", 50_000);
    let seconds: u64 = arguments.get("seconds", 30);
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let stream = create_stream(&log, &checked(STREAM), "readings").await;
    let (engine, _) = filled(&log, &windows.pipeline("snapshot"), keys, None).await;
    let files = Files::watch(&log);
    let commit_rows = (u128::from(rate) * EVERY.as_millis() / 1000) as u64;
    let commits = u64::try_from(Duration::from_secs(seconds).as_nanos() / EVERY.as_nanos()).unwrap();
    let begun = Instant::now() + Duration::from_millis(100);
    let sender = tokio::spawn(send(log.clone(), stream, begun, commits, commit_rows, keys));
    let behind = watched(&engine, begun, commits, commit_rows, keys).await;
    sender.await.unwrap();
    let files = files.ended();
    let before = &behind[..behind.len() / 4];
    let waits = |of: &[(f64, f64)]| -> Vec<f64> { of.iter().map(|(_, wait)| *wait).collect() };
    let (quiet, all) = (waits(before), waits(&behind));
    Quantiles::heading();
    Quantiles::of(&quiet).print("due to behind the query, before the snapshots");
    Quantiles::of(&all).print("due to behind the query, in all");
    // As after a crash: nothing is stored that was not.
    engine.abort().await;
    log.close().await.unwrap();
    json!({ "before_snapshots": Quantiles::of(&quiet).to_json(), "with_snapshots": Quantiles::of(&all).to_json(),
        "stood_still_seconds": longest_stall(&behind), "stood_still_before_snapshots_seconds": longest_stall(before),
        "snapshots": files })
}

async fn send(log: Log, stream: Stream, begun: Instant, commits: u64, commit_rows: u64, keys: u64) {
    let mut pending = Vec::new();
    for commit in 0..commits {
        tokio::time::sleep_until((begun + EVERY * commit as u32).into()).await;
        let rows = rows(keys + commit * commit_rows, commit_rows, keys, stream.schema());
        let (log, stream) = (log.clone(), stream.clone());
        pending.push(tokio::spawn(async move { append(&log, &stream, rows).await }));
    }
    for durable in pending {
        durable.await.unwrap();
    }
}

/// Per commit, when the query had as many rows behind it as there were with it, and how long after it was due, in seconds.
async fn watched(engine: &Engine, begun: Instant, commits: u64, commit_rows: u64, keys: u64) -> Vec<(f64, f64)> {
    let mut behind = Vec::new();
    while (behind.len() as u64) < commits {
        let done = (position(engine) - keys) / commit_rows;
        let now = begun.elapsed().as_secs_f64();
        while (behind.len() as u64) < done {
            let due = EVERY.as_secs_f64() * behind.len() as f64;
            behind.push((now, now - due));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    behind
}

/// The longest time in which no commit came to be behind the query.
fn longest_stall(behind: &[(f64, f64)]) -> f64 {
    behind.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(0.0, f64::max)
}

/// Watches the snapshot files being written.
struct Files {
    stop: Arc<AtomicBool>,
    watcher: std::thread::JoinHandle<Vec<Value>>,
}

impl Files {
    fn watch(log: &Log) -> Self {
        let (stop, folder) = (Arc::new(AtomicBool::new(false)), log.state_dir());
        let stopped = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut files: Vec<(String, Instant, Instant, u64)> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // A file that is being written has another name until it is whole.
                    let name = name.split_once(".snapshot").map_or(name.clone(), |(stem, _)| stem.to_owned());
                    let (now, bytes) = (Instant::now(), entry.metadata().map_or(0, |metadata| metadata.len()));
                    match files.iter_mut().find(|(known, ..)| *known == name) {
                        Some((_, _, grown, size)) if *size != bytes => (*grown, *size) = (now, bytes),
                        Some(_) => {}
                        None => files.push((name, now, now, bytes)),
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let described = |(name, begun, grown, bytes): (String, Instant, Instant, u64)| json!({ "file": name, "bytes": bytes, "write_seconds": (grown - begun).as_secs_f64() });
            files.into_iter().map(described).collect()
        });
        Self { stop, watcher }
    }

    fn ended(self) -> Vec<Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap()
    }
}

/// Opens log and query again.
async fn recover(folder: &Path, keys: u64, windows: Windows<'_>) -> Value {
    let began = Instant::now();
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let log_seconds = began.elapsed().as_secs_f64();
    let stream = log.stream("readings").unwrap();
    let stored: u64 = (0..stream.partitions()).map(|n| log.range(stream.id(), n).unwrap().end).sum();
    let snapshot_bytes: u64 =
        std::fs::read_dir(log.state_dir()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let before = anonymous_bytes();
    let began = Instant::now();
    let engine = start(&log, &windows.pipeline("snapshot"), None).await;
    let start_seconds = began.elapsed().as_secs_f64();
    caught_up(&engine, stored).await;
    let query_seconds = began.elapsed().as_secs_f64();
    let status = Arc::clone(engine.status().next().expect("a query").1);
    let (rows_read, state_bytes) = (status.rows_in(), status.state_bytes());
    let resident = anonymous_bytes().saturating_sub(before);
    engine.abort().await;
    log.close().await.unwrap();
    json!({ "log_open_seconds": log_seconds, "engine_start_seconds": start_seconds, "caught_up_seconds": query_seconds,
        "rows_read_again": rows_read, "snapshot_bytes": snapshot_bytes,
        "snapshot_bytes_per_key": snapshot_bytes as f64 / keys as f64, "state_bytes": state_bytes,
        "resident_bytes": resident })
}
