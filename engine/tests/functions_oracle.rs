//! The aggregates for sensors against a batch engine: random rows with disorder, duplicates and NULL through windows of a
//! stream; DuckDB computes the same with window functions of its own.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::{Pipeline, read, rows_of};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CASES: u64 = 8;

struct Reading {
    key: String,
    time_us: i64,
    value: Option<f64>,
}

fn random(seed: u64) -> Vec<Reading> {
    let mut random = StdRng::seed_from_u64(seed);
    let keys = random.random_range(1..5);
    let mut now_us = -20_000_000;
    (0..random.random_range(1..300))
        .map(|_| {
            now_us += random.random_range(0..500_000) / 1000 * 1000;
            Reading {
                key: format!("k{}", random.random_range(0..keys)),
                // Half of the rows are on whole seconds: times that many rows share.
                time_us: match random.random_range(0..4) {
                    0 => now_us - random.random_range(0..9_000_000),
                    1 | 2 => now_us.div_euclid(1_000_000) * 1_000_000,
                    _ => now_us,
                },
                value: (random.random_range(0..12) > 0).then(|| f64::from(random.random_range(0..800)) / 8.0),
            }
        })
        .collect()
}

/// What the queries emit, each window and key once.
async fn run(rows: &[Reading], partitions: u32, batch: usize, hop: bool, crashes: bool) -> Vec<String> {
    let window = match hop {
        true => "HOP(readings, ts, INTERVAL '2500 milliseconds', INTERVAL '10 seconds')",
        false => "TUMBLE(readings, ts, INTERVAL '10 seconds')",
    };
    let mut pipeline = Pipeline::new(&format!(
        "CREATE STREAM readings (key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 hour')
            PARTITION BY (key) WITH (partitions = {partitions}, idle_timeout = 'none');
         CREATE STREAM found (s TIMESTAMP, key TEXT, first DOUBLE, last DOUBLE, delta DOUBLE, increase DOUBLE, rate DOUBLE,
            area DOUBLE, mean DOUBLE, straight DOUBLE, z DOUBLE, p0 DOUBLE, p50 DOUBLE, p95 DOUBLE, smooth DOUBLE);
         INSERT INTO found SELECT window_start, key, first(v, ts), last(v, ts), delta(v, ts), increase(v, ts), rate(v, ts),
            integral(v, ts), time_weighted_avg(v, ts), integral(v, ts, 'linear'), zscore(v, ts),
            approx_percentile(v, 0), approx_percentile(v, 0.5), approx_percentile(v, 0.95, 0.05),
            ewma(v, ts, INTERVAL '3 seconds')
         FROM {window} GROUP BY key, window_start, window_end;"
    ))
    .checkpoint_rows(40)
    .unsynced();
    let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
    for (n, rows) in rows.chunks(batch).enumerate() {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time_us)).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.key))),
            Arc::new(times),
            Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
        ];
        pipeline.append_batch("readings", RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).await.unwrap();
        pipeline.settle().await;
        if crashes && n % 3 == 2 {
            pipeline.crash().await;
        }
    }
    pipeline.finish_queries().await.unwrap();
    let log = pipeline.start().await.log.clone();
    rows_of(&read(&log, &log.stream("found").unwrap()))
}

/// By definition: samples in the order of time and value, each with the one before and after it.
const DUCKDB: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
answers = []
for rows in json.load(sys.stdin):
    db.execute("CREATE OR REPLACE TABLE r (key TEXT, us BIGINT, v DOUBLE)")
    db.executemany("INSERT INTO r VALUES (?, ?, ?)", rows)
    db.execute("""CREATE OR REPLACE VIEW samples AS
        SELECT s, key, us / 1e6 AS t, v,
            lag(v) OVER w AS before, lead(v) OVER w AS after, lead(us) OVER w / 1e6 AS next,
            row_number() OVER w AS n
        FROM (SELECT *, us - ((us % 10000000) + 10000000) % 10000000 AS s FROM r WHERE v IS NOT NULL)
        WINDOW w AS (PARTITION BY s, key ORDER BY us, v)""")
    answers.append(db.execute("""SELECT s, key, arg_min(v, n), arg_max(v, n), arg_max(v, n) - arg_min(v, n),
            sum(CASE WHEN before IS NULL THEN 0 WHEN v < before THEN v ELSE v - before END) AS grown,
            CASE WHEN max(t) > min(t) THEN grown / (max(t) - min(t)) END,
            coalesce(sum(v * (next - t)), 0) AS area,
            CASE WHEN max(t) > min(t) THEN area / (max(t) - min(t)) ELSE arg_max(v, n) END,
            coalesce(sum((v + after) / 2 * (next - t)), 0),
            CASE WHEN count(*) > 1 AND stddev_samp(v) > 0 THEN (arg_max(v, n) - avg(v)) / stddev_samp(v) END,
            quantile_disc(v, 0), quantile_disc(v, 0.5), quantile_disc(v, 0.95)
        FROM samples GROUP BY s, key ORDER BY s, key""").fetchall())
