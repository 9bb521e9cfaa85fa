//! Windowed aggregates against a batch engine: random streams (`common/readings.rs`) through TUMBLE, HOP and CUMULATE with offsets, lateness
//! and early results; DuckDB computes the same over the rows that are not late, by the definition of a window. Then the same
//! kind of queries with a crash at the operations of the disk.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use common::crash_points::{Run, every, exact};
use common::duckdb::{all_seeds, answers, ask, cells, float, same, seeds};
use common::readings::{Likeness, Reading, batch, create, pieces, stored};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

const CASES: u64 = 8;
const CRASHED_CASES: u64 = 2;

/// A query over one stream.
#[derive(Debug, Clone, Copy)]
struct Query {
    /// The step, where windows cumulate.
    slide_us: i64,
    size_us: i64,
    cumulates: bool,
    offset_us: i64,
    /// For how long a closed window is corrected, and whether an open one is emitted: then its last row counts.
    lateness_us: i64,
    emit: &'static str,
    keyed: bool,
    filtered: bool,
}

const AT_CLOSE: &str = "EMIT ON WINDOW CLOSE";

impl Query {
    /// The first are emitted once, others early or corrected.
    fn random(random: &mut StdRng, n: usize) -> Self {
        let mut one_of = |choices: &[i64]| choices[random.random_range(0..choices.len())];
        let size_us = one_of(&[1_000_000, 700_000, 5_000_000, 10_000_000, 3_000_000]);
        let cumulates = n % 2 == 1 && one_of(&[0, 1]) == 0;
        let slide_us = match cumulates {
            true => size_us / one_of(&[1, 2, 5, 10]),
            false => one_of(&[size_us, size_us / 4, size_us * 2 / 3, size_us * 2]),
        };
        let offset_us = one_of(&[0, 0, 1, 300_000, -2_000_000]);
        let lateness_us = if n < 4 { 0 } else { one_of(&[0, 1, 1_500_000, 12_000_000]) };
        let early = if n < 4 { 0 } else { one_of(&[i64::from(lateness_us == 0), 1, 2]) };
        let emit = [AT_CLOSE, "EMIT ON UPDATE", "EMIT EVERY INTERVAL '3 seconds'"][early as usize];
        let (keyed, filtered) = (random.random(), random.random_range(0..3) == 0);
        Self { slide_us, size_us, cumulates, offset_us, lateness_us, emit, keyed, filtered }
    }

    fn sql(&self, name: &str) -> String {
        let (slide, size, offset) = (self.slide_us, self.size_us, self.offset_us);
        let size_and_offset = format!("INTERVAL '{size} microseconds', INTERVAL '{offset} microseconds'");
        let lengths = format!("INTERVAL '{slide} microseconds', {size_and_offset}");
        let window = match slide == size {
            _ if self.cumulates => format!("CUMULATE(readings, ts, {lengths})"),
            true => format!("TUMBLE(readings, ts, {size_and_offset})"),
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
        let emit = self.emit;
        let lateness = format!("ALLOW LATENESS INTERVAL '{} microseconds'", self.lateness_us);
        format!(
            "{target}
             INSERT INTO {name} SELECT window_start AS s, window_end AS e, {key} AS key, count(*) AS n, count(v) AS vs,
                min(v) AS low, max(v) AS high, sum(v) AS total, avg(v) AS mean, stddev(v) AS spread,
                count(DISTINCT n) AS ns, sum(n) AS sum_n, sum(v) FILTER (WHERE n > 5) AS some
             FROM {window} {filter} GROUP BY {group} window_start, window_end {emit} {lateness};"
        )
    }

    fn has_updates(&self) -> bool {
        self.emit != AT_CLOSE || self.lateness_us > 0
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
        let since_us = time_us - self.offset_us;
        if self.cumulates {
            let start_us = since_us.div_euclid(self.size_us) * self.size_us + self.offset_us;
            let ends = (1..=self.size_us / self.slide_us).map(|n| start_us + n * self.slide_us);
            return ends.filter(|end| *end > time_us).map(|end| (start_us, end)).collect();
        }
        let last = since_us.div_euclid(self.slide_us) * self.slide_us + self.offset_us;
        let starts = (0..).map(|n| last - n * self.slide_us).take_while(|start| start + self.size_us > time_us);
        starts.map(|start| (start, start + self.size_us)).collect()
    }
}

/// One random stream with the queries over it.
struct Case {
    delay_us: i64,
    rows: Vec<Reading>,
    queries: Vec<Query>,
}

impl Case {
    fn random(seed: u64, rows: std::ops::Range<i64>, queries: std::ops::Range<usize>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = Likeness::random(&mut random, rows);
        let rows = stream.readings(&mut random);
        let queries = queries.map(|n| Query::random(&mut random, n)).collect();
        Self { delay_us: stream.delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let queries = self.queries.iter().enumerate().map(|(n, query)| query.sql(&format!("out{n}")));
        std::iter::once(create("readings", self.delay_us, "", partitions)).chain(queries).collect()
    }

    /// Runs the queries with the rows in these pieces.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]]) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(50).unsynced();
        for rows in pieces {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            // Small steps: the engine sees each piece by itself.
            pipeline.settle().await;
            pipeline.clock.advance(Duration::from_secs(2));
        }
        pipeline.finish_queries().await.unwrap();
        self.outcome(&pipeline.start().await.log)
    }

