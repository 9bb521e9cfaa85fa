//! Joins of streams against a batch engine: random rows with disorder, late ones, NULL keys, equal times and devices that were
//! offline through interval, window and as-of joins; DuckDB joins the rows that are not late.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

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

const CASES: u64 = 8;
/// Windows reach back before 1970 from here.
const BASE_US: i64 = -20_000_000;
const STREAMS: [&str; 2] = ["l", "r"];

#[derive(Debug, Clone)]
struct Row {
    key: Option<String>,
    time_us: i64,
    value: Option<f64>,
    /// Its own in its stream.
    number: i64,
}

/// How rows of `l` and `r` are joined.
#[derive(Debug, Clone, Copy)]
enum Near {
    Interval { min_us: i64, max_us: i64 },
    Window { size_us: i64 },
    AsOf { strictly: bool, max_age_us: Option<i64> },
}

#[derive(Debug, Clone, Copy)]
struct Query {
    near: Near,
    join: &'static str,
    keyed: bool,
    residual: bool,
    /// The second side is the first stream once more.
    with_itself: bool,
}

/// `+ INTERVAL '…'`
fn plus(us: i64) -> String {
    format!("{} INTERVAL '{} microseconds'", if us < 0 { '-' } else { '+' }, us.abs())
}

impl Query {
    fn random(random: &mut StdRng) -> Self {
        let near = match random.random_range(0..6) {
            0 | 1 => Near::AsOf {
                strictly: random.random(),
                max_age_us: random.random::<bool>().then(|| random.random_range(0..5_000_000)),
            },
            2 => Near::Window { size_us: random.random_range(300_000..3_000_000) },
            _ => {
                let min_us = random.random_range(-3_000_000..2_000_000);
                Near::Interval { min_us, max_us: min_us + random.random_range(0..2_000_000) }
            }
        };
        let is_asof = matches!(near, Near::AsOf { .. });
        Self {
            near,
            join: if is_asof { "LEFT" } else { ["INNER", "LEFT", "RIGHT", "FULL"][random.random_range(0..4)] },
            keyed: is_asof || random.random_range(0..6) > 0,
            residual: !is_asof && random.random_range(0..3) == 0,
            with_itself: random.random_range(0..4) == 0,
        }
    }

    fn right(&self) -> &'static str {
        if self.with_itself { "l" } else { "r" }
    }

    fn sql(&self, name: &str, random: &mut StdRng) -> String {
        let (right, join) = (self.right(), self.join);
        let key = if self.keyed { "a.key = b.key" } else { "a.n > -1 AND b.n > -1" };
        let residual = if self.residual { "AND a.v + b.v > 0" } else { "" };
        let from = match self.near {
            Near::Interval { min_us, max_us } => {
                let near = match random.random_range(0..5) {
                    0 => format!("a.ts BETWEEN b.ts {} AND b.ts {}", plus(min_us), plus(max_us)),
                    1 => format!("a.ts >= b.ts {} AND b.ts >= a.ts {}", plus(min_us), plus(-max_us)),
                    2 => format!("a.ts > b.ts {} AND a.ts < b.ts {}", plus(min_us - 1), plus(max_us + 1)),
                    3 => format!("b.ts {} >= a.ts {} AND a.ts > b.ts {}", plus(max_us + 7), plus(7), plus(min_us - 1)),
                    _ => {
                        let (min, max) = (min_us, max_us + 1);
                        format!(
                            "a.ts - b.ts >= INTERVAL '{min} microseconds' AND a.ts - b.ts < INTERVAL '{max} microseconds'"
                        )
                    }
                };
                format!("l AS a {join} JOIN {right} AS b ON {key} AND {near} {residual}")
            }
            Near::Window { size_us } => {
                let side = |stream: &str| format!("TUMBLE({stream}, ts, INTERVAL '{size_us} microseconds')");
                let (left, right) = (side("l"), side(right));
                format!("{left} AS a {join} JOIN {right} AS b ON a.window_start = b.window_start AND {key} {residual}")
            }
            Near::AsOf { strictly, max_age_us } => {
                let op = if strictly { ">" } else { ">=" };
                let age =
                    max_age_us.map_or(String::new(), |age| format!("AND a.ts - b.ts <= INTERVAL '{age} microseconds'"));
                format!("l AS a ASOF JOIN {right} AS b MATCH_CONDITION (a.ts {op} b.ts) ON {key} {age}")
            }
        };
        format!(
            "CREATE STREAM {name} (a BIGINT, b BIGINT, at TIMESTAMP, bt TIMESTAMP, v DOUBLE);
             INSERT INTO {name} SELECT a.n, b.n, a.ts, b.ts, a.v + b.v FROM {from};\n"
        )
    }

    /// The same in DuckDB, over `l` and `r` with times in microseconds.
    fn oracle(&self) -> String {
        let (right, join) = (self.right(), self.join);
        let key = if self.keyed { "a.key = b.key" } else { "true" };
        let residual = if self.residual { "AND a.v + b.v > 0" } else { "" };
        match self.near {
            Near::Interval { min_us, max_us } => {
                format!(
                    "SELECT a.n, b.n FROM l AS a {join} JOIN {right} AS b
                     ON {key} AND a.ts - b.ts BETWEEN {min_us} AND {max_us} {residual}"
                )
            }
            Near::Window { size_us } => {
                format!(
                    "SELECT a.n, b.n FROM l AS a {join} JOIN {right} AS b
                     ON {key} AND floor(a.ts / {size_us}.0) = floor(b.ts / {size_us}.0) {residual}"
                )
            }
            Near::AsOf { strictly, max_age_us } => {
                let op = if strictly { ">" } else { ">=" };
                let age = max_age_us.map_or("true".to_owned(), |age| format!("a.ts - b.ts <= {age}"));
                // Of rows of one time and key, the one that came last.
                format!(
                    "SELECT a.n, CASE WHEN {age} THEN b.n END FROM l AS a ASOF LEFT JOIN
                     (SELECT key, ts, arg_max(n, pos) AS n FROM {right} WHERE key IS NOT NULL GROUP BY key, ts) AS b
                     ON a.key = b.key AND a.ts {op} b.ts"
                )
            }
        }
    }
}

