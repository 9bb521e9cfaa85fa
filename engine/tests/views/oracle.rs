//! Windows over windows against a batch engine: random streams (`common/readings.rs`) through two aligned windows, or an aligned one and
//! sessions, written as a subquery, as a plain view and as a materialized view; DuckDB computes both steps by the definition of
//! a window, over the rows that are not late. Then the same kind of queries with a crash at the operations of the disk.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many, `THERMOCLINE_CRASH_EVERY=1` crashes at every operation;
//! `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use thermocline_log::Log;

use super::common::crash_points::{Run, every, outputs};
use super::common::duckdb::{all_seeds, answers, cells, same, seeds};
use super::common::readings::{Likeness, Reading, batch, create, pieces, stored};
use super::common::{Pipeline, read};

const CASES: u64 = 3;
const CRASHED_CASES: u64 = 2;

/// Windows whose borders the clock gives.
#[derive(Debug, Clone, Copy)]
struct Aligned {
    slide_us: i64,
    size_us: i64,
    cumulates: bool,
}

impl Aligned {
    fn random(random: &mut StdRng, sizes: &[i64]) -> Self {
        let size_us = sizes[random.random_range(0..sizes.len())];
        match random.random_range(0..4) {
            0 => Self { slide_us: size_us / 4, size_us, cumulates: false },
            1 => Self { slide_us: size_us * 2 / 3, size_us, cumulates: false },
            2 => Self { slide_us: size_us / 5, size_us, cumulates: true },
            _ => Self { slide_us: size_us, size_us, cumulates: false },
        }
    }

    fn sql(&self, input: &str, time: &str) -> String {
        let Self { slide_us, size_us, cumulates } = self;
        let lengths = format!("INTERVAL '{slide_us} microseconds', INTERVAL '{size_us} microseconds'");
        match slide_us == size_us {
            _ if *cumulates => format!("CUMULATE({input}, {time}, {lengths})"),
            true => format!("TUMBLE({input}, {time}, INTERVAL '{size_us} microseconds')"),
            false => format!("HOP({input}, {time}, {lengths})"),
        }
    }

    fn request(&self) -> Value {
        json!({ "slide": self.slide_us, "size": self.size_us, "cumulates": self.cumulates })
    }
}

#[derive(Debug, Clone, Copy)]
struct Query {
    lower: Aligned,
    /// Sessions with this gap where there are no aligned windows.
    upper: Result<Aligned, i64>,
    /// `window_start`, `window_end` or `window_time` of the lower windows.
    time: &'static str,
    keyed: bool,
    /// The least count that HAVING lets through.
    least: i64,
    /// The least value that WHERE lets through.
    from: i64,
}

impl Query {
    fn random(random: &mut StdRng) -> Self {
        let lower = Aligned::random(random, &[1_000_000, 600_000, 2_000_000]);
        let upper = match random.random_range(0..3) {
            0 => Err([1, 700_000, 2_500_000][random.random_range(0..3)]),
            _ => Ok(Aligned::random(random, &[3_000_000, 10_000_000, 1_100_000])),
        };
        // Cumulating windows begin together: as one time of many rows, sessions are the same in any order of them.
        let time = ["window_start", "window_end", "window_time"][random.random_range(0..3)];
        let (keyed, least) = (random.random(), [0, 2, 5][random.random_range(0..3)]);
        Self { lower, upper, time, keyed, least, from: [0, 0, 6][random.random_range(0..3)] }
    }

    fn below(&self) -> String {
        format!(
            "SELECT key, {} AS at, count(*) AS n, sum(n) AS total FROM {} WHERE n >= {}
             GROUP BY key, window_start, window_end, window_time HAVING count(*) >= {}",
            self.time,
            self.lower.sql("readings", "ts"),
            self.from,
            self.least
        )
    }

    fn above(&self, input: &str, time: &str) -> String {
        let window = match self.upper {
            Ok(window) => window.sql(input, time),
            Err(gap_us) => format!("SESSION({input}, {time}, INTERVAL '{gap_us} microseconds')"),
        };
        let (key, group) = if self.keyed { ("key", "key, ") } else { ("CAST(NULL AS TEXT)", "") };
        format!(
            "SELECT window_start AS s, window_end AS e, {key} AS key, count(*) AS windows, sum(n) AS n, sum(total) AS total
             FROM {window} GROUP BY {group}window_start, window_end"
        )
    }

    /// The query in the form of this number, into the stream `name`.
    fn sql(&self, name: &str, form: usize) -> String {
        let target = format!(
            "CREATE STREAM {name} (s TIMESTAMP, e TIMESTAMP, key TEXT, windows BIGINT, n BIGINT, total BIGINT);"
        );
        let below = self.below();
        match form {
            0 => format!("{target} INSERT INTO {name} {};", self.above(&format!("({below})"), "at")),
            1 => format!(
                "{target} CREATE VIEW {name}_below AS {below}; INSERT INTO {name} {};",
                self.above(&format!("{name}_below"), "at")
            ),
            _ => format!(
                "{target} CREATE MATERIALIZED VIEW {name}_below AS {}; INSERT INTO {name} {};",
                below.replace(&format!("{} AS at", self.time), "window_start, window_end, window_time"),
                self.above(&format!("{name}_below"), self.time)
            ),
        }
    }

    fn request(&self, rows: &[Value]) -> Value {
        json!({
            "rows": rows, "lower": self.lower.request(), "time": self.time, "least": self.least, "from": self.from,
            "upper": self.upper.map(|window| window.request()).unwrap_or(Value::Null),
            "gap": self.upper.err(), "keyed": self.keyed,
        })
    }
}

