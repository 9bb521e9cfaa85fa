//! `OVER` against a batch engine: random rows with disorder, duplicates and late ones through random calls; DuckDB computes
//! the same calls over the rows that are not late. Then by the definition of when a row is complete: which rows come, and in
//! which order; whatever the batches, the partitions and the crashes.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use common::duckdb::ask;
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CASES: u64 = 10;
/// Frames reach back before 1970 from here.
const BASE_US: i64 = -4_000_000;
const QUERIES: usize = 4;

#[derive(Debug, Clone)]
struct Reading {
    id: i64,
    key: Option<String>,
    time_us: i64,
    value: Option<f64>,
    count: Option<i64>,
}

/// The rows of a call.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Rows(i64, i64),
    Range(i64, i64),
    /// From the first row on, without and with those of the row's own time.
    RunningRows,
    Running,
    /// For functions that do not look at their frame.
    Whole,
}

#[derive(Debug, Clone)]
struct Call {
    function: String,
    frame: Frame,
    keyed: bool,
    /// `lead`
    ahead_rows: usize,
}

impl Call {
    fn random(random: &mut StdRng, keyed: bool, may_look_ahead: bool) -> Self {
        let of_frame = [
            "sum(v)",
            "avg(v)",
            "min(v)",
            "max(v)",
            "count(*)",
            "count(v)",
            "sum(n)",
            "stddev(v)",
            "count(DISTINCT n)",
            "first_value(v)",
            "last_value(v)",
            "nth_value(v, 2)",
            "sum(v) FILTER (WHERE n > 3)",
            "max(n)",
        ];
        let running = [
            "sum(v)",
            "avg(v)",
            "min(n)",
            "max(v)",
            "count(*)",
            "sum(n)",
            "first_value(v)",
            "last_value(n)",
            "count(v) FILTER (WHERE n < 6)",
            "stddev(v)",
        ];
        let mut bounds = |unit: i64| {
            let low = if may_look_ahead { -4 } else { -6 };
            let high = if may_look_ahead { 3 } else { 0 };
            let (a, b) = (random.random_range(low..=high), random.random_range(low..=high));
            (a.min(b) * unit, a.max(b) * unit)
        };
        let (frame, (start, end)) = (bounds(1), bounds(250_000));
        let one = |list: &[&str], random: &mut StdRng| list[random.random_range(0..list.len())].to_owned();
        let (function, frame, ahead_rows) = match random.random_range(0..10) {
            0..3 => (one(&of_frame, random), Frame::Rows(frame.0, frame.1), frame.1.max(0) as usize),
            3..6 => (one(&of_frame, random), Frame::Range(start, end), 0),
            6 => (one(&running, random), Frame::Running, 0),
            7 => (one(&running, random), Frame::RunningRows, 0),
            8 if may_look_ahead => {
                let rows = random.random_range(1..4);
                (format!("lead(v, {rows})"), Frame::Whole, rows)
            }
            _ => (one(&["lag(v)", "lag(n, 3, -7)", "row_number()", "rank()", "dense_rank()"], random), Frame::Whole, 0),
        };
        Self { function, frame, keyed, ahead_rows }
    }

    fn ahead_us(&self) -> i64 {
        if let Frame::Range(_, end) = self.frame { end.max(0) } else { 0 }
    }

    /// As SQL; DuckDB is told the order of rows of the same time where that matters.
    fn sql(&self, duckdb: bool) -> String {
        let bound = |at: i64, unit: &dyn Fn(i64) -> String| match at {
            0 => "CURRENT ROW".to_owned(),
            back if back < 0 => format!("{} PRECEDING", unit(-back)),
            ahead => format!("{} FOLLOWING", unit(ahead)),
        };
        let microseconds = |us: i64| if duckdb { us.to_string() } else { format!("INTERVAL '{us} microseconds'") };
        let (order, frame) = match self.frame {
            Frame::Rows(start, end) => {
                let rows = |n: i64| n.to_string();
                ("ts, seq", format!("ROWS BETWEEN {} AND {}", bound(start, &rows), bound(end, &rows)))
            }
            Frame::Range(start, end) => {
                ("ts", format!("RANGE BETWEEN {} AND {}", bound(start, &microseconds), bound(end, &microseconds)))
            }
            Frame::RunningRows => ("ts, seq", "ROWS UNBOUNDED PRECEDING".to_owned()),
            Frame::Running => ("ts", String::new()),
            Frame::Whole if self.function.contains("rank") => ("ts", String::new()),
            Frame::Whole => ("ts, seq", String::new()),
        };
        let order = if duckdb { order } else { "ts" };
        let partition = if self.keyed { "PARTITION BY key " } else { "" };
        format!("CAST({} OVER ({partition}ORDER BY {order} {frame}) AS DOUBLE)", self.function)
    }