/// Two random streams with the joins of them.
struct Case {
    delays_us: [i64; 2],
    rows: [Vec<Row>; 2],
    queries: Vec<Query>,
    sql: String,
}

impl Case {
    fn random(seed: u64, partitions: u32) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let delays_us = [0, 1].map(|_| [0, 1, 300_000, 1_500_000][random.random_range(0..4)]);
        let keys = random.random_range(1..5);
        let rows = delays_us.map(|delay_us| rows(&mut random, delay_us, keys));
        let queries: Vec<Query> = (0..4).map(|_| Query::random(&mut random)).collect();
        let mut sql = String::new();
        for (name, delay_us) in STREAMS.iter().zip(delays_us) {
            sql += &format!(
                "CREATE STREAM {name} (key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, n BIGINT,
                    WATERMARK FOR ts AS ts - INTERVAL '{delay_us} microseconds'
                 ) PARTITION BY (key) WITH (partitions = {partitions}, idle_timeout = 'none');\n"
            );
        }
        for (n, query) in queries.iter().enumerate() {
            sql += &query.sql(&format!("out{n}"), &mut random);
        }
        Self { delays_us, rows, queries, sql }
    }

    /// Runs the queries with the rows in batches of a size, now of one stream, now of the other.
    async fn run(&self, partitions: u32, batch: usize) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql).checkpoint_rows(60).unsynced();
        let schema = pipeline.start().await.log.stream("l").unwrap().schema().clone();
        let mut chunks = self.rows.each_ref().map(|rows| rows.chunks(batch).collect::<Vec<_>>().into_iter());
        loop {
            let next = chunks.each_mut().map(Iterator::next);
            if next.iter().all(Option::is_none) {
                break;
            }
            for (stream, rows) in STREAMS.iter().zip(next) {
                if let Some(rows) = rows {
                    pipeline.append_batch(stream, as_batch(rows, &schema)).await.unwrap();
                    pipeline.settle().await;
                }
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let partitions = STREAMS.map(|name| {
            let stream = log.stream(name).unwrap();
            let of_partition = (0..partitions).map(|partition| {
                let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
                let mut rows = Vec::new();
                while let Some(found) = reader.next(10_000).unwrap() {
                    rows.extend(of_batch(&found.batch));
                }
                rows
            });
            of_partition.collect()
        });
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let late =
            STREAMS.map(|name| common::rows_of(&read(&log, &log.stream(&format!("late.{name}")).unwrap())).len());
        Outcome { partitions, outputs: outputs.map(|batches| common::rows_of(&batches)).collect(), late }
    }
}

fn rows(random: &mut StdRng, delay_us: i64, keys: i32) -> Vec<Row> {
    let mut now_us = BASE_US;
    // Some streams are much sparser than the other.
    let pace_us = [50_000, 200_000, 900_000][random.random_range(0..3)];
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..random.random_range(0..250) {
        now_us += match random.random_range(0..30) {
            0 => random.random_range(0..6_000_000),
            1..8 => 0,
            _ => random.random_range(0..pace_us),
        };
        let disorder = match random.random_range(0..20) {
            0 => random.random_range(0..10_000_000),
            1..6 => random.random_range(0..=delay_us),
            _ => 0,
        };
        rows.push(Row {
            key: (random.random_range(0..10) > 0).then(|| format!("k{}", random.random_range(0..keys))),
            time_us: now_us - disorder,
            value: (random.random_range(0..10) > 0).then(|| f64::from(random.random_range(-8..8))),
            number,
        });
    }
    rows
}

