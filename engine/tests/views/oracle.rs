//! Windows over windows against a batch engine: random rows through two aligned windows, or an aligned one and sessions, written
//! as a subquery, as a plain view and as a materialized view; DuckDB computes both steps by the definition of a window.
//!
//! `THERMOCLINE_SEED` repeats one case; `THERMOCLINE_PYTHON` is a Python with the module duckdb (scripts/install-test-tools).

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::common::duckdb::{answers, cells, same, seeds};
use super::common::{Pipeline, read};

const CASES: u64 = 3;
/// Windows reach back before 1970 from here.
const BASE_US: i64 = -40_000_000;

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

    fn request(&self, rows: &[(String, i64, i64)]) -> Value {
        json!({
            "rows": rows, "lower": self.lower.request(), "time": self.time, "least": self.least, "from": self.from,
            "upper": self.upper.map(|window| window.request()).unwrap_or(Value::Null),
            "gap": self.upper.err(), "keyed": self.keyed,
        })
    }
}

/// Both steps, each by a join with all windows that there can be.
const DUCKDB: &str = r#"
db.execute("CREATE OR REPLACE TABLE r (key TEXT, t BIGINT, n BIGINT)")
columns = list(zip(*request["rows"])) or [[], [], []]
db.execute("INSERT INTO r SELECT unnest(?::TEXT[]), unnest(?::BIGINT[]), unnest(?::BIGINT[])", [list(c) for c in columns])
def windows(of, low, high):
    slide, size = of["slide"], of["size"]
    if of["cumulates"]:
        return [(s, s + k * slide) for s in range(low // size * size - size, high + size, size) for k in range(1, size // slide + 1)]
    return [(s, s + size) for s in range((low - size) // slide * slide - slide, high + slide, slide)]
def load(of, table, time):
    low, high = db.execute(f"SELECT coalesce(min({time}), 0), coalesce(max({time}), 0) FROM {table}").fetchone()
    all = windows(of, low, high)
    db.execute("CREATE OR REPLACE TABLE w (s BIGINT, e BIGINT)")
    db.execute("INSERT INTO w SELECT unnest(?::BIGINT[]), unnest(?::BIGINT[])", [[s for s, e in all], [e for s, e in all]])
load(request["lower"], "r", "t")
at = {"window_start": "s", "window_end": "e", "window_time": "e - 1"}[request["time"]]
db.execute(f"""CREATE OR REPLACE TABLE low AS SELECT key, {at} AS a, count(*) AS n, sum(n) AS total FROM r JOIN w ON t >= s AND t < e
    WHERE n >= {request["from"]} GROUP BY key, s, e HAVING count(*) >= {request["least"]}""")
key = "key" if request["keyed"] else "NULL::TEXT"
sums = "count(*), sum(n)::BIGINT, sum(total)::BIGINT"
if request["upper"]:
    load(request["upper"], "low", "a")
    found = db.execute(f"SELECT s, e, {key} AS k, {sums} FROM low JOIN w ON a >= s AND a < e GROUP BY s, e, k ORDER BY e, k").fetchall()
else:
    found = db.execute(f"""WITH k AS (SELECT *, {key} AS k FROM low),
        m AS (SELECT *, a - lag(a) OVER (PARTITION BY k ORDER BY a) AS gap FROM k),
        g AS (SELECT *, sum(CASE WHEN gap IS NULL OR gap >= {request["gap"]} THEN 1 ELSE 0 END) OVER (PARTITION BY k ORDER BY a RANGE UNBOUNDED PRECEDING) AS number FROM m)
        SELECT min(a) AS s, max(a) + {request["gap"]} AS e, k, {sums} FROM g GROUP BY k, number ORDER BY e, k""").fetchall()
"#;

struct Case {
    rows: Vec<(String, i64, i64)>,
    queries: Vec<Query>,
}

impl Case {
    /// Rows that are out of order and never late.
    fn random(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut now_us = BASE_US;
        let mut rows = Vec::new();
        for _ in 0..random.random_range(50..200) {
            now_us += match random.random_range(0..30) {
                0 => random.random_range(0..15_000_000),
                _ => random.random_range(0..300_000),
            };
            let key = format!("k{}", random.random_range(0..3));
            rows.push((key, now_us - random.random_range(0..1_000_000), random.random_range(0..9)));
        }
        Self { rows, queries: (0..4).map(|_| Query::random(&mut random)).collect() }
    }

    async fn run(&self, partitions: u32, batch: usize) -> Vec<Vec<Value>> {
        let mut sql = format!(
            "CREATE STREAM readings (key TEXT, ts TIMESTAMP NOT NULL, n BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1 second')
             PARTITION BY (key) WITH (partitions = {partitions}, idle_timeout = 'none');"
        );
        for (n, query) in self.queries.iter().enumerate() {
            sql += &query.sql(&format!("out{n}"), n % 3);
            sql += &query.sql(&format!("again{n}"), (n + 1) % 3);
        }
        let mut pipeline = Pipeline::new(&sql).checkpoint_rows(20).unsynced();
        let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
        for rows in self.rows.chunks(batch) {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(key, ..)| key))),
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC"),
                ),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
            ];
            pipeline
                .append_batch("readings", RecordBatch::try_new(Arc::clone(&schema), columns).unwrap())
                .await
                .unwrap();
            pipeline.settle().await;
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let rows =
            |name: String| -> Vec<Value> { read(&log, &log.stream(&name).unwrap()).iter().flat_map(cells).collect() };
        let outputs = (0..self.queries.len()).map(|n| {
            let (one, other) = (rows(format!("out{n}")), rows(format!("again{n}")));
            assert_eq!(one, other, "the same in another form: {:?}", self.queries[n]);
            one
        });
        outputs.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_over_windows_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds(CASES) {
        let case = Case::random(seed);
        for partitions in [1, 3] {
            let whole = case.run(partitions, usize::MAX).await;
            let batch = [60, 11, 31, 23][(seed as usize + partitions as usize) % 4];
            let split = case.run(partitions, batch).await;
            assert_eq!(split, whole, "seed {seed}, {partitions} partitions, batches of {batch}");
            for (query, found) in case.queries.iter().zip(whole) {
                requests.push(query.request(&case.rows));
                checks.push((format!("seed {seed}, {partitions} partitions, {query:?}"), found));
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
    assert!(std::env::var_os("THERMOCLINE_SEED").is_some() || rows > 300, "{rows} rows");
}
