//! Windows that rows make against a batch engine: random rows with disorder, duplicates, NULL, NaN, late ones, ones from the far
//! future and devices that come back from being offline, through SESSION, COUNT_WINDOW and STATE_WINDOW; DuckDB computes
//! the same with window functions over the rows that are not late, sorted by time.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use common::duckdb::{answers, cells, float, same, seeds};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CASES: u64 = 4;
/// Times reach back before 1970 from here.
const BASE_US: i64 = -40_000_000;

#[derive(Debug, Clone)]
struct Reading {
    key: Option<String>,
    time_us: i64,
    value: Option<f64>,
    count: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Windows {
    Session {
        gap_us: i64,
    },
    Count {
        rows: u32,
        slide: u32,
    },
    /// From above one value to below another, or NULL.
    State {
        start: i64,
        end: i64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Query {
    windows: Windows,
    keyed: bool,
    filtered: bool,
}

impl Query {
    fn random(random: &mut StdRng) -> Self {
        let windows = match random.random_range(0..3) {
            0 => Windows::Session { gap_us: [1, 300_000, 1_000_000, 5_000_000][random.random_range(0..4)] },
            1 => Windows::Count { rows: random.random_range(1..9), slide: random.random_range(1..9) },
            _ => Windows::State { start: random.random_range(-60..90), end: random.random_range(-90..60) },
        };
        Self { windows, keyed: random.random_range(0..4) > 0, filtered: random.random_range(0..3) == 0 }
    }

    fn sql(&self, name: &str) -> String {
        let window = match self.windows {
            Windows::Session { gap_us } => format!("SESSION(readings, ts, INTERVAL '{gap_us} microseconds')"),
            Windows::Count { rows, slide } => format!("COUNT_WINDOW(readings, {rows}, {slide})"),
            Windows::State { start, end } => {
                format!("STATE_WINDOW(readings, v > {start}, v < {end} OR v IS NULL)")
            }
        };
        let key = if self.keyed { "key" } else { "CAST(NULL AS TEXT)" };
        let group = if self.keyed { "key, " } else { "" };
        let filter = if self.filtered { "WHERE n > 2" } else { "" };
        format!(
            "CREATE STREAM {name} (s TIMESTAMP, e TIMESTAMP, key TEXT, n BIGINT, vs BIGINT, low DOUBLE, high DOUBLE,
                total DOUBLE, mean DOUBLE, spread DOUBLE, ns BIGINT, sum_n BIGINT, some DOUBLE);
             INSERT INTO {name} SELECT window_start, window_end, {key}, count(*), count(v), min(v), max(v), sum(v), avg(v),
                stddev(v), count(DISTINCT n), sum(n), sum(v) FILTER (WHERE n > 5)
             FROM {window} {filter} GROUP BY {group} window_start, window_end;"
        )
    }

    /// What DuckDB is asked: the window of each row, when it is complete, and in which order windows are emitted.
    fn duckdb(&self) -> Value {
        let (rows, which, order) = match self.windows {
            Windows::Session { gap_us } => (
                format!(
                    "SELECT *, max(t) OVER w + {gap_us} AS e FROM (
                        SELECT *, count(*) FILTER (WHERE is_new) OVER (PARTITION BY k ORDER BY o) AS w FROM (
                            SELECT *, t - lag(t) OVER (PARTITION BY k ORDER BY o) >= {gap_us} AS is_new FROM r
                    )) WINDOW w AS (PARTITION BY k, w)"
                ),
                "true".to_owned(),
                "e, k NULLS FIRST",
            ),
            Windows::Count { rows, slide } => (
                format!(
                    "SELECT *, max(t) OVER (PARTITION BY k, w) + 1 AS e FROM (
                        SELECT *, unnest(range(CASE WHEN i < {rows} THEN 0 ELSE (i - {rows}) // {slide} + 1 END,
                            i // {slide} + 1)) AS w
                        FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY o) - 1 AS i FROM r))"
                ),
                format!("count(*) = {rows}"),
                "max(o)",
            ),
            // After a row a window is open or not by the last row that opens or closes one.
            Windows::State { start, end } => (
                format!(
                    "SELECT *, max(t) OVER (PARTITION BY k, w) + 1 AS e FROM (
                        SELECT *, count(*) FILTER (WHERE starts AND NOT before) OVER (PARTITION BY k ORDER BY o) AS w FROM (
                            SELECT *, coalesce(lag(after) OVER (PARTITION BY k ORDER BY o), false) AS before FROM (
                                SELECT *, coalesce(last_value(CASE WHEN ends THEN false WHEN starts THEN true END IGNORE NULLS)
                                    OVER (PARTITION BY k ORDER BY o ROWS UNBOUNDED PRECEDING), false) AS after FROM (
                                    SELECT *, coalesce(v > {start}, false) AS starts, (v IS NULL OR v < {end}) AS ends FROM r
                        )))) WHERE before OR starts"
                ),
                "bool_or(ends)".to_owned(),
                "max(o)",
            ),
        };
        json!({ "rows": rows, "which": which, "order": order })
    }
}