    fn outcome(&self, log: &Log) -> Outcome {
        let outputs = self.queries.iter().enumerate().map(|(n, query)| {
            let batches = read(log, &log.stream(&query.output(n)).unwrap());
            query.results(batches.iter().flat_map(cells).collect())
        });
        let late = common::rows_of(&read(log, &log.stream("late.readings").unwrap())).len();
        Outcome { partitions: stored(log, "readings"), outputs: outputs.collect(), late }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays, NaN and infinities as text.
    outputs: Vec<Vec<Value>>,
    late: usize,
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

/// Groups what `admitted` gave.
const DUCKDB: &str = r#"
load("r", "s BIGINT, e BIGINT, key TEXT, v DOUBLE, n BIGINT", request["rows"])
key = "key" if request["keyed"] else "NULL::TEXT"
found = db.execute(f"""SELECT s, e, {key} AS k, count(*), count(v), min(v), max(v), sum(v), avg(v),
    CASE WHEN count(v) > 1 AND count(*) FILTER (WHERE isnan(v) OR isinf(v)) > 0 THEN 'nan'::DOUBLE ELSE stddev_samp(CASE WHEN isfinite(v) THEN v END) END,
    count(DISTINCT n), sum(n)::BIGINT, sum(v) FILTER (WHERE n > 5)
    FROM r GROUP BY s, e, k ORDER BY e, k NULLS FIRST""").fetchall()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn windows_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let mut requests = Vec::new();
    let mut checks: Vec<(String, Query, Vec<Value>)> = Vec::new();
    for seed in seeds(CASES) {
        let case = Case::random(seed, 1..400, 0..6);
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows]).await;
            let split = case.run(partitions, &pieces(seed + u64::from(partitions), &case.rows)).await;
            let place = format!("seed {seed}, {partitions} partitions");
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
                checks.push((format!("{place}, query {n}"), *query, whole.outputs[n].clone()));
            }
            assert_eq!(whole.late, late, "late rows, {place}");
        }
    }
    let answers = answers(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut windows = BTreeSet::new();
    for ((place, query, found), expected) in checks.iter().zip(&answers) {
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(same(found, expected), "{place} {query:?}, row {n}: found {found}, expected {expected}");
        }
        assert_eq!(found.len(), expected.len(), "{place} {query:?}");
        windows.insert(found.len());
    }
    assert!(!all_seeds() || windows.len() > 20, "the cases differ: {windows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_windows_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60, 3..6);
        let partitions = 1 + seed as u32 % 2 * 2;
        let sql = case.sql(partitions);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| {
            let output = |(n, query): (usize, &Query)| match query.has_updates() {
                true => case.outcome(log).outputs[n].iter().map(ToString::to_string).collect(),
                false => exact(&read(log, &log.stream(&query.output(n)).unwrap())),
            };
            let outputs: Vec<Vec<String>> = case.queries.iter().enumerate().map(output).collect();
            // Which query wrote its late rows first is the scheduler's affair.
            let mut late = exact(&read(log, &log.stream("late.readings").unwrap()));
            late.sort();
            (outputs, late)
        };
        run.crash_everywhere(seed, every(17), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
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