    /// Which row of one time comes first is not for SQL to say, where the order is by time alone.
    fn depends_on_ties(&self) -> bool {
        let by_time = matches!(self.frame, Frame::Range(..) | Frame::Running);
        by_time && ["first_value", "last_value", "nth_value"].iter().any(|name| self.function.starts_with(name))
    }
}

#[derive(Debug, Clone)]
struct Query {
    calls: Vec<Call>,
    filtered: bool,
}

impl Query {
    fn random(random: &mut StdRng) -> Self {
        let looks_ahead = random.random_range(0..2) == 0;
        let keyed = random.random_range(0..4) > 0;
        let calls = (0..4).map(|n| {
            loop {
                // Calls that look ahead have one PARTITION BY in common.
                let call = Call::random(random, if n < 2 { keyed } else { !keyed }, looks_ahead && n < 2);
                if !call.depends_on_ties() {
                    return call;
                }
            }
        });
        Self { calls: calls.collect(), filtered: random.random_range(0..3) == 0 }
    }

    fn filter(&self) -> &str {
        if self.filtered { "WHERE n IS NULL OR n <> 4" } else { "" }
    }

    fn keeps(&self, row: &Reading) -> bool {
        !self.filtered || row.count != Some(4)
    }

    fn sql(&self, name: &str) -> String {
        let columns: String = (0..self.calls.len()).map(|n| format!(", c{n} DOUBLE")).collect();
        let numbered = self.calls.iter().enumerate();
        let calls: String = numbered.map(|(n, call)| format!(", {} AS c{n}", call.sql(false))).collect();
        format!(
            "CREATE STREAM {name} (id BIGINT{columns}); INSERT INTO {name} SELECT id{calls} FROM readings {};",
            self.filter()
        )
    }

    fn duckdb(&self) -> String {
        let calls: String = self.calls.iter().map(|call| format!(", {}", call.sql(true))).collect();
        format!("SELECT id{calls} FROM r {}", self.filter())
    }

    /// The rows that are emitted, in their order, of rows in theirs.
    fn emitted(&self, rows: &[Reading]) -> Vec<i64> {
        let rows: Vec<&Reading> = rows.iter().filter(|row| self.keeps(row)).collect();
        let mut times_of: HashMap<Option<&str>, Vec<i64>> = HashMap::new();
        let keyed = self.calls.iter().find(|call| call.ahead_rows > 0 || call.ahead_us() > 0).is_some_and(|c| c.keyed);
        let key = |row: &Reading| -> Option<String> { if keyed { row.key.clone() } else { None } };
        let keys: Vec<Option<String>> = rows.iter().map(|row| key(row)).collect();
        for (row, key) in rows.iter().zip(&keys) {
            times_of.entry(key.as_deref()).or_default().push(row.time_us);
        }
        let ahead_rows = self.calls.iter().map(|call| call.ahead_rows).max().unwrap();
        let ahead_us = self.calls.iter().map(Call::ahead_us).max().unwrap();
        let mut places: HashMap<Option<&str>, usize> = HashMap::new();
        let mut moments = Vec::new();
        for (n, (row, key)) in rows.iter().zip(&keys).enumerate() {
            let place = places.entry(key.as_deref()).or_default();
            if let Some(following_us) = times_of[&key.as_deref()].get(*place + ahead_rows) {
                moments.push(((row.time_us + ahead_us).max(*following_us), n, row.id));
            }
            *place += 1;
        }
        moments.sort_unstable();
        moments.into_iter().map(|(_, _, id)| id).collect()
    }
}

