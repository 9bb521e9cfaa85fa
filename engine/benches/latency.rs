//! From a durable append to the result that came of it, at a fixed rate of rows, beside the durable append itself.
//!
//! Small commits are scheduled at fixed times and sent at them whatever became of those before: every wait counts from the
//! scheduled time, so that a stall is seen by all rows that came in it. Three phases in one process, each on a log of its own:
//! no query; a filter; a tumbling window of one second, whose wait begins with the commit that moves the watermark past its end.
//!
//! `cargo bench -p thermocline-engine --bench latency -- [--rate 50000] [--commit-rows 50] [--seconds 60] [--runs 1] [--only NAME]
//! [--dir DIR] [--keep]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use serde_json::{Value, json};
use thermocline_log::{Commit, Log, LogOptions, Rows, Stream};
use tokio::sync::mpsc;

use crate::common::arguments::Arguments;
use crate::common::counts::Counts;
use crate::common::engine::{checked, create_stream, start};
use crate::common::figures::{Quantiles, keep};
use crate::common::machine::{cpu_seconds, heading};

const STREAM: &str = "CREATE STREAM readings (
    sequence BIGINT NOT NULL, device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, value DOUBLE, WATERMARK FOR ts AS ts
) PARTITION BY (device_id) WITH (partitions = 2);";

const DEVICES: u64 = 1000;
const START_US: i64 = 1_700_000_000_000_000;
const WINDOW_US: i64 = 1_000_000;
/// What is sent first does not count.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the last results may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A query, and how its results lead back to the commit they came of.
struct Phase {
    name: &'static str,
    query: &'static str,
    /// The commit that a result row, by its first column, waited for.
    cause: fn(&RecordBatch, &Schedule) -> Vec<u64>,
}

const PHASES: &[Phase] = &[
    Phase { name: "no query", query: "", cause: |_, _| Vec::new() },
    Phase {
        name: "filter",
        query: "CREATE STREAM result (sequence BIGINT, device_id TEXT, value DOUBLE);
                INSERT INTO result SELECT sequence, device_id, value FROM readings WHERE value > 99;",
        cause: |rows, _| rows.column(0).as_primitive::<Int64Type>().values().iter().map(|tick| *tick as u64).collect(),
    },
    Phase {
        name: "tumble 1 s",
        query: "CREATE STREAM result (ended TIMESTAMP, device_id TEXT, n BIGINT);
                INSERT INTO result SELECT window_end, device_id, count(*)
                FROM TUMBLE(readings, ts, INTERVAL '1 second') GROUP BY device_id, window_start, window_end;",
        cause: |rows, schedule| {
            let ends = rows.column(0).as_primitive::<TimestampMicrosecondType>().values();
            ends.iter().map(|end| schedule.first_at(*end)).collect()
        },
    },
];

/// When what is sent. Event time goes as the clock does.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    every: Duration,
    commit_rows: u64,
    commits: u64,
    warm_up: u64,
}

impl Schedule {
    fn of(arguments: &Arguments) -> Self {
        let rate: u64 = arguments.get("rate", 50_000);
        let commit_rows: u64 = arguments.get("commit-rows", 50);
        let every = Duration::from_nanos(1_000_000_000 * commit_rows / rate);
        let commits_in = |time: Duration| (time.as_nanos() / every.as_nanos()) as u64;
        let measured = commits_in(Duration::from_secs(arguments.get("seconds", 60)));
        let warm_up = commits_in(WARM_UP);
        Self { every, commit_rows, commits: warm_up + measured, warm_up }
    }

    fn due(&self, commit: u64) -> Duration {
        self.every * u32::try_from(commit).unwrap()
    }

    fn event_time_us(&self, commit: u64) -> i64 {
        START_US + self.due(commit).as_micros() as i64
    }

    /// The first commit at or after an event time.
    fn first_at(&self, event_us: i64) -> u64 {
        ((event_us - START_US) as u128 * 1000).div_ceil(self.every.as_nanos()) as u64
    }

