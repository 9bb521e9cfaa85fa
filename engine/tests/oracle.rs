//! Windowed aggregates against a batch engine: random rows with disorder, duplicates, NULL, NaN and late ones through
//! TUMBLE, HOP and CUMULATE, with lateness and early results; DuckDB computes the same over the rows that are not late, by the definition of a window.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::duckdb::{ask, same};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const CASES: u64 = 8;
/// Windows reach back before 1970 from here.
const BASE_US: i64 = -40_000_000;

#[derive(Debug, Clone)]
struct Reading {
    key: Option<String>,
    time_us: i64,
    value: Option<f64>,
    count: Option<i64>,
}

/// A query over one stream.
#[derive(Debug, Clone, Copy)]
struct Query {
    /// The step, where windows cumulate.
    slide_us: i64,
    size_us: i64,
    cumulates: bool,
    /// For how long a closed window is corrected, and whether an open one is emitted: then its last row counts.
    lateness_us: i64,
    early: bool,
    keyed: bool,
    filtered: bool,
}

impl Query {
    fn sql(&self, name: &str) -> String {
        let (slide, size) = (self.slide_us, self.size_us);
        let lengths = format!("INTERVAL '{slide} microseconds', INTERVAL '{size} microseconds'");
        let window = match slide == size {
            _ if self.cumulates => format!("CUMULATE(readings, ts, {lengths})"),
            true => format!("TUMBLE(readings, ts, INTERVAL '{size} microseconds')"),
            false => format!("HOP(readings, ts, {lengths})"),
        };
        let key = if self.keyed { "key" } else { "CAST(NULL AS TEXT)" };
        let group = if self.keyed { "key, " } else { "" };
        let filter = if self.filtered { "WHERE n > 2" } else { "" };
        let target = match self.has_updates() {
            true => format!("CREATE SINK {name} WITH (connector = 'console');"),
            false => format!(
                "CREATE STREAM {name} (s TIMESTAMP, e TIMESTAMP, key TEXT, n BIGINT, vs BIGINT, low DOUBLE, high DOUBLE,
                    total DOUBLE, mean DOUBLE, spread DOUBLE, ns BIGINT, sum_n BIGINT, some DOUBLE);"
            ),
        };
        let early = if self.early { "EMIT ON UPDATE" } else { "EMIT ON WINDOW CLOSE" };
        let lateness = format!("ALLOW LATENESS INTERVAL '{} microseconds'", self.lateness_us);
        format!(
            "{target}
             INSERT INTO {name} SELECT window_start AS s, window_end AS e, {key} AS key, count(*) AS n, count(v) AS vs,
                min(v) AS low, max(v) AS high, sum(v) AS total, avg(v) AS mean, stddev(v) AS spread,
                count(DISTINCT n) AS ns, sum(n) AS sum_n, sum(v) FILTER (WHERE n > 5) AS some
             FROM {window} {filter} GROUP BY {group} window_start, window_end {early} {lateness};"
        )
    }

    fn has_updates(&self) -> bool {
        self.early || self.lateness_us > 0
    }

    /// The stream of the log that its rows are in.
    fn output(&self, n: usize) -> String {
        if self.has_updates() { format!("out.out{n}") } else { format!("out{n}") }
    }

    /// The last row of each window and key, where rows take the place of others.
    fn results(&self, rows: Vec<Value>) -> Vec<Value> {
        if !self.has_updates() {
            return rows;
        }
        let key = |row: &Value| (row[1].as_i64(), row[2].as_str().map(str::to_owned));
        rows.into_iter().map(|row| (key(&row), row)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Start and end of every window over a time, by definition.
    fn windows(&self, time_us: i64) -> Vec<(i64, i64)> {
        if self.cumulates {
            let start_us = time_us.div_euclid(self.size_us) * self.size_us;
            let ends = (1..=self.size_us / self.slide_us).map(|n| start_us + n * self.slide_us);
            return ends.filter(|end| *end > time_us).map(|end| (start_us, end)).collect();
        }
        let last = time_us.div_euclid(self.slide_us) * self.slide_us;
        let starts = (0..).map(|n| last - n * self.slide_us).take_while(|start| start + self.size_us > time_us);
        starts.map(|start| (start, start + self.size_us)).collect()
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
        for _ in 0..random.random_range(1..400) {
            now_us += random.random_range(0..400_000);
            let disorder = match random.random_range(0..20) {
                0 => random.random_range(0..20_000_000),
                1..5 => random.random_range(0..=delay_us),
                _ => 0,
            };
            let value = match random.random_range(0..25) {
                0 => None,
                1 => Some(f64::NAN),
                2 => Some(f64::NEG_INFINITY),
                3 => Some(-0.0),
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
            rows.push(row);
        }
        let sizes = [1_000_000, 700_000, 5_000_000, 10_000_000, 3_000_000];
        let queries = (0..6).map(|n| {
            let size_us: i64 = sizes[random.random_range(0..sizes.len())];
            let slide_us = match (n, random.random_range(0..3)) {
                (0, _) => size_us,
                (_, 0) => size_us / 4,
                (_, 1) => size_us * 2 / 3,
                _ => size_us * 2,
            };
            let cumulates = n == 3 || n == 5 && random.random_range(0..3) == 0;
            let lateness_us = if n < 4 { 0 } else { [0, 1, 1_500_000, 12_000_000][random.random_range(0..4)] };
            let early = n >= 4 && (lateness_us == 0 || random.random());
            let slide_us = if cumulates { size_us / [1, 2, 5, 10][random.random_range(0..4)] } else { slide_us };
            Query {
                slide_us,
                size_us,
                cumulates,
                lateness_us,
                early,
                keyed: random.random(),
                filtered: random.random_range(0..3) == 0,
            }
        });
        let queries = queries.collect();
        Self { seed, delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let mut sql = format!(
            "CREATE STREAM readings (key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, n BIGINT,
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
            Arc::new(StringArray::from_iter(rows.iter().map(|r| r.key.clone()))),
            Arc::new(times),
            Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value))),
            Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.count))),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
    }

    /// Runs the queries with the rows in batches of a size; the rows of each partition, in their order, come with it.
    async fn run(&self, partitions: u32, batch: usize) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(50).unsynced();
        let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
        for rows in self.rows.chunks(batch) {
            pipeline.append_batch("readings", Self::batch(rows, &schema)).await.unwrap();
            // Small steps: the engine sees each batch by itself.
            pipeline.settle().await;
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
        let late = common::rows_of(&read(&log, &log.stream("late.readings").unwrap())).len();
        let outputs = self.queries.iter().enumerate().map(|(n, query)| {
            let batches = read(&log, &log.stream(&query.output(n)).unwrap());
            query.results(batches.iter().flat_map(cells).collect())
        });
        let outputs = outputs.collect();
        Outcome { partitions, outputs, late }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays, NaN and infinities as text.
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
    keys.zip(times)
        .zip(values.zip(counts))
        .map(|((key, time), (value, count))| Reading {
            key: key.map(str::to_owned),
            time_us: time.unwrap(),
            value,
            count,
        })
        .collect()
}

