//! One limit for the memory of queries: the one that asks for more stops, the others go on, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Pipeline, Row};

/// One query that collects for hours, one that holds little.
const SMALL: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);
CREATE STREAM small (start_at TIMESTAMP, n BIGINT);
CREATE STREAM large (device_id TEXT, at TIMESTAMP, a DOUBLE, b DOUBLE);
INSERT INTO small SELECT window_start, count(*) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    GROUP BY window_start, window_end;
";

const WINDOWED: &str = "INSERT INTO large SELECT device_id, window_end, median(temperature), max(temperature)
    FROM HOP(readings, ts, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY device_id, window_start, window_end;
";

const OVER: &str = "INSERT INTO large SELECT device_id, ts, temperature,
    avg(temperature) OVER (PARTITION BY device_id ORDER BY ts RANGE INTERVAL '1 hour' PRECEDING) FROM readings;
";

const JOIN: &str = "INSERT INTO large SELECT a.device_id, a.ts, a.temperature, b.temperature FROM readings AS a
    LEFT JOIN readings AS b ON a.device_id = b.device_id AND b.ts BETWEEN a.ts - INTERVAL '1 second' AND a.ts + INTERVAL '1 hour'
    AND a.temperature = b.temperature + 0.5;
";

/// Readings of many devices, one every 10 ms.
fn readings(rows: std::ops::Range<i64>) -> Vec<Row> {
    let row = |n: i64| Row {
        device: format!("device {}", n * 7919 % 500),
        ts_ms: 1_700_000_000_000 + n * 10,
        temperature: (n * 31 % 977) as f64 / 2.0,
    };
    rows.map(row).collect()
}

const LIMIT_BYTES: u64 = 384 << 10;

async fn error_of(pipeline: &mut Pipeline, query: &str) -> Option<String> {
    let mut statuses = pipeline.start().await.engine.status();
    statuses.find(|(name, _)| *name == query).and_then(|(_, status)| status.error())
}

/// Feeds rows until the large query stops.
async fn stops(pipeline: &mut Pipeline, rows: &[Row]) -> String {
    for part in rows.chunks(1_000) {
        pipeline.append(part).await;
        if let Err(error) = pipeline.try_settle().await {
            return error;
        }
    }
    panic!("the limit was not reached");
}

async fn goes_on_with_more(large: &str) {
    let sql = format!("{SMALL}{large}");
    let rows = readings(0..40_000);
    let undisturbed = Pipeline::new(&sql).unsynced().run(&[&rows]).await;
    let mut pipeline = Pipeline::new(&sql).unsynced().checkpoint_rows(1_000);
    pipeline.set_memory_limit(LIMIT_BYTES);
    let error = stops(&mut pipeline, &rows).await;
    assert!(error.contains("\"large\" holds"), "{error}");
    assert!(error.contains("over the 288.0 KiB"), "{error}");
    assert!(error.contains("--memory-limit"), "{error}");
    // What has come is there, and the small one reads on.
    let came = pipeline.rows_in("readings").await as usize;
    pipeline.append(&rows[came..]).await;
    pipeline.wait_for_rows("small", 30).await;
    assert_eq!(error_of(&mut pipeline, "small").await, None);
    assert!(error_of(&mut pipeline, "large").await.is_some());
    // With the same limit it stops again, and nothing else does.
    pipeline.crash().await;
    assert!(stops_again(&mut pipeline).await.contains("\"large\" holds"));
    pipeline.crash().await;
    pipeline.set_memory_limit(1 << 30);
    pipeline.settle_started().await;
    let restarted = pipeline.finish().await;
    for stream in ["small", "large"] {
        assert!(undisturbed[stream].len() > 30, "{stream}");
        assert_eq!(restarted[stream], undisturbed[stream], "{stream}");
    }
}

async fn stops_again(pipeline: &mut Pipeline) -> String {
    pipeline.start().await;
    pipeline.try_settle().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_windowed_query_stops_at_the_limit_and_goes_on_with_more() {
    goes_on_with_more(WINDOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_stop_at_the_limit_and_go_on_with_more() {
    goes_on_with_more(OVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_stops_at_the_limit_and_goes_on_with_more() {
    goes_on_with_more(JOIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ad_hoc_query_spills_or_is_refused() {
    let mut pipeline = Pipeline::new(SMALL).unsynced();
    pipeline.set_memory_limit(64 << 20);
    for n in 0..10 {
        pipeline.append(&readings(n * 40_000..(n + 1) * 40_000)).await;
    }
    pipeline.settle().await;
    // Sorts side by side share what there is: one that comes to it last may be refused, and finds room the next time.
    let mut sorted = None;
    for _ in 0..20 {
        match pipeline.try_query("SELECT * FROM readings ORDER BY temperature, ts").await {
            Ok(rows) => sorted = Some(rows),
            Err(error) => assert!(error.to_string().contains("Failed to allocate"), "{error}"),
        }
    }
    let sorted = sorted.expect("none of the sorts found room");
    assert_eq!(sorted.iter().map(|rows| rows.num_rows()).sum::<usize>(), 400_000);
    for refused in [
        "SELECT array_agg(device_id || temperature || ts || device_id) FROM readings",
        "SELECT *, sum(temperature) OVER () FROM readings",
        "SELECT device_id, array_agg(ts), count(temperature) FROM SESSION(readings, ts, INTERVAL '1 hour') \
         GROUP BY device_id, window_start, window_end",
    ] {
        let error = pipeline.try_query(refused).await.expect_err(refused).to_string();
        assert!(error.contains("Resources exhausted"), "{refused}: {error}");
    }
    // What was refused holds nothing any more.
    pipeline.try_query("SELECT count(*) FROM readings").await.unwrap();
    let spill = pipeline.dir().join("log").join("spill");
    let left: Vec<_> = std::fs::read_dir(&spill).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.len() <= 1, "{left:?}");
    assert!(left.iter().all(|dir| std::fs::read_dir(dir).unwrap().next().is_none()), "files stay in {left:?}");
    // What another process left is gone at the next start.
    std::fs::write(spill.join("left"), "rows").unwrap();
    pipeline.crash().await;
    pipeline.start().await;
    assert!(!spill.join("left").exists());
}
