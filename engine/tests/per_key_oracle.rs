//! Watermarks per key against a batch engine: random streams (`common/readings.rs`) of devices that go offline and send their buffers
//! later, through every window function, OVER and DISTINCT ON. DuckDB computes the same over the rows that are not late, which a
//! model of a few lines decides row by row. Then the same kind of queries with a crash at the operations of the disk.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::crash_points::{Run, every, outputs};
use common::duckdb::{answers, cells, float, same, seeds};
use common::readings::{Likeness, Reading, batch, create, pieces, stored};
use common::{Pipeline, read};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

const CASES: u64 = 2;
const CRASHED_CASES: u64 = 2;
const SECOND: i64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
enum Query {
    Hop { slide_us: i64, size_us: i64, offset_us: i64 },
    Cumulate { step_us: i64, size_us: i64, offset_us: i64 },
    Session { gap_us: i64 },
    Count { rows: u32, slide: u32 },
    State { start: i64, end: i64 },
    Behind { range_us: i64 },
    Ahead { rows: u32 },
    First { size_us: i64 },
}

/// The aggregates that all windows have, in both dialects.
const AGGREGATES: &str = "count(*), count(v), min(v), max(v), sum(v), avg(v), sum(n)";

impl Query {
    fn random(random: &mut StdRng, kind: usize) -> Self {
        let mut one_of = |choices: &[i64]| choices[random.random_range(0..choices.len())];
        match kind {
            0 => {
                let slide_us = one_of(&[SECOND, 3 * SECOND, 10 * SECOND]);
                let size_us = one_of(&[slide_us, 3 * slide_us, 7 * SECOND / 2, slide_us / 2]);
                Self::Hop { slide_us, size_us, offset_us: one_of(&[0, 300_000]) }
            }
            1 => {
                let step_us = one_of(&[SECOND, 4 * SECOND]);
                Self::Cumulate { step_us, size_us: step_us * one_of(&[1, 3, 5]), offset_us: one_of(&[0, 700_000]) }
            }
            2 => Self::Session { gap_us: one_of(&[1, 300_000, SECOND, 5 * SECOND]) },
            3 => Self::Count { rows: one_of(&[1, 2, 5]) as u32, slide: one_of(&[1, 2, 7]) as u32 },
            4 => Self::State { start: one_of(&[-50, 0, 50]), end: one_of(&[-60, 0, 60]) },
            5 => Self::Behind { range_us: one_of(&[0, SECOND, 10 * SECOND]) },
            6 => Self::Ahead { rows: one_of(&[1, 2]) as u32 },
            _ => Self::First { size_us: one_of(&[SECOND, 20 * SECOND]) },
        }
    }