fn cells(batch: &RecordBatch) -> Vec<Value> {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
    let cell = |column: &ArrayRef, row: usize| match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Timestamp(..) => json!(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        _ => json!(column.as_string::<i32>().value(row)),
    };
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect()
}

fn float(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false if value.is_nan() => json!("nan"),
        false => json!(if value > 0.0 { "inf" } else { "-inf" }),
    }
}

/// The rows with the windows that take each of them: a window that ends at or before the watermark which the rows before
/// it in its own partition have made takes it no more. `None` for a row that all its windows have left behind.
fn admitted(partition: &[Reading], query: &Query, delay_us: i64) -> (Vec<Value>, usize) {
    let mut watermark_us = i64::MIN;
    let mut rows = Vec::new();
    let mut late = 0;
    for row in partition {
        let kept = !query.filtered || row.count.is_some_and(|n| n > 2);
        let (mut covered, mut taken) = (false, false);
        for (start_us, end_us) in query.windows(row.time_us) {
            covered = true;
            if kept && end_us.saturating_add(query.lateness_us) > watermark_us {
                taken = true;
                rows.push(json!([start_us, end_us, row.key, row.value.map(float), row.count]));
            }
        }
        if kept && covered && !taken {
            late += 1;
        }
        watermark_us = watermark_us.max(row.time_us - delay_us);
    }
    (rows, late)
}

