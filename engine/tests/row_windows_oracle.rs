//! Windows that rows make against a batch engine: random streams (`common/readings.rs`) through SESSION, COUNT_WINDOW and
//! STATE_WINDOW; DuckDB computes the same with window functions over the rows that are not late, sorted by time. Then the same
//! kind of queries with a crash at the operations of the disk.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::crash_points::{Run, every, outputs};
use common::duckdb::{all_seeds, answers, cells, same, seeds};
use common::readings::{Likeness, Reading, TABLE, batch, create, in_time, pieces, stored, table};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

const CASES: u64 = 4;
const CRASHED_CASES: u64 = 2;

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

    fn takes(&self, row: &Reading) -> bool {
        !self.filtered || row.count.is_some_and(|n| n > 2)
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
    fn random(seed: u64, rows: std::ops::Range<i64>, queries: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = Likeness::random(&mut random, rows);
        let rows = stream.readings(&mut random);
        let queries = (0..queries).map(|_| Query::random(&mut random)).collect();
        Self { delay_us: stream.delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let queries = self.queries.iter().enumerate().map(|(n, query)| query.sql(&format!("out{n}")));
        std::iter::once(create("readings", self.delay_us, "", partitions)).chain(queries).collect()
    }

    /// Runs the queries with the rows in these pieces, and a crash after every so many.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]], crash_every: usize) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(30).unsynced();
        for (n, rows) in (1..).zip(pieces) {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            // Small steps: the engine sees each piece by itself.
            pipeline.settle().await;
            if n % crash_every == 0 {
                pipeline.crash().await;
                pipeline.start().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let outputs = outputs.map(|batches| batches.iter().flat_map(cells).collect()).collect();
        let late = common::rows_of(&read(&log, &log.stream("late.readings").unwrap())).len();
        Outcome { partitions: stored(&log, "readings"), outputs, late }
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    /// Per query, rows as JSON arrays.
    outputs: Vec<Vec<Value>>,
    late: usize,
}

const DUCKDB: &str = r#"
load("given", request["columns"], request["rows"])
key = "key" if request["keyed"] else "NULL::TEXT"
db.execute(f"CREATE OR REPLACE VIEW r AS SELECT seq AS o, ts AS t, {key} AS k, v, n FROM given")
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
        let case = Case::random(seed, 1..400, 4);
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows], usize::MAX).await;
            for crash_every in [usize::MAX, 3] {
                let pieces = pieces(seed + u64::from(partitions), &case.rows);
                let split = case.run(partitions, &pieces, crash_every).await;
                let place = format!("seed {seed}, {partitions} partitions, a crash after {crash_every} pieces");
                for ((split, whole), query) in split.outputs.iter().zip(&whole.outputs).zip(&case.queries) {
                    assert_eq!(split, whole, "{place} {query:?}");
                }
                assert_eq!(split.late, whole.late, "{place}");
            }
            let mut late = 0;
            for (n, query) in case.queries.iter().enumerate() {
                let (rows, too_late) = in_time(&whole.partitions, case.delay_us, |row| query.takes(row));
                late += too_late;
                requests.push(json!({
                    "columns": TABLE, "rows": table(&rows), "keyed": query.keyed, "query": query.duckdb()
                }));
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
    assert!(!all_seeds() || windows > 400, "{windows} windows");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_windows_of_rows_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60, 3);
        let sql = case.sql(1 + seed as u32 % 2 * 2);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| outputs(log, case.queries.len(), &["late.readings"]);
        run.crash_everywhere(seed, every(17), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
}
