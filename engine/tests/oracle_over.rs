//! `OVER` against a batch engine: random streams (`common/readings.rs`) through random calls; DuckDB computes the same calls over
//! the rows that are not late. Then by the definition of when a row is complete: which rows come, and in which order; whatever
//! the batches, the partitions and the crashes, also with a crash at the operations of the disk.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;

use common::crash_points::{Run, every, outputs};
use common::duckdb::{all_seeds, answers, cells, same, seeds};
use common::readings::{Likeness, Reading, TABLE, batch, create, in_time, pieces, stored, table};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

const CASES: u64 = 8;
const CRASHED_CASES: u64 = 2;
const QUERIES: usize = 4;

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
        let over = format!("OVER ({partition}ORDER BY {order} {frame})");
        match self.function.as_str() {
            // What is not finite makes it NaN, of two values or more; DuckDB fails on it.
            "stddev(v)" if duckdb => format!(
                "CASE WHEN count(v) {over} > 1 AND count(*) FILTER (WHERE NOT isfinite(v)) {over} > 0 THEN 'nan'::DOUBLE
                 ELSE stddev_samp(CASE WHEN isfinite(v) THEN v END) {over} END"
            ),
            function => format!("CAST({function} {over} AS DOUBLE)"),
        }
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
    fn emitted(&self, rows: &[&Reading]) -> Vec<i64> {
        let rows: Vec<&Reading> = rows.iter().copied().filter(|row| self.keeps(row)).collect();
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
    fn random(seed: u64, rows: std::ops::Range<i64>, queries: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Many rows of one time, and within a frame.
        let stream = Likeness { grain_us: 50_000, pace_us: 150_000, ..Likeness::random(&mut random, rows) };
        let rows = stream.readings(&mut random);
        let queries = (0..queries).map(|_| Query::random(&mut random)).collect();
        Self { seed, delay_us: stream.delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let queries = self.queries.iter().enumerate().map(|(n, query)| query.sql(&format!("out{n}")));
        std::iter::once(create("readings", self.delay_us, "", partitions)).chain(queries).collect()
    }

    /// Runs the queries with the rows in these pieces, dying after every `crash` of them.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]], crash: Option<usize>) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(40).unsynced();
        for (n, rows) in pieces.iter().enumerate() {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            // Small steps: the engine sees each piece by itself.
            pipeline.settle().await;
            if crash.is_some_and(|every| n % every == every - 1) {
                pipeline.crash().await;
                pipeline.start().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let outputs = outputs.map(|batches| batches.iter().flat_map(cells).collect()).collect();
        Outcome { partitions: stored(&log, "readings"), outputs }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays.
    outputs: Vec<Vec<Value>>,
}

const DUCKDB: &str = r#"
load("r", request["columns"], request["rows"])
found = db.execute(request["query"]).fetchall()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn calls_agree_with_duckdb_whatever_the_batches_partitions_and_crashes() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    let cases: Vec<Case> = seeds(CASES).into_iter().map(|seed| Case::random(seed, 1..400, QUERIES)).collect();
    for case in &cases {
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows], None).await;
            let crash = (case.seed % 2 == 0).then_some(3);
            let split = case.run(partitions, &pieces(case.seed + u64::from(partitions), &case.rows), crash).await;
            let place = format!("seed {}, {partitions} partitions", case.seed);
            let (rows, _) = in_time(&whole.partitions, case.delay_us, |_| true);
            for (n, query) in case.queries.iter().enumerate() {
                let place = format!("{place}, query {n}: {query:?}");
                assert_eq!(split.outputs[n], whole.outputs[n], "{place}, crash {crash:?}");
                let found = whole.outputs[n].clone();
                let ids: Vec<i64> = found.iter().map(|row| row[0].as_i64().unwrap()).collect();
                assert_eq!(ids, query.emitted(&rows), "{place}");
                requests.push(json!({ "columns": TABLE, "rows": table(&rows), "query": query.duckdb() }));
                checks.push((place, found));
            }
        }
    }
    let answers = answers(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut emitted = 0;
    for ((place, found), answer) in checks.iter().zip(&answers) {
        let by_id: HashMap<i64, &Value> = answer.iter().map(|row| (row[0].as_i64().unwrap(), row)).collect();
        for row in found {
            let expected = by_id[&row[0].as_i64().unwrap()];
            assert!(same(row, expected), "{place}: found {row}, expected {expected}");
        }
        emitted += found.len();
    }
    assert!(!all_seeds() || emitted > 5_000, "{emitted} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_calls_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60, 3);
        let sql = case.sql(1 + seed as u32 % 2 * 2);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| outputs(log, case.queries.len(), &["late.readings"]);
        run.crash_everywhere(seed, every(17), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
}
