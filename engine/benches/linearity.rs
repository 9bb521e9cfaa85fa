//! What a row costs as there are more of them, and as more of them lie behind.
//!
//! *Rows*: each query from the first stored row to the last, over a quarter, a half, all and twice all of the workload.
//! *History*: a query that runs while a million rows are appended, with a short history behind it and with a long one, and how
//! long log and query take to open then. Beyond ten million rows the workload is repeated, its times shifted.
//!
//! `cargo bench -p thermocline-engine --bench linearity -- FOLDER/sensors.parquet [--runs 3] [--rows 2500000,5000000,10000000,20000000]
//! [--history 1000000,20000000] [--step 1000000] [--only rows,history] [--dir DIR] [--keep]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use serde_json::{Value, json};
use thermocline_log::{Log, LogOptions, Stream};

use crate::common::arguments::Arguments;
use crate::common::engine::{append, caught_up, position, start};
use crate::common::figures::{keep, median};
use crate::common::machine::{cpu_seconds, heading};
use crate::common::workload::{self, QUERIES, batches, continuous, load, pipeline, reading};

/// The queries whose state is of a different kind each.
const MEASURED: [&str; 3] = ["Q1", "Q2", "Q4"];
/// Event time of a row of the workload: ten thousand a second.
const ROWS_PER_MS: u64 = 10;

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let Some(parquet) = arguments.path() else {
        println!("linearity: no Parquet file given, nothing measured");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments, &parquet));
}

async fn run(arguments: &Arguments, parquet: &Path) {
    heading("linearity");
    let source = Source::of(parquet).await;
    let rows = if arguments.wants("rows") { by_rows(arguments, &source).await } else { Value::Null };
    let history = if arguments.wants("history") { by_history(arguments, &source).await } else { Value::Null };
    keep(arguments, "linearity", &json!({ "rows": rows, "history": history }));
}

fn numbers(arguments: &Arguments, name: &str, default: &str) -> Vec<u64> {
    let list = arguments.value(name).unwrap_or(default);
    list.split(',').map(|number| number.parse().unwrap()).collect()
}

/// The workload, again and again.
struct Source<'a> {
    parquet: &'a Path,
    rows: u64,
}

impl<'a> Source<'a> {
    async fn of(parquet: &'a Path) -> Self {
        let mut counted = batches(parquet, "SELECT device_id FROM rows", 1).await;
        let mut rows = 0;
        while let Some(batch) = counted.try_next().await.unwrap() {
            rows += batch.num_rows() as u64;
        }
        Self { parquet, rows }
    }

    /// Rows `from..until` as parts of the file: the file's rows, and by how much their times are shifted.
    fn parts(&self, from: u64, until: u64) -> Vec<(u64, u64, i64)> {
        let mut parts = Vec::new();
        let mut at = from;
        while at < until {
            let copy = at / self.rows;
            let begin = copy * self.rows;
            let end = until.min(begin + self.rows);
            parts.push((at - begin, end - begin, (begin / ROWS_PER_MS) as i64));
            at = end;
        }
        parts
    }

    async fn load(&self, log: &Log, stream: &Stream, from: u64, until: u64) {
        for (first, last, shift_ms) in self.parts(from, until) {
            let stored = load(log, stream, self.parquet, first, last, shift_ms).await;
            assert_eq!(stored, last - first, "rows of the file");
        }
    }
}

/// Each query over more and more stored rows.
async fn by_rows(arguments: &Arguments, source: &Source<'_>) -> Value {
    let folder = arguments.folder();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let stream = workload::stream(&log).await;
    let runs = arguments.get("runs", 3);
    println!("from the first stored row to the last, medians of {runs} runs");
    println!(
        "{:<8} {:>12} {:>10} {:>10} {:>14} {:>14}",
        "query", "rows", "result", "seconds", "ns a row", "CPU ns a row"
    );
    let (mut stored, mut figures) = (0, Vec::new());
    for rows in numbers(arguments, "rows", "2500000,5000000,10000000,20000000") {
        source.load(&log, &stream, stored, rows).await;
        stored = rows;
        for query in QUERIES.iter().filter(|query| MEASURED.contains(&query.name)) {
            let (mut seconds, mut cpu, mut results) = (Vec::new(), Vec::new(), 0);
            for run in 0..runs {
                let before = cpu_seconds();
                let (took, found) = continuous(&log, query, 1, &format!("{rows}_{run}")).await;
                seconds.push(took);
                cpu.push(cpu_seconds() - before);
                results = found;
            }
            let (clock, used) = (median(&seconds), median(&cpu));
            let ns = |seconds: f64| seconds * 1e9 / rows as f64;
            let name = query.name;
            println!("{name:<8} {rows:>12} {results:>10} {clock:>10.3} {:>14.1} {:>14.1}", ns(clock), ns(used));
            figures.push(json!({ "query": name, "rows": rows, "result_rows": results, "seconds": seconds,
                "cpu_seconds": cpu, "ns_per_row": ns(clock), "cpu_ns_per_row": ns(used) }));
        }
    }
    log.close().await.unwrap();
    figures.into()
}