/// Groups what `admitted` gave; one process for all requests.
const DUCKDB: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
db.execute("SET threads = 1")
for line in sys.stdin:
    request = json.loads(line)
    db.execute("CREATE OR REPLACE TABLE r (s BIGINT, e BIGINT, key TEXT, v DOUBLE, n BIGINT)")
    if request["rows"]:
        columns = list(zip(*request["rows"]))
        # As text: a Python NaN in a list arrives as NULL.
        values = [None if v is None else str(v) for v in columns[3]]
        db.execute("INSERT INTO r SELECT unnest(?::BIGINT[]), unnest(?::BIGINT[]), unnest(?::TEXT[]), unnest(?::TEXT[])::DOUBLE, unnest(?::BIGINT[])",
                   [list(columns[0]), list(columns[1]), list(columns[2]), values, list(columns[4])])
    key = "key" if request["keyed"] else "NULL::TEXT"
    found = db.execute(f"""SELECT s, e, {key} AS k, count(*), count(v), min(v), max(v), sum(v), avg(v),
        CASE WHEN count(v) > 1 AND count(*) FILTER (WHERE isnan(v) OR isinf(v)) > 0 THEN 'nan'::DOUBLE ELSE stddev_samp(CASE WHEN isfinite(v) THEN v END) END,
        count(DISTINCT n), sum(n)::BIGINT, sum(v) FILTER (WHERE n > 5)
        FROM r GROUP BY s, e, k ORDER BY e, k NULLS FIRST""").fetchall()
    text = lambda v: str(v) if isinstance(v, float) and (v != v or abs(v) == float("inf")) else v
    print(json.dumps([[text(v) for v in row] for row in found]), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn windows_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let seeds: Vec<u64> = match std::env::var("THERMOCLINE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..CASES).collect(),
    };
    let mut requests = Vec::new();
    let mut checks: Vec<(String, Query, Vec<Value>)> = Vec::new();
    for seed in seeds {
        let case = Case::random(seed);
        for partitions in [1, 3] {
            let whole = case.run(partitions, usize::MAX).await;
            let batch = [100, 5, 31, 17][(seed as usize + partitions as usize) % 4];
            let split = case.run(partitions, batch).await;
            let place = format!("seed {seed}, {partitions} partitions, batches of {batch}");
            for (n, query) in case.queries.iter().enumerate() {
                match query.has_updates() {
                    // What is corrected before no more rows come is added up as they come.
                    true => assert!(same(&json!(split.outputs[n]), &json!(whole.outputs[n])), "{place} {query:?}"),
                    false => assert_eq!(split.outputs[n], whole.outputs[n], "{place} {query:?}"),
                }
            }
            assert_eq!(split.late, whole.late, "{place}");
            let mut late = 0;
            for (n, query) in case.queries.iter().enumerate() {
                let mut rows = Vec::new();
                for partition in &whole.partitions {
                    let (taken, too_late) = admitted(partition, query, case.delay_us);
                    rows.extend(taken);
                    late += too_late;
                }
                requests.push(json!({ "rows": rows, "keyed": query.keyed }));
                let place = format!("seed {}, {partitions} partitions, query {n}", case.seed);
                checks.push((place, *query, whole.outputs[n].clone()));
            }
            assert_eq!(whole.late, late, "late rows, seed {seed}, {partitions} partitions");
        }
    }
    let answers = ask::<Vec<Value>>(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut windows = BTreeSet::new();
    for ((place, query, found), expected) in checks.iter().zip(&answers) {
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(same(found, expected), "{place} {query:?}, row {n}: found {found}, expected {expected}");
        }
        assert_eq!(found.len(), expected.len(), "{place} {query:?}");
        windows.insert(found.len());
    }
    assert!(std::env::var_os("THERMOCLINE_SEED").is_some() || windows.len() > 20, "the cases differ: {windows:?}");
}

/// Counts times by day, week or month of a zone.
const DUCKDB_CALENDAR: &str = r#"
import json, sys
import duckdb
db = duckdb.connect()
for line in sys.stdin:
    request = json.loads(line)
    db.execute("SET TimeZone = '" + request["zone"] + "'")
    unit = request["unit"]
    found = db.execute(f"""SELECT epoch_us(s), epoch_us(s + INTERVAL 1 {unit}), n FROM (
        SELECT date_trunc('{unit}', make_timestamptz(t)) AS s, count(*) AS n FROM (SELECT unnest(?::BIGINT[]) AS t) GROUP BY s
        ) ORDER BY s""", [request["times"]]).fetchall()
    print(json.dumps(found), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn days_weeks_and_months_of_zones_agree_with_duckdb() {
    const DAY_US: i64 = 86_400_000_000;
    let mut random = StdRng::seed_from_u64(7);
    // Half of the times are where clocks are changed.
    let times = (0..600).map(|n| {
        let year_us = random.random_range(30..67) * 365 * DAY_US + random.random_range(8..16) * DAY_US;
        let day = match n % 4 {
            0 => random.random_range(80..100),
            1 => random.random_range(294..314),
            _ => random.random_range(0..365),
        };
        year_us + day * DAY_US + random.random_range(0..DAY_US)
    });
    let mut times: Vec<i64> = times.collect();
    times.sort_unstable();
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"];
    let mut sql = "CREATE STREAM readings (ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts);".to_owned();
    let mut requests = Vec::new();
    for zone in zones {
        for unit in ["day", "week", "month"] {
            let name = format!("out{}", requests.len());
            sql += &format!(
                "CREATE STREAM {name} (s TIMESTAMP, e TIMESTAMP, n BIGINT);
                 INSERT INTO {name} SELECT window_start, window_end, count(*)
                 FROM TUMBLE(readings, ts, INTERVAL '1 {unit}' TIME ZONE '{zone}') GROUP BY window_start, window_end;"
            );
            requests.push(json!({ "zone": zone, "unit": unit, "times": times }));
        }
    }
    let mut pipeline = Pipeline::new(&sql).unsynced();
    let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
    pipeline.append_batch("readings", RecordBatch::try_new(schema, vec![column]).unwrap()).await.unwrap();
    pipeline.finish_queries().await.unwrap();
    let log = pipeline.start().await.log.clone();
    for (n, expected) in ask::<Vec<Value>>(DUCKDB_CALENDAR, &requests).into_iter().enumerate() {
        let batches = read(&log, &log.stream(&format!("out{n}")).unwrap());
        let found: Vec<Value> = batches.iter().flat_map(cells).collect();
        assert_eq!(found, expected, "{} {}", requests[n]["zone"], requests[n]["unit"]);
    }
}
