//! The aggregates for sensors against a batch engine: random streams (`common/readings.rs`: disorder, late rows, rows that come twice,
//! NULL, NaN, infinities) through windows; DuckDB computes the same with window functions of its own.
//!
//! `THERMOCLINE_SEED` repeats one case, `THERMOCLINE_SEEDS` tries so many; `THERMOCLINE_PYTHON` is a Python with the module duckdb
//! (scripts/install-test-tools).

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::crash_points::exact;
use common::duckdb::{answers, cells, float, seeds};
use common::readings::{Likeness, Reading, batch, create, pieces, stored};
use common::{Pipeline, read};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

const CASES: u64 = 6;

const SIZE_US: i64 = 10_000_000;

/// One random stream, and how windows move over it.
struct Case {
    delay_us: i64,
    slide_us: i64,
    rows: Vec<Reading>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let stream = Likeness::random(&mut random, 1..400);
        let slide_us = [SIZE_US, SIZE_US / 4][seed as usize % 2];
        Self { delay_us: stream.delay_us, slide_us, rows: stream.readings(&mut random) }
    }

    fn sql(&self, partitions: u32) -> String {
        let slide = self.slide_us;
        format!(
            "{}
             CREATE STREAM found (s TIMESTAMP, key TEXT, first DOUBLE, last DOUBLE, delta DOUBLE, increase DOUBLE, rate DOUBLE,
                area DOUBLE, mean DOUBLE, straight DOUBLE, z DOUBLE, p0 DOUBLE, p50 DOUBLE, p95 DOUBLE, smooth DOUBLE);
             INSERT INTO found SELECT window_start, key, first(v, ts), last(v, ts), delta(v, ts), increase(v, ts), rate(v, ts),
                integral(v, ts), time_weighted_avg(v, ts), integral(v, ts, 'linear'), zscore(v, ts),
                approx_percentile(v, 0), approx_percentile(v, 0.5), approx_percentile(v, 0.95, 0.05),
                ewma(v, ts, INTERVAL '3 seconds')
             FROM HOP(readings, ts, INTERVAL '{slide} microseconds', INTERVAL '{SIZE_US} microseconds')
             GROUP BY key, window_start, window_end;",
            create("readings", self.delay_us, "", partitions)
        )
    }

    /// What the query emits, as cells and to the bit; and the rows of each partition.
    async fn run(&self, partitions: u32, pieces: &[&[Reading]], crashes: bool) -> Outcome {
        let mut pipeline = Pipeline::new(&self.sql(partitions)).checkpoint_rows(40).unsynced();
        for (n, rows) in pieces.iter().enumerate() {
            pipeline.append_batch("readings", batch(rows)).await.unwrap();
            pipeline.settle().await;
            if crashes && n % 3 == 2 {
                pipeline.crash().await;
            }
        }
        pipeline.finish_queries().await.unwrap();
        let log = pipeline.start().await.log.clone();
        let found = read(&log, &log.stream("found").unwrap());
        let outcome = Outcome {
            partitions: stored(&log, "readings"),
            exact: exact(&found),
            rows: found.iter().flat_map(cells).collect(),
        };
        pipeline.crash().await;
        outcome
    }

    /// The values with the windows that take each of them: those that the watermark of the rows before it in its own partition
    /// has not passed.
    fn admitted(&self, partitions: &[Vec<Reading>]) -> Vec<Value> {
        let mut admitted = Vec::new();
        for partition in partitions {
            let mut watermark_us = i64::MIN;
            for row in partition {
                let last_us = row.time_us.div_euclid(self.slide_us) * self.slide_us;
                let starts = (0..SIZE_US / self.slide_us).map(|n| last_us - n * self.slide_us);
                for start_us in starts.filter(|start_us| start_us + SIZE_US > watermark_us) {
                    admitted.push(json!([start_us, row.key, row.time_us, row.value.map(float)]));
                }
                watermark_us = watermark_us.max(row.time_us - self.delay_us);
            }
        }
        admitted
    }
}

struct Outcome {
    partitions: Vec<Vec<Reading>>,
    exact: Vec<String>,
    rows: Vec<Value>,
}