    fn sql(&self, name: &str) -> String {
        let us = |us: i64| format!("INTERVAL '{us} microseconds'");
        let windowed = |from: String, group: &str| {
            format!(
                "CREATE STREAM {name} (key TEXT, g BIGINT, s TIMESTAMP, e TIMESTAMP, c BIGINT, vs BIGINT, low DOUBLE, high DOUBLE,
                    total DOUBLE, mean DOUBLE, sum_n BIGINT);
                 INSERT INTO {name} SELECT key, {group}, window_start, window_end, {AGGREGATES} FROM {from}
                    GROUP BY key, {}window_start, window_end;",
                if group == "n" { "n, " } else { "" }
            )
        };
        match *self {
            Self::Hop { slide_us, size_us, offset_us } => windowed(
                format!("HOP(readings, ts, {}, {}, {})", us(slide_us), us(size_us), us(offset_us)),
                "n",
            ),
            Self::Cumulate { step_us, size_us, offset_us } => windowed(
                format!("CUMULATE(readings, ts, {}, {}, {}) WHERE n > 2", us(step_us), us(size_us), us(offset_us)),
                "0",
            ),
            Self::Session { gap_us } => windowed(format!("SESSION(readings, ts, {})", us(gap_us)), "n"),
            Self::Count { rows, slide } => windowed(format!("COUNT_WINDOW(readings, {rows}, {slide})"), "0"),
            Self::State { start, end } => {
                windowed(format!("STATE_WINDOW(readings, v > {start}, v < {end} OR v IS NULL)"), "0")
            }
            Self::Behind { range_us } => format!(
                "CREATE STREAM {name} (key TEXT, ts TIMESTAMP, v DOUBLE, i BIGINT, before DOUBLE, mean DOUBLE, peak DOUBLE);
                 INSERT INTO {name} SELECT key, ts, v, CAST(row_number() OVER (PARTITION BY key ORDER BY ts) AS BIGINT),
                    lag(v, 2) OVER (PARTITION BY key ORDER BY ts),
                    avg(v) OVER (PARTITION BY n, key ORDER BY ts RANGE BETWEEN {} PRECEDING AND CURRENT ROW),
                    max(v) OVER (PARTITION BY key ORDER BY ts)
                 FROM readings;",
                us(range_us)
            ),
            Self::Ahead { rows } => format!(
                "CREATE STREAM {name} (key TEXT, ts TIMESTAMP, v DOUBLE, after DOUBLE, total DOUBLE);
                 INSERT INTO {name} SELECT key, ts, v, lead(v, {rows}) OVER (PARTITION BY key, n ORDER BY ts),
                    sum(v) OVER (PARTITION BY key, n ORDER BY ts RANGE BETWEEN INTERVAL '1 second' PRECEDING
                        AND INTERVAL '2 seconds' FOLLOWING)
                 FROM readings;"
            ),
            Self::First { size_us } => format!(
                "CREATE STREAM {name} (key TEXT, n BIGINT, ts TIMESTAMP, v DOUBLE);
                 INSERT INTO {name} SELECT DISTINCT ON (key, n, window_end) key, n, ts, v FROM TUMBLE(readings, ts, {})
                    ORDER BY key, n, window_end, ts;",
                us(size_us)
            ),
        }
    }

    /// The same over `r` (o: order, t: time, k: key, v, n, wb: the watermark that the key's earlier rows had made), by key in its order.
    fn duckdb(&self) -> String {
        let sized = |ends: String, size_us: i64, group: &str, filter: &str| {
            format!(
                "SELECT k, {group}, any_value(s), e, {AGGREGATES}::BIGINT FROM (
                    SELECT *, s + {size_us} AS e FROM (SELECT *, unnest({ends}) AS s FROM r WHERE {filter})
                 ) WHERE e > t AND e > wb GROUP BY k, {group}, e ORDER BY k, e, {group} NULLS FIRST"
            )
        };
        let on_time = "(SELECT * FROM r WHERE t >= wb)";
        let by_rows = |rows: String, which: String, group: &str, order: &str| {
            let end = if order == "e" { "any_value(e)" } else { "max(t) + 1" };
            format!(
                "SELECT k, {group}, min(t), {end} AS e, {AGGREGATES}::BIGINT FROM ({rows})
                 GROUP BY k, {group}, w HAVING {which} ORDER BY k, {order}, {group} NULLS FIRST"
            )
        };
        match *self {
            Self::Hop { slide_us, size_us, offset_us } => {
                let last = format!("((t - {offset_us}) // {slide_us} * {slide_us} + {offset_us})");
                let starts = format!("range({last} - {slide_us} * {}, {last} + 1, {slide_us})", size_us / slide_us + 1);
                sized(starts, size_us, "n", "true")
            }
            Self::Cumulate { step_us, size_us, offset_us } => {
                let start = format!("((t - {offset_us}) // {size_us} * {size_us} + {offset_us})");
                format!(
                    "SELECT k, 0, any_value(s), e, {AGGREGATES}::BIGINT FROM (
                        SELECT *, {start} AS s, unnest(range({start} + {step_us}, {start} + {size_us} + 1, {step_us})) AS e
                        FROM r WHERE n > 2
                     ) WHERE e > t AND e > wb GROUP BY k, e ORDER BY k, e"
                )
            }
            Self::Session { gap_us } => by_rows(
                format!(
                    "SELECT *, max(t) OVER w + {gap_us} AS e FROM (
                        SELECT *, count(*) FILTER (WHERE is_new) OVER (PARTITION BY k, n ORDER BY o) AS w FROM (
                            SELECT *, t - lag(t) OVER (PARTITION BY k, n ORDER BY o) >= {gap_us} AS is_new FROM {on_time}
                    )) WINDOW w AS (PARTITION BY k, n, w)"
                ),
                "true".to_owned(),
                "n",
                "e",
            ),
            Self::Count { rows, slide } => by_rows(
                format!(
                    "SELECT *, unnest(range(CASE WHEN i < {rows} THEN 0 ELSE (i - {rows}) // {slide} + 1 END,
                        i // {slide} + 1)) AS w
                     FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY o) - 1 AS i FROM {on_time})"
                ),
                format!("count(*) = {rows}"),
                "(o * 0)",
                "max(o)",
            ),
            Self::State { start, end } => by_rows(
                format!(
                    "SELECT *, count(*) FILTER (WHERE starts AND NOT before) OVER (PARTITION BY k ORDER BY o) AS w FROM (
                        SELECT *, coalesce(lag(after) OVER (PARTITION BY k ORDER BY o), false) AS before FROM (
                            SELECT *, coalesce(last_value(CASE WHEN ends THEN false WHEN starts THEN true END IGNORE NULLS)
                                OVER (PARTITION BY k ORDER BY o ROWS UNBOUNDED PRECEDING), false) AS after FROM (
                                SELECT *, coalesce(v > {start}, false) AS starts, (v IS NULL OR v < {end}) AS ends FROM {on_time}
                    ))) WHERE before OR starts"
                ),
                "bool_or(ends)".to_owned(),
                "(o * 0)",
                "max(o)",
            ),
            Self::Behind { range_us } => format!(
                "SELECT k, t, v, row_number() OVER (PARTITION BY k ORDER BY o), lag(v, 2) OVER (PARTITION BY k ORDER BY o),
                    avg(v) OVER (PARTITION BY k, n ORDER BY t RANGE BETWEEN {range_us} PRECEDING AND CURRENT ROW),
                    max(v) OVER (PARTITION BY k ORDER BY t)
                 FROM {on_time} ORDER BY k, o"
            ),
            // A row that has fewer rows after it goes on waiting. It comes when the last that it needs is there.
            Self::Ahead { rows } => format!(
                "SELECT k, t, v, after, total FROM (
                    SELECT *, lead(v, {rows}) OVER (PARTITION BY k, n ORDER BY o) AS after,
                        lead(t, {rows}) OVER (PARTITION BY k, n ORDER BY o) AS seen,
                        sum(v) OVER (PARTITION BY k, n ORDER BY t RANGE BETWEEN 1000000 PRECEDING AND 2000000 FOLLOWING) AS total
                    FROM {on_time}
                 ) WHERE seen IS NOT NULL ORDER BY k, greatest(seen, t + 2000000), o"
            ),
            Self::First { size_us } => format!(
                "SELECT k, n, t, v FROM {on_time}
                 QUALIFY row_number() OVER (PARTITION BY k, n, t // {size_us} ORDER BY o) = 1 ORDER BY k, o"
            ),
        }
    }

    /// Whether a row is late, by its key's watermark.
    fn is_late(&self, row: &Reading, watermark_us: i64) -> bool {
        let last_end_us = match *self {
            Self::Hop { slide_us, size_us, offset_us } => {
                let end_us = (row.time_us - offset_us).div_euclid(slide_us) * slide_us + offset_us + size_us;
                // Between windows nothing waits for it.
                if end_us <= row.time_us {
                    return false;
                }
                end_us
            }
            Self::Cumulate { size_us, offset_us, .. } => {
                if row.count.is_none_or(|n| n <= 2) {
                    return false;
                }
                (row.time_us - offset_us).div_euclid(size_us) * size_us + offset_us + size_us
            }
            _ => return row.time_us < watermark_us,
        };
        last_end_us <= watermark_us
    }
}