    /// The rows of a commit, all of one time; one of them passes the filter.
    fn rows(&self, commit: u64, schema: &SchemaRef) -> RecordBatch {
        let count = self.commit_rows as usize;
        let devices = (0..self.commit_rows).map(|n| format!("dev-{:04}", (commit * self.commit_rows + n) % DEVICES));
        let passes = commit % self.commit_rows;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![commit as i64; count])),
            Arc::new(StringArray::from_iter_values(devices)),
            Arc::new(TimestampMicrosecondArray::from(vec![self.event_time_us(commit); count]).with_timezone("UTC")),
            Arc::new(Float64Array::from_iter_values(
                (0..self.commit_rows).map(|n| if n == passes { 100.0 } else { 20.0 }),
            )),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }
}

/// What was seen of each commit, in nanoseconds since the first was due; 0 for nothing yet.
struct Seen {
    begun: Instant,
    sent: Vec<AtomicU64>,
    durable: Vec<AtomicU64>,
    refused: AtomicU64,
}

impl Seen {
    fn new(schedule: &Schedule) -> Self {
        let nothing = || (0..schedule.commits).map(|_| AtomicU64::new(0)).collect();
        // The first commit is due when everything is there.
        let begun = Instant::now() + Duration::from_millis(200);
        Self { begun, sent: nothing(), durable: nothing(), refused: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn seconds(at: &AtomicU64) -> f64 {
        at.load(Ordering::Relaxed) as f64 / 1e9
    }
}

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments));
}

async fn run(arguments: &Arguments) {
    heading("latency");
    let counts = Counts::install();
    let schedule = Schedule::of(arguments);
    println!("{} rows every {:?}, {} commits a phase", schedule.commit_rows, schedule.every, schedule.commits);
    let mut figures = Vec::new();
    for run in 0..arguments.get("runs", 1) {
        for phase in PHASES.iter().filter(|phase| arguments.wants(phase.name)) {
            println!("\nrun {run}, {}", phase.name);
            figures.push(measured(arguments, phase, schedule, &counts).await);
        }
    }
    let (rows, every) = (schedule.commit_rows, schedule.every.as_secs_f64());
    let figures = json!({ "commit_rows": rows, "commit_every_seconds": every, "phases": figures });
    keep(arguments, "latency", &figures);
}

/// One phase: all is sent, all results are awaited.
async fn measured(arguments: &Arguments, phase: &Phase, schedule: Schedule, counts: &Counts) -> Value {
    let folder = arguments.folder();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let pipeline = format!("{STREAM}\n{}", phase.query);
    let stream = create_stream(&log, &checked(&pipeline), "readings").await;
    let mut engine = start(&log, &pipeline, None).await;
    let seen = Arc::new(Seen::new(&schedule));
    let (results, mut arrived) = mpsc::unbounded_channel();
    if let Some(result) = log.stream("result") {
        watch(&log, &result, &seen, &results);
    }
    drop(results);
    let before = (counted(counts), cpu_seconds());
    send(&log, &stream, schedule, &seen).await;
    let after = (counted(counts), cpu_seconds());
    let mut waits = Waits::default();
    if !phase.query.is_empty() {
        waits.take(&mut arrived, phase, &schedule, &seen).await;
    }
    engine.stop().await.unwrap();
    log.close().await.unwrap();
    let seconds = schedule.due(schedule.commits).as_secs_f64();
    let per_second = |n: usize| (after.0[n] - before.0[n]) as f64 / seconds;
    let commits = json!({ "commits_per_second": per_second(0), "syncs_per_second": per_second(1),
        "sent_per_second": 1.0 / schedule.every.as_secs_f64(), "refused": seen.refused.load(Ordering::Relaxed),
        "cpu_share_of_one_core": (after.1 - before.1) / seconds });
    waits.report(phase, &schedule, &seen, commits)
}

/// Commits that were stored, and groups that were synced.
fn counted(counts: &Counts) -> [u64; 2] {
    ["thermocline_log_commits_total", "thermocline_log_groups_total"].map(|name| counts.of(name))
}