json.dump(answers, sys.stdout)
"#;

fn duckdb(requests: &Value) -> Vec<Vec<Value>> {
    let default = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/thermocline/venv/bin/python");
    let python = std::env::var_os("THERMOCLINE_PYTHON").map_or_else(default, PathBuf::from);
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), requests.to_string()).unwrap();
    let output = Command::new(&python)
        .args(["-c", DUCKDB])
        .stdin(std::fs::File::open(input.path()).unwrap())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/install-test-tools", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The window and key of a row.
fn group(row: &str) -> (Value, Value) {
    let row: Value = serde_json::from_str(row).unwrap();
    (row["s"].clone(), row["key"].clone())
}

/// The columns in DuckDB's order, with how far each may be off in proportion.
const COLUMNS: [(&str, f64); 12] = [
    ("first", 0.0),
    ("last", 0.0),
    ("delta", 0.0),
    ("increase", 1e-9),
    ("rate", 1e-9),
    ("area", 1e-9),
    ("mean", 1e-9),
    ("straight", 1e-9),
    ("z", 1e-9),
    ("p0", 0.01),
    ("p50", 0.01),
    ("p95", 0.05),
];

fn compare(place: &str, found: &[String], expected: &[Value]) {
    // Groups without any value are the engine's only.
    let found = found.iter().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let mut found: Vec<Value> = found.filter(|row| !row["first"].is_null()).collect();
    found.sort_by_key(|row| (row["s"].to_string(), row["key"].to_string()));
    let mut expected = expected.to_vec();
    expected.sort_by_key(|row| (start(&row[0]), row[1].to_string()));
    assert_eq!(found.len(), expected.len(), "{place}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((found["s"].to_string(), &found["key"]), (start(&expected[0]), &expected[1]), "{place}");
        for (n, (column, error)) in COLUMNS.iter().enumerate() {
            let (found_value, expected) = (found[column].as_f64(), expected[n + 2].as_f64());
            let close = match (found_value, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() <= error * expected.abs().max(1.0),
                (found, expected) => found == expected,
            };
            assert!(close, "{place}, {column}: {expected:?} expected, found {found}");
        }
    }
}

/// Microseconds as the engine's rows have them in JSON.
fn start(us: &Value) -> String {
    let us = TimestampMicrosecondArray::from(vec![us.as_i64().unwrap()]).with_timezone("UTC");
    let options = arrow::util::display::FormatOptions::default();
    let text = arrow::util::display::ArrayFormatter::try_new(&us, &options).unwrap().value(0).to_string();
    json!(text).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn sensor_aggregates_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let seeds: Vec<u64> = match std::env::var("THERMOCLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..CASES).collect(),
    };
    let mut requests = Vec::new();
    let mut outcomes = Vec::new();
    for seed in seeds {
        let rows = random(seed);
        requests.push(rows.iter().map(|r| json!([r.key, r.time_us, r.value])).collect::<Value>());
        let whole = run(&rows, 1, usize::MAX, false, false).await;
        let mut sorted = whole.clone();
        sorted.sort();
        let runs = [(1, 7, false, false), (3, 23, false, true), (1, usize::MAX, true, false), (3, 11, true, true)];
        for (partitions, batch, hop, crashes) in runs {
            let mut found = run(&rows, partitions, batch, hop, crashes).await;
            // The windows of the hop that the tumbling ones are too.
            found.retain(|row| whole.iter().any(|whole| group(whole) == group(row)));
            found.sort();
            assert_eq!(found, sorted, "seed {seed}, {partitions} partitions, batches of {batch}, hop {hop}");
        }
        outcomes.push((seed, whole));
    }
    let answers = duckdb(&Value::Array(requests));
    for ((seed, found), expected) in outcomes.iter().zip(&answers) {
        compare(&format!("seed {seed}"), found, expected);
    }
}