/// Both steps, each over the windows of every row; `wb` is the watermark that the rows before a row had made.
const DUCKDB: &str = r#"
load("r", "key TEXT, t BIGINT, n BIGINT, wb BIGINT", request["rows"])
def windows(of, table, time):
    slide, size = of["slide"], of["size"]
    first = lambda step: f"({time} - ({time} % {step} + {step}) % {step})"
    if of["cumulates"]:
        ends = f"range({first(size)} + {slide}, {first(size)} + {size} + 1, {slide})"
        return f"(SELECT * FROM (SELECT *, {first(size)} AS s, unnest({ends}) AS e FROM {table}) WHERE e > {time})"
    starts = f"range({first(slide)} - {slide} * {size // slide + 1}, {first(slide)} + 1, {slide})"
    return f"(SELECT *, s + {size} AS e FROM (SELECT *, unnest({starts}) AS s FROM {table}) WHERE s + {size} > {time})"
at = {"window_start": "s", "window_end": "e", "window_time": "e - 1"}[request["time"]]
db.execute(f"""CREATE OR REPLACE TABLE low AS SELECT key, {at} AS a, count(*) AS n, sum(n) AS total FROM {windows(request["lower"], "r", "t")}
    WHERE e > wb AND n >= {request["from"]} GROUP BY key, s, e HAVING count(*) >= {request["least"]}""")
key = "key" if request["keyed"] else "NULL::TEXT"
sums = "count(*), sum(n)::BIGINT, sum(total)::BIGINT"
if request["upper"]:
    found = db.execute(f"SELECT s, e, {key} AS k, {sums} FROM {windows(request['upper'], 'low', 'a')} GROUP BY s, e, k ORDER BY e, k NULLS FIRST").fetchall()
else:
    found = db.execute(f"""WITH k AS (SELECT *, {key} AS k FROM low),
        m AS (SELECT *, a - lag(a) OVER (PARTITION BY k ORDER BY a) AS gap FROM k),
        g AS (SELECT *, sum(CASE WHEN gap IS NULL OR gap >= {request["gap"]} THEN 1 ELSE 0 END) OVER (PARTITION BY k ORDER BY a RANGE UNBOUNDED PRECEDING) AS number FROM m)
        SELECT min(a) AS s, max(a) + {request["gap"]} AS e, k, {sums} FROM g GROUP BY k, number ORDER BY e, k NULLS FIRST""").fetchall()
"#;

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

    /// Each query in two of its forms.
    fn sql(&self, partitions: u32) -> String {
        let mut sql = create("readings", self.delay_us, "", partitions);
        let queries = self.queries.len();
        for (n, query) in self.queries.iter().enumerate() {
            sql += &query.sql(&format!("out{n}"), n % 3);
            sql += &query.sql(&format!("out{}", queries + n), (n + 1) % 3);
        }
        sql
    }

    /// What comes of the queries, the rows in these pieces; and the rows of each partition.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]]) -> (Vec<Vec<Value>>, Vec<Vec<Reading>>) {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(20).unsynced();
        for rows in pieces {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            pipeline.settle().await;
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let rows = |n: usize| -> Vec<Value> {
            read(&log, &log.stream(&format!("out{n}")).unwrap()).iter().flat_map(cells).collect()
        };
        let outputs = (0..self.queries.len()).map(|n| {
            let (one, other) = (rows(n), rows(self.queries.len() + n));
            assert_eq!(one, other, "the same in another form: {:?}", self.queries[n]);
            one
        });
        (outputs.collect(), stored(&log, "readings"))
    }

    fn requested(&self, partitions: &[Vec<Reading>]) -> Vec<Value> {
        let mut rows = Vec::new();
        for partition in partitions {
            let mut watermark_us = i64::MIN;
            for row in partition {
                rows.push(json!([row.key, row.time_us, row.count, watermark_us]));
                watermark_us = watermark_us.max(row.time_us - self.delay_us);
            }
        }
        rows
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_over_windows_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds(CASES) {
        let case = Case::random(seed, 50..200, 4);
        for partitions in [1, 3] {
            let (whole, rows) = case.run(partitions, &[&case.rows]).await;
            let (split, _) = case.run(partitions, &pieces(seed + u64::from(partitions), &case.rows)).await;
            let place = format!("seed {seed}, {partitions} partitions");
            assert_eq!(split, whole, "{place}");
            for (query, found) in case.queries.iter().zip(whole) {
                requests.push(query.request(&case.requested(&rows)));
                checks.push((format!("{place}, {query:?}"), found));
            }
        }
    }
    let expected = answers(DUCKDB, &requests);
    assert_eq!(expected.len(), checks.len());
    let mut rows = 0;
    for ((place, found), expected) in checks.iter().zip(&expected) {
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(same(found, expected), "{place}, row {n}: found {found}, expected {expected}");
        }
        assert_eq!(found.len(), expected.len(), "{place}");
        rows += found.len();
    }
    assert!(!all_seeds() || rows > 300, "{rows} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_windows_over_windows_are_the_same_after_a_crash_at_any_write_or_sync() {
    for seed in seeds(CRASHED_CASES) {
        let case = Case::random(seed, 30..60, 2);
        let sql = case.sql(1 + seed as u32 % 2 * 2);
        let run = Run::new(&sql, 20, &[("readings", pieces(seed, &case.rows))]);
        let outcome = |log: &Log| outputs(log, 2 * case.queries.len(), &["late.readings"]);
        run.crash_everywhere(seed, every(37), &format!("seed {seed}\n{sql}"), &outcome).await;
    }
}