/// Sends every commit when it is due, from a thread of its own; resolves when all are durable.
async fn send(log: &Log, stream: &Stream, schedule: Schedule, seen: &Arc<Seen>) {
    let runtime = tokio::runtime::Handle::current();
    let (log, stream, seen) = (log.clone(), stream.clone(), Arc::clone(seen));
    let sender = move || {
        let mut pending = Vec::new();
        for commit in 0..schedule.commits {
            let rows = schedule.rows(commit, stream.schema());
            let due = seen.begun + schedule.due(commit);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            seen.sent[commit as usize].store(seen.now(), Ordering::Relaxed);
            let mut append = Commit::new();
            append.append(stream.id(), rows);
            // Queued here, in order; only its answer is awaited there.
            let (queued, log, seen) = (log.commit(append.clone()), log.clone(), Arc::clone(&seen));
            pending.push(runtime.spawn(async move {
                let mut answer = queued.await;
                while let Err(error) = answer {
                    assert!(error.is_retryable(), "{error}");
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    answer = log.commit(append.clone()).await;
                }
                seen.durable[commit as usize].store(seen.now(), Ordering::Relaxed);
            }));
        }
        pending
    };
    for durable in tokio::task::spawn_blocking(sender).await.unwrap() {
        durable.await.unwrap();
    }
}

/// Reads the results as they come, as a sink would.
fn watch(log: &Log, result: &Stream, seen: &Arc<Seen>, results: &mpsc::UnboundedSender<(u64, Rows)>) {
    for partition in 0..result.partitions() {
        let mut reader = log.reader(result.id(), partition, 0, None).unwrap();
        let (seen, results) = (Arc::clone(seen), results.clone());
        tokio::spawn(async move {
            loop {
                while let Some(rows) = reader.next(65_536).unwrap() {
                    if results.send((seen.now(), rows)).is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = reader.wait() => {}
                    () = results.closed() => return,
                }
            }
        });
    }
}

/// What result rows waited, in seconds.
#[derive(Default)]
struct Waits {
    /// Since the commit they came of was due.
    since_due: Vec<f64>,
    /// Since it was durable.
    since_durable: Vec<f64>,
}

impl Waits {
    /// Takes results until what the last commits cause is there.
    async fn take(
        &mut self,
        arrived: &mut mpsc::UnboundedReceiver<(u64, Rows)>,
        phase: &Phase,
        schedule: &Schedule,
        seen: &Seen,
    ) {
        let last = match phase.name {
            "filter" => schedule.commits - 1,
            _ => {
                let windows = (schedule.event_time_us(schedule.commits - 1) - START_US) / WINDOW_US;
                schedule.first_at(START_US + windows * WINDOW_US)
            }
        };
        let mut newest = None;
        while newest < Some(last) {
            let next = tokio::time::timeout(PATIENCE, arrived.recv()).await;
            let (at, rows) = next.expect("results in time").expect("a reader of the results");
            let at = at as f64 / 1e9;
            for commit in (phase.cause)(&rows.batch, schedule) {
                newest = newest.max(Some(commit));
                if commit >= schedule.warm_up {
                    self.since_due.push(at - schedule.due(commit).as_secs_f64());
                    self.since_durable.push(at - Seen::seconds(&seen.durable[commit as usize]));
                }
            }
        }
    }

    fn report(&self, phase: &Phase, schedule: &Schedule, seen: &Seen, commits: Value) -> Value {
        let counted = || schedule.warm_up..schedule.commits;
        let since_due = |seen: &[AtomicU64]| -> Vec<f64> {
            counted().map(|n| Seen::seconds(&seen[n as usize]) - schedule.due(n).as_secs_f64()).collect()
        };
        let lines = [
            ("sent", "due to sent: the sender's own delay", since_due(&seen.sent)),
            ("commit", "due to durable: the commit", since_due(&seen.durable)),
            ("result", "due to the result, visible to a reader", self.since_due.clone()),
            ("beyond_commit", "durable to the result, visible to a reader", self.since_durable.clone()),
        ];
        let mut figures = json!({ "phase": phase.name, "commits": commits });
        Quantiles::heading();
        for (key, name, waits) in lines.iter().filter(|(_, _, waits)| !waits.is_empty()) {
            let quantiles = Quantiles::of(waits);
            quantiles.print(name);
            figures[*key] = quantiles.to_json();
        }
        println!("{}", figures["commits"]);
        figures
    }
}
