//! Functions from row to row, and sensor aggregates from the first row on, on live streams: what an ad-hoc query says of the same
//! rows, whatever the batches, the disorder and the crashes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::{Pipeline, rows_of};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CALLS: &str = "had_changed(status) OVER w AS changed, had_changed(v) OVER w AS moved, deadband(v, 2.5) OVER w AS keep,
    idelta(v) OVER w AS step, irate(n, ts) OVER w AS per_second, locf(v) OVER w AS held, locf(status) OVER w AS known,
    rate(n, ts) OVER w AS rate, increase(n, ts) OVER r AS grown, delta(v, ts) OVER w AS d, ewma(v, ts, INTERVAL '3 seconds') OVER w AS smooth,
    zscore(v, ts) OVER w AS z, time_weighted_avg(v, ts) OVER w AS mean, integral(v, ts, 'linear') OVER r AS area,
    first(v, ts) OVER w AS a, last(v, ts) OVER w AS b, approx_percentile(v, 0.5) OVER w AS p";

const WINDOWS: &str = "WINDOW w AS (PARTITION BY device ORDER BY ts),
    r AS (PARTITION BY device ORDER BY ts ROWS UNBOUNDED PRECEDING)";

fn sql() -> String {
    format!(
        "CREATE STREAM readings (device TEXT, ts TIMESTAMP NOT NULL, id BIGINT, v DOUBLE, n BIGINT, status TEXT,
            WATERMARK FOR ts AS ts - INTERVAL '2 seconds') PARTITION BY (device) WITH (partitions = 1);
        CREATE STREAM results (device TEXT, ts TIMESTAMP, id BIGINT, changed BOOLEAN, moved BOOLEAN, keep BOOLEAN, step DOUBLE,
            per_second DOUBLE, held DOUBLE, known TEXT, rate DOUBLE, grown DOUBLE, d DOUBLE, smooth DOUBLE, z DOUBLE, mean DOUBLE,
            area DOUBLE, a DOUBLE, b DOUBLE, p DOUBLE);
        INSERT INTO results SELECT device, ts, id, {CALLS} FROM readings {WINDOWS};"
    )
}

/// Rows with disorder below the watermark's delay, so that none is late; each at a time of its own.
fn batch(random: &mut StdRng, rows: std::ops::Range<i64>) -> RecordBatch {
    let pick = |random: &mut StdRng, of: i64| random.random_range(0..of);
    let mut places: Vec<(i64, i64)> = rows.clone().map(|id| (id + pick(random, 12), id)).collect();
    places.sort_unstable();
    let ids: Vec<i64> = places.into_iter().map(|(_, id)| id).collect();
    let values: Vec<Option<f64>> =
        rows.clone().map(|_| (pick(random, 5) > 0).then(|| pick(random, 40) as f64 / 4.0)).collect();
    let counts: Vec<Option<i64>> = rows.clone().map(|n| (pick(random, 6) > 0).then(|| n % 50 * 3)).collect();
    let words: Vec<Option<&str>> =
        rows.clone().map(|_| [Some("on"), Some("off"), None][pick(random, 3) as usize]).collect();
    let times = ids.iter().map(|id| 1_700_000_000_000_000 + id * 100_000 + (id % 7) * 1_000);
    let columns: [(&str, ArrayRef); 6] = [
        ("device", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("dev-{}", id * 13 % 5))))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))),
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("v", Arc::new(Float64Array::from(values))),
        ("n", Arc::new(Int64Array::from(counts))),
        ("status", Arc::new(StringArray::from(words))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn append(pipeline: &mut Pipeline, rows: &RecordBatch) {
    let schema = Arc::clone(pipeline.start().await.log.stream("readings").unwrap().schema());
    let rows = RecordBatch::try_new(schema, rows.columns().to_vec()).unwrap();
    pipeline.append_batch("readings", rows).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn live_rows_have_the_results_of_an_ad_hoc_query() {
    let seed = std::env::var("THERMOCLINE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("THERMOCLINE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let parts: Vec<RecordBatch> = (0..12).map(|n| batch(&mut random, n * 50..(n + 1) * 50)).collect();
    let mut whole = Pipeline::new(&sql()).unsynced();
    for part in &parts {
        append(&mut whole, part).await;
    }
    let expected =
        rows_of(&whole.query(&format!("SELECT device, ts, id, {CALLS} FROM readings {WINDOWS} ORDER BY ts, id")).await);
    let undisturbed = whole.finish().await;
    assert_eq!(expected.len(), 600);
    assert_eq!(undisturbed["late.readings"], [""; 0]);
    assert_eq!(undisturbed["results"], expected);
    for every in [1, 3, 5] {
        let mut pipeline = Pipeline::new(&sql()).unsynced().checkpoint_rows(40);
        for (n, part) in parts.iter().enumerate() {
            append(&mut pipeline, part).await;
            pipeline.settle().await;
            if n % every == 0 {
                pipeline.crash().await;
            }
        }
        assert_eq!(pipeline.finish().await["results"], expected, "a crash after every {every} batches");
    }
}