/// One random stream with the queries over it.
struct Case {
    seed: u64,
    delay_us: i64,
    rows: Vec<Reading>,
    queries: Vec<Query>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let delay_us = [0, 1, 500_000, 2_000_000][random.random_range(0..4)];
        let keys = random.random_range(1..6);
        let mut now_us = BASE_US;
        let mut rows: Vec<Reading> = Vec::new();
        for id in 0..random.random_range(1..400) {
            // Several rows of one time, often.
            now_us += random.random_range(0..4) * 50_000;
            let disorder = match random.random_range(0..20) {
                0 => random.random_range(0..5_000_000),
                1..5 => random.random_range(0..=delay_us),
                _ => 0,
            };
            let value = (random.random_range(0..10) > 0).then(|| random.random_range(-1000..1000) as f64 / 8.0);
            let row = match rows.last() {
                Some(last) if random.random_range(0..15) == 0 => Reading { id, ..last.clone() },
                _ => Reading {
                    id,
                    key: (random.random_range(0..10) > 0).then(|| format!("k{}", random.random_range(0..keys))),
                    time_us: now_us - disorder,
                    value,
                    count: (random.random_range(0..8) > 0).then(|| random.random_range(0..9)),
                },
            };
            rows.push(row);
        }
        let queries = (0..QUERIES).map(|_| Query::random(&mut random)).collect();
        Self { seed, delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let mut sql = format!(
            "CREATE STREAM readings (id BIGINT, key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, n BIGINT,
                WATERMARK FOR ts AS ts - INTERVAL '{} microseconds'
             ) PARTITION BY (key) WITH (partitions = {partitions}, idle_timeout = 'none');",
            self.delay_us
        );
        for (n, query) in self.queries.iter().enumerate() {
            sql += &query.sql(&format!("out{n}"));
        }
        sql
    }

    fn batch(rows: &[Reading], schema: &arrow::datatypes::SchemaRef) -> RecordBatch {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time_us)).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.id))),
            Arc::new(StringArray::from_iter(rows.iter().map(|r| r.key.clone()))),
            Arc::new(times),
            Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.count))),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }

    /// Runs the queries with the rows in batches of a size, dying after every `crash` batches.
    async fn run(&self, partitions: u32, batch: usize, crash: Option<usize>) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(40).unsynced();
        let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
        for (n, rows) in self.rows.chunks(batch).enumerate() {
            pipeline.append_batch("readings", Self::batch(rows, &schema)).await.unwrap();
            // Small steps: the engine sees each batch by itself.
            pipeline.settle().await;
            if crash.is_some_and(|every| n % every == every - 1) {
                pipeline.crash().await;
                pipeline.start().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let stream = log.stream("readings").unwrap();
        let partition_of = (0..partitions).map(|partition| {
            let mut reader = log.reader(stream.id(), partition, 0, Some(vec![0, 1, 2, 3, 4])).unwrap();
            let mut rows = Vec::new();
            while let Some(found) = reader.next(10_000).unwrap() {
                rows.extend(readings(&found.batch));
            }
            rows
        });
        let partitions = partition_of.collect();
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let outputs = outputs.map(|batches| batches.iter().flat_map(cells).collect()).collect();
        Outcome { partitions, outputs }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays.
    outputs: Vec<Vec<Value>>,
}

fn readings(batch: &RecordBatch) -> Vec<Reading> {
    let keys = batch.column(1).as_string::<i32>();
    let ids = batch.column(0).as_primitive::<Int64Type>();
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(3).as_primitive::<Float64Type>();
    let counts = batch.column(4).as_primitive::<Int64Type>();
    let reading = |row: usize| Reading {
        id: ids.value(row),
        key: keys.is_valid(row).then(|| keys.value(row).to_owned()),
        time_us: times.value(row),
        value: values.is_valid(row).then(|| values.value(row)),
        count: counts.is_valid(row).then(|| counts.value(row)),
    };
    (0..batch.num_rows()).map(reading).collect()
}

fn cells(batch: &RecordBatch) -> Vec<Value> {
    let cell = |column: &ArrayRef, row: usize| match column.as_primitive_opt::<Int64Type>() {
        _ if column.is_null(row) => Value::Null,
        Some(ids) => json!(ids.value(row)),
        None => json!(column.as_primitive::<Float64Type>().value(row)),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

/// The rows that are not late, in event-time order: a row is late when its time is before the watermark that the rows
/// before it in its own partition have made.
fn ordered(partitions: &[Vec<Reading>], delay_us: i64) -> Vec<Reading> {
    let mut rows: Vec<(i64, usize, usize, Reading)> = Vec::new();
    for (partition, found) in partitions.iter().enumerate() {
        let mut watermark_us = i64::MIN;
        for (offset, row) in found.iter().enumerate() {
            if row.time_us >= watermark_us {
                rows.push((row.time_us, partition, offset, row.clone()));
            }
            watermark_us = watermark_us.max(row.time_us - delay_us);
        }
    }
    rows.sort_by_key(|(time_us, partition, offset, _)| (*time_us, *partition, *offset));
    rows.into_iter().map(|(.., row)| row).collect()
}

/// Answers queries; one process for all requests.
const DUCKDB: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
db.execute("SET threads = 1")
for line in sys.stdin:
    request = json.loads(line)
    db.execute("CREATE OR REPLACE TABLE r (seq BIGINT, id BIGINT, key TEXT, ts BIGINT, v DOUBLE, n BIGINT)")
    if request["rows"]:
        columns = [list(column) for column in zip(*request["rows"])]
        types = ["BIGINT", "BIGINT", "TEXT", "BIGINT", "DOUBLE", "BIGINT"]
        db.execute("INSERT INTO r SELECT " + ", ".join(f"unnest(?::{t}[])" for t in types), columns)
    print(json.dumps([db.execute(query).fetchall() for query in request["queries"]]), flush=True)
"#;

fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| same(f, e))
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
        }
        _ => found == expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_agree_with_duckdb_whatever_the_batches_partitions_and_crashes() {
    let seeds: Vec<u64> = match std::env::var("THERMOCLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..CASES).collect(),
    };
    let mut requests = Vec::new();
    let mut checks: Vec<(String, &Case, Vec<Reading>, Outcome)> = Vec::new();
    let cases: Vec<Case> = seeds.into_iter().map(Case::random).collect();
    for case in &cases {
        for partitions in [1, 3] {
            let whole = case.run(partitions, usize::MAX, None).await;
            let batch = [100, 5, 31, 17][(case.seed as usize + partitions as usize) % 4];
            let crash = (case.seed % 2 == 0).then_some(3);
            let split = case.run(partitions, batch, crash).await;
            let place = format!("seed {}, {partitions} partitions, batches of {batch}", case.seed);
            for (n, (split, whole)) in split.outputs.iter().zip(&whole.outputs).enumerate() {
                assert_eq!(split, whole, "{place}, crash {crash:?}, {:?}", case.queries[n]);
            }
            let rows = ordered(&whole.partitions, case.delay_us);
            let numbered = rows.iter().enumerate();
            let table: Vec<Value> =
                numbered.map(|(seq, r)| json!([seq, r.id, r.key, r.time_us, r.value, r.count])).collect();
            let queries: Vec<String> = case.queries.iter().map(Query::duckdb).collect();
            requests.push(json!({ "rows": table, "queries": queries }));
            checks.push((place, case, rows, whole));
        }
    }
    let answers = ask::<Vec<Vec<Value>>>(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut emitted = 0;
    for ((place, case, rows, outcome), answers) in checks.iter().zip(&answers) {
        for (n, (query, answer)) in case.queries.iter().zip(answers).enumerate() {
            let by_id: HashMap<i64, &Value> = answer.iter().map(|row| (row[0].as_i64().unwrap(), row)).collect();
            let expected = query.emitted(rows);
            let found = &outcome.outputs[n];
            let ids: Vec<i64> = found.iter().map(|row| row[0].as_i64().unwrap()).collect();
            assert_eq!(ids, expected, "{place}, query {n}: {query:?}");
            for row in found {
                let expected = by_id[&row[0].as_i64().unwrap()];
                assert!(same(row, expected), "{place}, query {n}: found {row}, expected {expected}: {query:?}");
            }
            emitted += found.len();
        }
    }
    assert!(std::env::var_os("THERMOCLINE_SEED").is_some() || emitted > 5_000, "{emitted} rows");
}
