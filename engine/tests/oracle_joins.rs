//! Joins of streams against a batch engine: random streams (`common/readings.rs`), some much sparser than the other, through interval,
//! window and as-of joins; DuckDB joins the rows that are not late. Then the same kind of joins with a crash at the operations
//! of the disk.
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

const CASES: u64 = 8;
const CRASHED_CASES: u64 = 2;
const STREAMS: [&str; 2] = ["l", "r"];

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
        let key = if self.keyed { "a.key = b.key" } else { "a.id > -1 AND b.id > -1" };
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
             INSERT INTO {name} SELECT a.id, b.id, a.ts, b.ts, a.v + b.v FROM {from};\n"
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
                    "SELECT a.id, b.id, a.ts, b.ts, a.v + b.v FROM l AS a {join} JOIN {right} AS b
                     ON {key} AND a.ts - b.ts BETWEEN {min_us} AND {max_us} {residual}"
                )
            }
            Near::Window { size_us } => {
                format!(
                    "SELECT a.id, b.id, a.ts, b.ts, a.v + b.v FROM l AS a {join} JOIN {right} AS b
                     ON {key} AND floor(a.ts / {size_us}.0) = floor(b.ts / {size_us}.0) {residual}"
                )
            }
            Near::AsOf { strictly, max_age_us } => {
                let op = if strictly { ">" } else { ">=" };
                let age = max_age_us.map_or("true".to_owned(), |age| format!("a.ts - b.ts <= {age}"));
                // Of rows of one time and key, the one that came last.
                format!(
                    "SELECT id, young.id, ts, young.ts, v + young.v FROM (
                        SELECT a.*, CASE WHEN {age} THEN b.last END AS young FROM l AS a ASOF LEFT JOIN (
                            SELECT key, ts, arg_max(r, seq) AS last FROM {right} AS r WHERE key IS NOT NULL GROUP BY key, ts
                        ) AS b ON a.key = b.key AND a.ts {op} b.ts)"
                )
            }
        }
    }
}

/// Two random streams with the joins of them.
struct Case {
    delays_us: [i64; 2],
    rows: [Vec<Reading>; 2],
    queries: Vec<Query>,
    sql: String,
}

impl Case {
    fn random(seed: u64, partitions: u32, rows: std::ops::Range<i64>, queries: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let keys = random.random_range(1..5);
        let streams = STREAMS.map(|_| {
            let pace_us = [50_000, 200_000, 900_000][random.random_range(0..3)];
            // One infinity: of two that cancel each other the sign is the machine's affair.
            Likeness { keys, pace_us, infinity: f64::INFINITY, ..Likeness::random(&mut random, rows.clone()) }
        });
        let rows = streams.map(|stream| stream.readings(&mut random));
        let delays_us = streams.map(|stream| stream.delay_us);
        let declared = STREAMS.iter().zip(delays_us).map(|(name, delay_us)| create(name, delay_us, "", partitions));
        let mut sql: String = declared.collect();
        let queries: Vec<Query> = (0..queries).map(|_| Query::random(&mut random)).collect();
        for (n, query) in queries.iter().enumerate() {
            sql += &query.sql(&format!("out{n}"), &mut random);
        }
        Self { delays_us, rows, queries, sql }
    }

    /// The rows of both streams in pieces.
    fn pieces(&self, seed: u64) -> [(&'static str, Vec<&[Reading]>); 2] {
        [0, 1].map(|n| (STREAMS[n], pieces(seed + n as u64, &self.rows[n])))
    }

    /// Runs the queries with the rows in these pieces, now of one stream, now of the other.
    async fn run(&self, streams: &[(&'static str, Vec<&[Reading]>)]) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql).checkpoint_rows(60).unsynced();
        for n in 0..streams.iter().map(|(_, pieces)| pieces.len()).max().unwrap() {
            for (stream, pieces) in streams.iter().filter(|(_, pieces)| n < pieces.len()) {
                pipeline.append_batch(stream, batch(pieces[n])).await.unwrap();
                pipeline.settle().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let outputs = (0..self.queries.len()).map(|n| read(&log, &log.stream(&format!("out{n}")).unwrap()));
        let late =
            STREAMS.map(|name| common::rows_of(&read(&log, &log.stream(&format!("late.{name}")).unwrap())).len());
        Outcome {
            partitions: STREAMS.map(|name| stored(&log, name)),
            outputs: outputs.map(|batches| batches.iter().flat_map(cells).collect()).collect(),
            late,
        }
    }
}

struct Outcome {
    /// Per stream and partition, its rows in their order.
    partitions: [Vec<Vec<Reading>>; 2],
    /// Per query, rows as JSON arrays.
    outputs: Vec<Vec<Value>>,
    late: [usize; 2],
}

/// Joins the rows that are not late.
const DUCKDB: &str = r#"
load("l", request["columns"], request["l"])
load("r", request["columns"], request["r"])
found = db.execute(request["sql"]).fetchall()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn joins_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds(CASES) {
        for partitions in [1, 3] {
            let case = Case::random(seed, partitions, 0..250, 4);
            let whole = case.run(&[0, 1].map(|n| (STREAMS[n], vec![&case.rows[n][..]]))).await;
            let split = case.run(&case.pieces(seed + u64::from(partitions))).await;
            let place = format!("seed {seed}, {partitions} partitions");
            assert_eq!(split.outputs, whole.outputs, "{place}\n{}", case.sql);
            assert_eq!(split.late, whole.late, "{place}");
            let [left, right] = [0, 1].map(|n| in_time(&whole.partitions[n], case.delays_us[n], |_| true));
            let of_left: usize = case.queries.iter().map(|query| 1 + usize::from(query.with_itself)).sum();
            let of_right = case.queries.iter().filter(|query| !query.with_itself).count();
            assert_eq!(whole.late, [left.1 * of_left, right.1 * of_right], "late rows, {place}");
            for (query, rows) in case.queries.iter().zip(whole.outputs) {
                let (left, right) = (table(&left.0), table(&right.0));
                requests.push(json!({ "columns": TABLE, "l": left, "r": right, "sql": query.oracle() }));
                checks.push((format!("{place}, {query:?}\n{}", case.sql), rows));
            }
        }
    }
    let answers = answers(DUCKDB, &requests);
    assert_eq!(answers.len(), checks.len());
    let mut matched = 0;
    for ((place, mut found), mut expected) in checks.into_iter().zip(answers) {
        let numbers = |row: &Value| [row[0].as_i64(), row[1].as_i64()];
        found.sort_by_key(numbers);
        expected.sort_by_key(numbers);
        assert_eq!(found.len(), expected.len(), "{place}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(same(found, expected), "found {found}, expected {expected}, {place}");
        }
        matched += found.iter().filter(|row| numbers(row).iter().all(Option::is_some)).count();
    }
    assert!(!all_seeds() || matched > 1_000, "{matched} pairs");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_joins_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 1 + seed as u32 % 2 * 2, 20..40, 3);
        let run = Run::new(&case.sql, 20, &case.pieces(seed));
        let outcome = |log: &Log| outputs(log, case.queries.len(), &["late.l", "late.r"]);
        run.crash_everywhere(seed, every(23), &format!("seed {seed}\n{}", case.sql), &outcome).await;
    }
}