/// One random stream with the queries over it.
struct Case {
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
        // What a device that is offline keeps back.
        let mut offline: Option<(String, Vec<Reading>)> = None;
        for _ in 0..random.random_range(1..400) {
            // Often no step at all: equal times are ordinary.
            now_us += [0, random.random_range(0..400_000), 100_000][random.random_range(0..3)];
            let disorder = match random.random_range(0..20) {
                0 => random.random_range(0..20_000_000),
                1 if random.random_range(0..8) == 0 => -3_600_000_000,
                2..6 => random.random_range(0..=delay_us),
                _ => 0,
            };
            let value = match random.random_range(0..25) {
                0..3 => None,
                3 => Some(f64::NAN),
                4 => Some(f64::NEG_INFINITY),
                5 => Some(-0.0),
                _ => Some(random.random_range(-1000..1000) as f64 / 8.0),
            };
            let row = match rows.last() {
                Some(last) if random.random_range(0..15) == 0 => last.clone(),
                _ => Reading {
                    key: (random.random_range(0..10) > 0).then(|| format!("k{}", random.random_range(0..keys))),
                    time_us: now_us - disorder,
                    value,
                    count: (random.random_range(0..8) > 0).then(|| random.random_range(0..9)),
                },
            };
            match &mut offline {
                Some((device, kept)) if row.key.as_ref() == Some(device) => kept.push(row),
                _ => rows.push(row),
            }
            match random.random_range(0..40) {
                0 if offline.is_none() => offline = Some(("k0".to_owned(), Vec::new())),
                1 | 2 => rows.extend(offline.take().into_iter().flat_map(|(_, kept)| kept)),
                _ => {}
            }
        }
        rows.extend(offline.into_iter().flat_map(|(_, kept)| kept));
        let queries = (0..4).map(|_| Query::random(&mut random)).collect();
        Self { delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let stream = format!(
            "CREATE STREAM readings (key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, n BIGINT,
                WATERMARK FOR ts AS ts - INTERVAL '{} microseconds'
             ) PARTITION BY (key) WITH (partitions = {partitions}, idle_timeout = 'none');",
            self.delay_us
        );
        let queries = self.queries.iter().enumerate().map(|(n, query)| query.sql(&format!("out{n}")));
        std::iter::once(stream).chain(queries).collect()
    }

    fn batch(rows: &[Reading], schema: &SchemaRef) -> RecordBatch {
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time_us)).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(rows.iter().map(|r| r.key.clone()))),
            Arc::new(times),
            Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.count))),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }

    /// Runs the queries with the rows in batches of a size, and a crash after every so many batches.
    async fn run(&self, partitions: u32, batch: usize, crash_every: usize) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(30).unsynced();
        let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
        for (n, rows) in (1..).zip(self.rows.chunks(batch)) {
            pipeline.append_batch("readings", Self::batch(rows, &schema)).await.unwrap();
            // Small steps: the engine sees each batch by itself.
            pipeline.settle().await;
            if n % crash_every == 0 {
                pipeline.crash().await;
                pipeline.start().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let stream = log.stream("readings").unwrap();
        let partition_of = (0..partitions).map(|partition| {
            let mut reader = log.reader(stream.id(), partition, 0, Some(vec![0, 1, 2, 3])).unwrap();
            let mut rows = Vec::new();
            while let Some(found) = reader.next(10_000).unwrap() {
                rows.extend(readings(&found.batch));
            }
            rows
        });
        let partitions = partition_of.collect();
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let outputs = outputs.map(|batches| batches.iter().flat_map(cells).collect()).collect();
        let late = common::rows_of(&read(&log, &log.stream("late.readings").unwrap())).len();
        Outcome { partitions, outputs, late }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays.
    outputs: Vec<Vec<Value>>,
    late: usize,
}

fn readings(batch: &RecordBatch) -> Vec<Reading> {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    let keys = batch.column(0).as_string::<i32>().iter();
    let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().iter();
    let values = batch.column(2).as_primitive::<Float64Type>().iter();
    let counts = batch.column(3).as_primitive::<Int64Type>().iter();
    let reading = |((key, time), (value, count)): ((Option<&str>, Option<i64>), _)| Reading {
        key: key.map(str::to_owned),
        time_us: time.unwrap(),
        value,
        count,
    };
    keys.zip(times).zip(values.zip(counts)).map(reading).collect()
}

/// The rows that are not late, by (time, partition, offset); and how many are. A row is late when it is before the
/// watermark that the rows before it in its own partition have made.
fn admitted(partitions: &[Vec<Reading>], query: &Query, delay_us: i64) -> (Vec<Value>, usize) {
    let mut rows = Vec::new();
    let mut late = 0;
    for partition in partitions {
        let mut watermark_us = i64::MIN;
        for row in partition {
            if !query.filtered || row.count.is_some_and(|n| n > 2) {
                match row.time_us >= watermark_us {
                    true => rows.push(row),
                    false => late += 1,
                }
            }
            watermark_us = watermark_us.max(row.time_us - delay_us);
        }
    }
    rows.sort_by_key(|row| row.time_us);
    let row = |(order, row): (usize, &Reading)| {
        let key = row.key.as_ref().filter(|_| query.keyed);
        json!([order, row.time_us, key, row.value.map(float), row.count])
    };
    (rows.into_iter().enumerate().map(row).collect(), late)
}

const DUCKDB: &str = r#"
db.execute("CREATE OR REPLACE TABLE r (o BIGINT, t BIGINT, k TEXT, v DOUBLE, n BIGINT)")
if request["rows"]:
    columns = list(zip(*request["rows"]))
    # As text: a Python NaN in a list arrives as NULL.
    values = [None if v is None else str(v) for v in columns[3]]
    db.execute("INSERT INTO r SELECT unnest(?::BIGINT[]), unnest(?::BIGINT[]), unnest(?::TEXT[]), unnest(?::TEXT[])::DOUBLE, unnest(?::BIGINT[])",
               [list(columns[0]), list(columns[1]), list(columns[2]), values, list(columns[4])])
query = request["query"]
found = db.execute(f"""SELECT min(t), any_value(e), k, count(*), count(v), min(v), max(v), sum(v), avg(v),
    CASE WHEN count(v) > 1 AND count(*) FILTER (WHERE isnan(v) OR isinf(v)) > 0 THEN 'nan'::DOUBLE ELSE stddev_samp(CASE WHEN isfinite(v) THEN v END) END,
    count(DISTINCT n), sum(n)::BIGINT, sum(v) FILTER (WHERE n > 5)
    FROM ({query["rows"]}) GROUP BY k, w HAVING {query["which"]} ORDER BY {query["order"].replace("e,", "any_value(e),")}""").fetchall()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_rows_agree_with_duckdb_whatever_the_batches_partitions_and_crashes() {
    let mut requests = Vec::new();
    let mut checks = Vec::new();
    for seed in seeds(CASES) {
        let case = Case::random(seed);
        for partitions in [1, 3] {
            let whole = case.run(partitions, usize::MAX, usize::MAX).await;
            let batch = [60, 7, 31, 17][(seed as usize + partitions as usize) % 4];
            for crash_every in [usize::MAX, 2] {
                let split = case.run(partitions, batch, crash_every).await;
                let place = format!("seed {seed}, {partitions} partitions, batches of {batch}, {crash_every}");
                for ((split, whole), query) in split.outputs.iter().zip(&whole.outputs).zip(&case.queries) {
                    assert_eq!(split, whole, "{place} {query:?}");
                }
                assert_eq!(split.late, whole.late, "{place}");
            }
            let mut late = 0;
            for (n, query) in case.queries.iter().enumerate() {
                let (rows, too_late) = admitted(&whole.partitions, query, case.delay_us);
                late += too_late;
                requests.push(json!({ "rows": rows, "query": query.duckdb() }));
                let place = format!("seed {seed}, {partitions} partitions, query {n} {query:?}");
                checks.push((place, whole.outputs[n].clone()));
            }
            assert_eq!(whole.late, late, "late rows, seed {seed}, {partitions} partitions");
        }
    }
    let answers = answers(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut windows = 0;
    for ((place, found), expected) in checks.iter().zip(&answers) {
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(same(found, expected), "{place}, row {n}: found {found}, expected {expected}");
        }
        assert_eq!(found.len(), expected.len(), "{place}");
        windows += found.len();
    }
    assert!(std::env::var_os("THERMOCLINE_SEED").is_some() || windows > 400, "{windows} windows");
}
