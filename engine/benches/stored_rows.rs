//! Continuous queries over rows that are stored, beside DataFusion's batch execution of the same queries over the same rows in
//! Parquet: watermarks, lateness, panes, snapshots and the durable result against none of it.
//!
//! With `--duckdb PYTHON`, a Python that has the package, DuckDB's batch over that file is measured in turn with them.
//!
//! `cargo bench -p thermocline-engine --bench stored_rows -- FOLDER/sensors.parquet [--runs N] [--only Q1,Q4] [--dir DIR] [--keep]
//! [--duckdb PYTHON]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::cast_sign_loss)]

mod common;

use std::path::Path;
use std::process::Command;

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
    println!("{rows} rows stored; seconds, medians of {} runs (least)", arguments.get("runs", 5_usize));
    println!(
        "{:<16} {:>16} {:>10} {:>18} {:>6} {:>16}",
        "query", "thermocline", "CPU", "DataFusion batch", "ratio", "DuckDB batch"
    );
    // Once without counting: right after rows were stored, the log still merges segments.
    for query in QUERIES.iter().filter(|query| arguments.wants(query.name)) {
        continuous(&log, query, 1, "first").await;
    }
    let mut figures = serde_json::Map::new();
    for query in QUERIES.iter().filter(|query| arguments.wants(query.name)) {
        figures.insert(query.name.to_owned(), measured(&log, query, arguments, parquet, rows).await);
    }
    if arguments.wants("100") {
        let (mut one, mut hundred) = (Vec::new(), Vec::new());
        for run in 0..arguments.get("runs", 5_usize).min(3) {
            one.push(continuous(&log, &QUERIES[0], 1, &format!("alone{run}")).await.0);
            hundred.push(continuous(&log, &QUERIES[0], 100, &format!("many{run}")).await.0);
        }
        let times = median(&hundred) / median(&one);
        println!("100 queries like Q1: {} s, one {} s: {times:.1} times", shown(&hundred), shown(&one));
        figures.insert("100 like Q1".into(), json!({ "hundred_seconds": hundred, "one_seconds": one }));
    }
    log.close().await.unwrap();
    keep(arguments, "stored-rows", &json!({ "rows": rows, "queries": figures }));
}

/// Runs a query and its peer in turn.
async fn measured(log: &Log, query: &Query, arguments: &Arguments, parquet: &Path, rows: u64) -> Value {
    let (mut own, mut cpu, mut batch, mut duckdb) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..arguments.get("runs", 5_usize) {
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
            if let Some(python) = arguments.value("duckdb") {
                let (seconds, duckdb_found) = in_duckdb(python, parquet, query.name);
                duckdb.push(seconds);
                assert_eq!(duckdb_found, found, "{}", query.name);
            }
        }
    }
    let ratio = if batch.is_empty() { f64::NAN } else { median(&batch) / median(&own) };
    let (own_shown, batch_shown, duckdb_shown) = (shown(&own), shown(&batch), shown(&duckdb));
    let (name, cpu_median) = (query.name, median(&cpu));
    println!("{name:<16} {own_shown:>16} {cpu_median:>10.2} {batch_shown:>18} {ratio:>6.2} {duckdb_shown:>16}");
    json!({ "thermocline_seconds": own, "thermocline_cpu_seconds": cpu, "datafusion_batch_seconds": batch,
        "duckdb_batch_seconds": duckdb })
}

/// DuckDB's batch over the file, in a process of its own: seconds of the query alone, and rows of the result.
fn in_duckdb(python: &str, parquet: &Path, query: &str) -> (f64, u64) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benchmarks/peers/duckdb_batch.py");
    let folder = parquet.parent().expect("a file is in a folder");
    let output = Command::new(python).arg(script).arg(folder).args([query, "parquet"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    (figures["seconds"].as_f64().unwrap(), figures["rows"].as_u64().unwrap())
}