/// By definition: samples in the order of time and value, each with the one before and after it. What is computed of NaN is
/// NaN, and an infinity less an infinity is; DuckDB takes NaN for a greatest number where it compares, and refuses to find
/// a deviation of infinities.
const DUCKDB: &str = r#"
import math
load("r", "s BIGINT, key TEXT, us BIGINT, v DOUBLE", request["rows"])
db.execute("""CREATE OR REPLACE VIEW samples AS SELECT s, key, us, us / 1e6 AS t, v,
        lag(v) OVER w AS before, lead(v) OVER w AS after, lead(us) OVER w / 1e6 AS next, row_number() OVER w AS n
    FROM r WHERE v IS NOT NULL WINDOW w AS (PARTITION BY s, key ORDER BY us, v)""")
smooth = {}
for s, key, us, v in db.execute("SELECT s, key, us, v FROM samples ORDER BY s, key, n").fetchall():
    e, last = smooth.get((s, key), (v, us))
    smooth[s, key] = (e + (1 - math.exp((last - us) / 3e6)) * (v - e) if us > last else e, us)
found = db.execute("""SELECT s, key, arg_min(v, n), arg_max(v, n), arg_max(v, n) - arg_min(v, n),
        sum(CASE WHEN isnan(v) THEN v WHEN before IS NULL THEN 0 WHEN v < before THEN v ELSE v - before END) AS grown,
        CASE WHEN max(t) > min(t) THEN grown / (max(t) - min(t)) END,
        coalesce(sum(CASE WHEN next > t THEN v * (next - t) END), 0) AS area,
        CASE WHEN max(t) > min(t) THEN area / (max(t) - min(t)) ELSE arg_max(v, n) END,
        coalesce(sum(CASE WHEN next > t THEN (v + after) / 2 * (next - t) END), 0),
        CASE WHEN count(*) < 2 THEN NULL WHEN bool_or(NOT isfinite(v)) THEN 'nan'::DOUBLE
            WHEN stddev_samp(CASE WHEN isfinite(v) THEN v END) > 0
            THEN (arg_max(v, n) - avg(v)) / stddev_samp(CASE WHEN isfinite(v) THEN v END) END,
        quantile_disc(v, 0), quantile_disc(v, 0.5), quantile_disc(v, 0.95)
    FROM samples GROUP BY s, key ORDER BY s, key NULLS FIRST""").fetchall()
found = [row + (smooth[row[0], row[1]][0],) for row in found]
"#;

/// The columns after window and key, with how far each may be off in proportion.
const COLUMNS: [(&str, f64); 13] = [
    ("first", 0.0),
    ("last", 0.0),
    ("delta", 0.0),
    ("increase", 1e-9),
    ("rate", 1e-9),
    ("area", 1e-9),
    ("mean", 1e-9),
    ("straight", 1e-9),
    ("z", 1e-9),
    ("p0", 0.01),
    ("p50", 0.01),
    ("p95", 0.05),
    ("smooth", 1e-9),
];

fn compare(place: &str, found: &[Value], expected: &[Value]) {
    // Groups without any value are the engine's only.
    let mut found: Vec<&Value> = found.iter().filter(|row| !row[2].is_null()).collect();
    found.sort_by_key(|row| (row[0].as_i64(), row[1].as_str()));
    assert_eq!(found.len(), expected.len(), "{place}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found[0], &found[1]), (&expected[0], &expected[1]), "{place}");
        for (n, (column, error)) in COLUMNS.iter().enumerate() {
            let (found_value, expected) = (&found[n + 2], &expected[n + 2]);
            let is_close = match (found_value.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => (found - expected).abs() <= error * expected.abs().max(1.0),
                // NULL, NaN and infinities.
                _ => found_value == expected,
            };
            assert!(is_close, "{place}, {column}: {expected} expected, found {found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sensor_aggregates_agree_with_duckdb_whatever_the_batches_and_partitions() {
    let (mut requests, mut checks) = (Vec::new(), Vec::new());
    for seed in seeds(CASES) {
        let case = Case::random(seed);
        for partitions in [1, 3] {
            let whole = case.run(partitions, &[&case.rows], false).await;
            for crashes in [false, true] {
                let pieces = pieces(seed + u64::from(partitions), &case.rows);
                let split = case.run(partitions, &pieces, crashes).await;
                assert_eq!(split.exact, whole.exact, "seed {seed}, {partitions} partitions, crashes: {crashes}");
            }
            requests.push(json!({ "rows": case.admitted(&whole.partitions) }));
            checks.push((format!("seed {seed}, {partitions} partitions"), whole.rows));
        }
    }
    for ((place, found), expected) in checks.iter().zip(&answers(DUCKDB, &requests)) {
        compare(place, found, expected);
    }
}
