//! Continuous queries over rows that are stored, beside DataFusion's batch execution of the same queries over the same rows in
//! Parquet: watermarks, lateness, panes, snapshots and the durable result against none of it.
//!
//! `cargo bench -p thermocline-engine --bench stored_rows -- FOLDER/sensors.parquet [--runs N] [--only Q1,Q4] [--dir DIR] [--keep]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::cast_sign_loss)]

mod common;

use std::path::Path;

use serde_json::{Value, json};
use thermocline_log::{Log, LogOptions};

use crate::common::arguments::Arguments;
use crate::common::figures::{keep, median, shown};
use crate::common::machine::{cpu_seconds, heading};
use crate::common::workload::{ALL_ROWS, QUERIES, Query, continuous, in_batch, load, stream};

fn main() {
    let Some(arguments) = Arguments::read() else { return };
    let Some(parquet) = arguments.path() else {
        println!("stored_rows: no Parquet file given, nothing measured");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments, &parquet));
}

async fn run(arguments: &Arguments, parquet: &Path) {
    heading("stored_rows");
    let folder = arguments.folder();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let rows = load(&log, &stream(&log).await, parquet, 0, ALL_ROWS, 0).await;
    let runs = arguments.get("runs", 5);
    println!("{rows} rows stored; seconds, medians of {runs} runs (least)");
    println!("{:<16} {:>16} {:>10} {:>18} {:>6}", "query", "thermocline", "CPU", "DataFusion batch", "ratio");
    let mut figures = serde_json::Map::new();
    for query in QUERIES.iter().filter(|query| arguments.wants(query.name)) {
        figures.insert(query.name.to_owned(), measured(&log, query, parquet, rows, runs).await);
    }
    if arguments.wants("100") {
        let (one, _) = continuous(&log, &QUERIES[0], 1, "alone").await;
        let (hundred, _) = continuous(&log, &QUERIES[0], 100, "many").await;
        println!("100 queries like Q1: {hundred:.2} s, one {one:.2} s: {:.1} times", hundred / one);
        figures.insert("100 like Q1".into(), json!({ "hundred_seconds": hundred, "one_seconds": one }));
    }
    log.close().await.unwrap();
    keep(arguments, "stored-rows", &json!({ "rows": rows, "queries": figures }));
}

/// Runs a query and its peer in turn.
async fn measured(log: &Log, query: &Query, parquet: &Path, rows: u64, runs: usize) -> Value {
    let (mut own, mut cpu, mut batch) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let before = cpu_seconds();
        let (seconds, found) = continuous(log, query, 1, &format!("run{run}")).await;
        own.push(seconds);
        cpu.push(cpu_seconds() - before);
        if let Some(expected) = query.expected.filter(|_| rows == ALL_ROWS) {
            assert_eq!(found, expected, "{}", query.name);
        }
        if !query.batch.is_empty() {
            let (seconds, batch_found) = in_batch(parquet, query.batch).await;
            batch.push(seconds);
            assert_eq!(batch_found, found, "{}", query.name);
        }
    }
    let ratio = if batch.is_empty() { f64::NAN } else { median(&batch) / median(&own) };
    println!("{:<16} {:>16} {:>10.2} {:>18} {:>6.2}", query.name, shown(&own), median(&cpu), shown(&batch), ratio);
    json!({ "thermocline_seconds": own, "thermocline_cpu_seconds": cpu, "datafusion_batch_seconds": batch })
}