/// One random stream with the queries over it.
struct Case {
    delay_us: i64,
    rows: Vec<Reading>,
    queries: Vec<Query>,
}

impl Case {
    /// Of half of the kinds of queries, so that every second case has them all.
    fn random(seed: u64, rows: std::ops::Range<i64>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = Likeness { start_us: 1_700_000_000 * SECOND, ..Likeness::random(&mut random, rows) };
        let rows = stream.readings(&mut random);
        let kinds = (0..8).filter(|kind| kind % 2 == seed as usize % 2);
        let queries = kinds.map(|kind| Query::random(&mut random, kind)).collect();
        Self { delay_us: stream.delay_us, rows, queries }
    }

    fn sql(&self, partitions: u32) -> String {
        let queries = self.queries.iter().enumerate().map(|(n, query)| query.sql(&format!("out{n}")));
        std::iter::once(create("readings", self.delay_us, "PER key", partitions)).chain(queries).collect()
    }

    /// Runs the queries with the rows in these pieces, and a crash after every so many.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]], crash_every: usize) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(30).unsynced();
        for (n, rows) in (1..).zip(pieces) {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            pipeline.settle().await;
            if n % crash_every == 0 {
                pipeline.crash().await;
                pipeline.start().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let of_partition =
            |(n, rows): (usize, Vec<Reading>)| rows.into_iter().map(move |r| (json!(r.key).to_string(), n));
        let partition_of: HashMap<String, usize> =
            stored(&log, "readings").into_iter().enumerate().flat_map(of_partition).collect();
        let mut outputs = Vec::new();
        for n in 0..self.queries.len() {
            let rows = read(&log, &log.stream(&format!("out{n}")).unwrap());
            let mut rows: Vec<Value> = rows.iter().flat_map(cells).collect();
            // How the rows of partitions interleave is their pace.
            rows.sort_by_key(|row| partition_of[&row[0].to_string()]);
            outputs.push(rows);
        }
        let late = read(&log, &log.stream("late.readings").unwrap());
        let mut late: Vec<String> = late.iter().flat_map(cells).map(|row| row.to_string()).collect();
        late.sort();
        Outcome { outputs, late }
    }

    /// The rows in the order of their times, with the watermarks of their keys; and how many are late for each query.
    fn model(&self) -> (Vec<Value>, Vec<usize>) {
        let mut watermarks: HashMap<&Option<String>, i64> = HashMap::new();
        let mut late = vec![0; self.queries.len()];
        let mut rows = Vec::new();
        for row in &self.rows {
            let watermark_us = watermarks.entry(&row.key).or_insert(i64::MIN);
            for (late, query) in late.iter_mut().zip(&self.queries) {
                *late += usize::from(query.is_late(row, *watermark_us));
            }
            rows.push((row, *watermark_us));
            *watermark_us = (*watermark_us).max(row.time_us - self.delay_us);
        }
        rows.sort_by_key(|(row, _)| row.time_us);
        let row = |(order, (row, wb)): (usize, (&Reading, i64))| {
            json!([order, row.time_us, row.key, row.value.map(float), row.count, wb])
        };
        (rows.into_iter().enumerate().map(row).collect(), late)
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    /// Per query, rows as JSON arrays, by partition.
    outputs: Vec<Vec<Value>>,
    late: Vec<String>,
}

const DUCKDB: &str = r#"
load("r", "o BIGINT, t BIGINT, k TEXT, v DOUBLE, n BIGINT, wb BIGINT", request["rows"])
found = db.execute(request["query"]).fetchall()
"#;

/// Rows by key, each key's in their order.
fn by_key(rows: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut keys: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for row in rows {
        keys.entry(row[0].to_string()).or_default().push(row);
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_agree_with_duckdb_whatever_the_batches_partitions_and_crashes() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds(CASES) {
        let case = Case::random(seed, 1..500);
        let (rows, late) = case.model();
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows], usize::MAX).await;
            for crash_every in [usize::MAX, 5] {
                let pieces = pieces(seed + u64::from(partitions), &case.rows);
                let split = case.run(partitions, &pieces, crash_every).await;
                let place = format!("seed {seed}, {partitions} partitions, a crash after {crash_every} pieces");
                for ((split, whole), query) in split.outputs.iter().zip(&whole.outputs).zip(&case.queries) {
                    assert_eq!(split, whole, "{place} {query:?}");
                }
                assert_eq!(split.late, whole.late, "{place}");
            }
            let column = |row: &String| serde_json::from_str::<Value>(row).unwrap()[5].clone();
            for (n, query) in case.queries.iter().enumerate() {
                let found = whole.late.iter().filter(|row| column(row) == json!(format!("out{n}"))).count();
                assert_eq!(found, late[n], "late rows of {query:?}, seed {seed}");
                requests.push(json!({ "rows": rows, "query": query.duckdb() }));
                checks.push((seed, partitions, *query, whole.outputs[n].clone()));
            }
        }
    }
    let mut rows = 0;
    for ((seed, partitions, query, found), expected) in checks.iter().zip(answers(DUCKDB, &requests)) {
        let place = format!("seed {seed}, {partitions} partitions, {query:?}");
        let (mut found, mut expected) = (by_key(found), by_key(&expected));
        if matches!(query, Query::Session { .. }) {
            // The end of all rows gives the sessions that a later row has ended before those that it ends itself.
            let by_end = |row: &&Value| (row[3].as_i64(), row[1].as_i64());
            found.values_mut().chain(expected.values_mut()).for_each(|rows| rows.sort_by_key(by_end));
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{place}");
        for (key, found) in &found {
            let expected = &expected[key];
            let same = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| same(f, e));
            assert!(same, "{place}, {key}\nfound {found:#?}\nexpected {expected:#?}");
            rows += found.len();
        }
    }
    assert!(rows > 100, "{rows} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_by_key_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60);
        let sql = case.sql(1 + seed as u32 % 2 * 2);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| {
            let (mut rows, late) = outputs(log, case.queries.len(), &["late.readings"]);
            // How the rows of keys interleave is the pace of their partitions.
            for rows in &mut rows {
                rows.sort_by_key(|row| row.split(',').next().map(str::to_owned));
            }
            (rows, late)
        };
        run.crash_everywhere(seed, every(23), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
}