/// Each query at the end of a short and of a long history.
async fn by_history(arguments: &Arguments, source: &Source<'_>) -> Value {
    let step = arguments.get("step", 1_000_000);
    let histories = numbers(arguments, "history", "1000000,20000000");
    println!("\na query that runs while {step} more rows are appended durably, and opening after them");
    println!(
        "{:<8} {:>12} {:>10} {:>14} {:>12} {:>14} {:>16} {:>11}",
        "query", "history", "ns a row", "CPU ns a row", "log open, s", "query open, s", "rows read again", "state, MiB"
    );
    let mut figures = Vec::new();
    for query in QUERIES.iter().filter(|query| MEASURED.contains(&query.name)) {
        let folder = arguments.folder();
        let (pipeline, _) = pipeline(query, 1, "history");
        let mut stored = 0;
        for history in &histories {
            // Another process would open it: nothing of the part before is in memory.
            let log = Log::open(folder.path(), LogOptions::default()).unwrap();
            let stream = workload::stream(&log).await;
            source.load(&log, &stream, stored, *history).await;
            stored = history + step;
            let mut engine = start(&log, &pipeline, None).await;
            caught_up(&engine, *history).await;
            let (clock, used) = step_cost(&log, &stream, &engine, source, *history, stored).await;
            engine.stop().await.unwrap();
            log.close().await.unwrap();
            drop((engine, stream, log));
            let opened = opened(folder.path(), &pipeline, stored).await;
            let ns = |seconds: f64| seconds * 1e9 / step as f64;
            println!(
                "{:<8} {history:>12} {:>10.1} {:>14.1} {:>12.3} {:>14.3} {:>16} {:>11.1}",
                query.name,
                ns(clock),
                ns(used),
                opened.log_seconds,
                opened.query_seconds,
                opened.rows_read_again,
                opened.state_bytes as f64 / 1_048_576.0,
            );
            figures.push(json!({ "query": query.name, "history_rows": history, "step_rows": step,
                "ns_per_row": ns(clock), "cpu_ns_per_row": ns(used), "log_open_seconds": opened.log_seconds,
                "query_open_seconds": opened.query_seconds, "rows_read_again": opened.rows_read_again, "state_bytes": opened.state_bytes }));
        }
    }
    figures.into()
}

/// Clock and CPU seconds from the first of the next rows appended to the last of them behind the query.
async fn step_cost(
    log: &Log,
    stream: &Stream,
    engine: &thermocline_engine::Engine,
    source: &Source<'_>,
    from: u64,
    until: u64,
) -> (f64, f64) {
    let mut rows = Vec::new();
    for (first, last, shift_ms) in source.parts(from, until) {
        let select = format!("SELECT * FROM rows OFFSET {first} LIMIT {}", last - first);
        let mut read = batches(source.parquet, &select, 1).await;
        while let Some(batch) = read.try_next().await.unwrap() {
            rows.push(reading(&batch, stream.schema(), shift_ms));
        }
    }
    let (clock, cpu) = (Instant::now(), cpu_seconds());
    for batch in rows {
        append(log, stream, batch).await;
    }
    caught_up(engine, until).await;
    (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu)
}

struct Opened {
    log_seconds: f64,
    /// Snapshots read, rows after them read again.
    query_seconds: f64,
    rows_read_again: u64,
    state_bytes: u64,
}

async fn opened(folder: &Path, pipeline: &str, rows: u64) -> Opened {
    let before = Instant::now();
    let log = Log::open(folder, LogOptions::default()).unwrap();
    let log_seconds = before.elapsed().as_secs_f64();
    let before = Instant::now();
    let mut engine = start(&log, pipeline, None).await;
    caught_up(&engine, rows).await;
    let query_seconds = before.elapsed().as_secs_f64();
    assert_eq!(position(&engine), rows);
    let status = Arc::clone(engine.status().next().expect("a query").1);
    let (rows_read_again, state_bytes) = (status.rows_in(), status.state_bytes());
    engine.stop().await.unwrap();
    log.close().await.unwrap();
    Opened { log_seconds, query_seconds, rows_read_again, state_bytes }
}