struct Outcome {
    /// Per stream and partition, its rows in their order.
    partitions: [Vec<Vec<Row>>; 2],
    outputs: Vec<Vec<String>>,
    late: [usize; 2],
}

fn as_batch(rows: &[Row], schema: &arrow::datatypes::SchemaRef) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.key.clone()))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.number))),
    ];
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn of_batch(batch: &RecordBatch) -> Vec<Row> {
    let (keys, times) =
        (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<TimestampMicrosecondType>());
    let (values, numbers) =
        (batch.column(2).as_primitive::<Float64Type>(), batch.column(3).as_primitive::<Int64Type>());
    let row = |n: usize| Row {
        key: keys.is_valid(n).then(|| keys.value(n).to_owned()),
        time_us: times.value(n),
        value: values.is_valid(n).then(|| values.value(n)),
        number: numbers.value(n),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The rows that are not late, each behind the watermark of the rows before it in its own partition; and how many are.
fn admitted(partitions: &[Vec<Row>], delay_us: i64) -> (Vec<Value>, usize) {
    let (mut rows, mut late) = (Vec::new(), 0);
    for partition in partitions {
        let mut watermark_us = i64::MIN;
        for (pos, row) in partition.iter().enumerate() {
            if row.time_us >= watermark_us {
                rows.push(json!([row.key, row.time_us, row.value, row.number, pos]));
            } else {
                late += 1;
            }
            watermark_us = watermark_us.max(row.time_us - delay_us);
        }
    }
    (rows, late)
}

/// Joins what `admitted` gave; one process for all requests.
const DUCKDB: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
db.execute("SET threads = 1")
for line in sys.stdin:
    request = json.loads(line)
    for name in ("l", "r"):
        db.execute(f"CREATE OR REPLACE TABLE {name} (key TEXT, ts BIGINT, v DOUBLE, n BIGINT, pos BIGINT)")
        if request[name]:
            columns = [list(column) for column in zip(*request[name])]
            db.execute(f"INSERT INTO {name} SELECT unnest(?::TEXT[]), unnest(?::BIGINT[]), unnest(?::DOUBLE[]), unnest(?::BIGINT[]), unnest(?::BIGINT[])", columns)
    print(json.dumps(sorted(db.execute(request["sql"]).fetchall(), key=str)), flush=True)
"#;

/// The numbers of the rows of each pair.
fn pairs(rows: &[String]) -> Vec<[Option<i64>; 2]> {
    let pair = |row: &String| {
        let row: Value = serde_json::from_str(row).unwrap();
        ["a", "b"].map(|column| row[column].as_i64())
    };
    rows.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let seeds: Vec<u64> = match std::env::var("THERMOCLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..CASES).collect(),
    };
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds {
        for partitions in [1, 3] {
            let case = Case::random(seed, partitions);
            let whole = case.run(partitions, usize::MAX).await;
            let batch = [100, 7, 31, 17][(seed as usize + partitions as usize) % 4];
            let split = case.run(partitions, batch).await;
            let place = format!("seed {seed}, {partitions} partitions, batches of {batch}");
            assert_eq!(split.outputs, whole.outputs, "{place}\n{}", case.sql);
            assert_eq!(split.late, whole.late, "{place}");
            let [left, right] = [0, 1].map(|n| admitted(&whole.partitions[n], case.delays_us[n]));
            let of_left: usize = case.queries.iter().map(|query| 1 + usize::from(query.with_itself)).sum();
            let of_right = case.queries.iter().filter(|query| !query.with_itself).count();
            assert_eq!(whole.late, [left.1 * of_left, right.1 * of_right], "late rows, {place}");
            for (query, rows) in case.queries.iter().zip(&whole.outputs) {
                requests.push(json!({ "l": left.0, "r": right.0, "sql": query.oracle() }));
                checks.push((format!("{place}, {query:?}\n{}", case.sql), pairs(rows)));
            }
        }
    }
    let answers = ask::<Vec<[Option<i64>; 2]>>(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut matched = 0;
    for ((place, mut found), mut expected) in checks.into_iter().zip(answers) {
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{place}");
        matched += found.iter().filter(|pair| pair.iter().all(Option::is_some)).count();
    }
    assert!(std::env::var_os("THERMOCLINE_SEED").is_some() || matched > 1_000, "{matched} pairs");
}
