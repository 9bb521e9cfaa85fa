//! Continuous queries over a real log: rows in, rows out, whatever the batches, partitions, crashes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Pipeline, Row, rows_of};

const STREAM: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 1);
CREATE STREAM tens (start_at TIMESTAMP, device_id TEXT, n BIGINT, mean DOUBLE, spread DOUBLE);
CREATE STREAM sliding (end_at TIMESTAMP, device_id TEXT, n BIGINT, spread DOUBLE);
CREATE STREAM hot (device_id TEXT, ts TIMESTAMP, temperature DOUBLE);
INSERT INTO tens SELECT window_start, device_id, count(*), avg(temperature), stddev(temperature)
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device_id, window_start, window_end;
INSERT INTO sliding SELECT window_end, device_id, count(*), stddev(temperature)
    FROM HOP(readings, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY device_id, window_start, window_end;
INSERT INTO hot SELECT device_id, ts, temperature FROM readings WHERE temperature > 85;
";

/// Readings of four devices with up to 2 s of disorder, and some that are too late.
fn readings(count: i64) -> Vec<Row> {
    let mut state = 12345_u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    (0..count)
        .map(|n| {
            let late = if random() % 97 == 0 { 45_000 } else { random() % 2_000 };
            Row {
                device: format!("dev-{}", random() % 4),
                ts_ms: 1_700_000_000_000 + n * 100 - late,
                temperature: 60.0 + (random() % 3_000) as f64 / 100.0,
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_filters_and_late_rows_do_not_depend_on_batches() {
    let rows = readings(3_000);
    let whole = Pipeline::new(STREAM).run(&[&rows]).await;
    assert!(whole["tens"].len() > 80, "{} windows", whole["tens"].len());
    assert!(whole["sliding"].len() > whole["tens"].len());
    assert!(!whole["late.readings"].is_empty());
    for size in [1, 7, 250, 999] {
        let batches: Vec<&[Row]> = rows.chunks(size).collect();
        let split = Pipeline::new(STREAM).run(&batches).await;
        for stream in ["tens", "sliding", "hot"] {
            assert_eq!(split[stream], whole[stream], "{stream} in batches of {size}");
        }
        // Two queries write their late rows side by side: each one's are in order.
        let sorted = |rows: &[String]| {
            let mut rows = rows.to_vec();
            rows.sort();
            rows
        };
        assert_eq!(sorted(&split["late.readings"]), sorted(&whole["late.readings"]), "late in batches of {size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_at_any_row_changes_nothing() {
    let rows = readings(1_500);
    let undisturbed = Pipeline::new(STREAM).checkpoint_rows(200).run(&[&rows]).await;
    for cut in [1, 199, 200, 201, 640, 1_000, 1_499] {
        let mut pipeline = Pipeline::new(STREAM).checkpoint_rows(200);
        pipeline.append(&rows[..cut]).await;
        pipeline.settle().await;
        pipeline.crash().await;
        pipeline.append(&rows[cut..]).await;
        let restarted = pipeline.finish().await;
        for stream in ["tens", "sliding", "hot"] {
            assert_eq!(restarted[stream], undisturbed[stream], "{stream}, restarted after row {cut}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_after_every_few_rows_change_nothing() {
    let rows = readings(1_200);
    let undisturbed = Pipeline::new(STREAM).checkpoint_rows(64).run(&[&rows]).await;
    let mut pipeline = Pipeline::new(STREAM).checkpoint_rows(64);
    for part in rows.chunks(53) {
        pipeline.append(part).await;
        pipeline.settle().await;
        pipeline.crash().await;
    }
    let restarted = pipeline.finish().await;
    for stream in ["tens", "sliding", "hot"] {
        assert_eq!(restarted[stream], undisturbed[stream], "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_partitions_does_not_matter_for_rows_in_time() {
    let mut rows = readings(2_000);
    rows.retain(|row| row.ts_ms % 7 != 0);
    rows.sort_by_key(|row| row.ts_ms);
    let one = Pipeline::new(STREAM).run(&[&rows]).await;
    assert!(one["late.readings"].is_empty());
    for partitions in [2, 3, 5] {
        let sql = STREAM.replace("partitions = 1", &format!("partitions = {partitions}"));
        let several = Pipeline::new(&sql).run(&rows.chunks(300).collect::<Vec<_>>()).await;
        for stream in ["tens", "sliding"] {
            assert_eq!(several[stream], one[stream], "{stream} with {partitions} partitions");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_live_are_one_table() {
    let rows = readings(500);
    let mut pipeline = Pipeline::new(STREAM);
    pipeline.append(&rows[..300]).await;
    pipeline.append(&rows[300..]).await;
    let found = pipeline.query("SELECT count(*) AS n, count(DISTINCT device_id) AS devices FROM readings").await;
    assert_eq!(rows_of(&found), [r#"{"n":500,"devices":4}"#]);
    let windows = pipeline
        .query("SELECT window_start, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY window_start, window_end")
        .await;
    assert_eq!(rows_of(&windows).len(), 1);
}

const TWO_PARTITIONS: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2, idle_timeout = '30 seconds');
CREATE STREAM tens (start_at TIMESTAMP, device_id TEXT, n BIGINT);
INSERT INTO tens SELECT window_start, device_id, count(*)
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device_id, window_start, window_end;
";

fn reading(device: &str, seconds: i64) -> Row {
    Row { device: device.into(), ts_ms: 1_700_000_000_000 + seconds * 1000, temperature: 1.0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_partition_stops_holding_the_others_back_and_a_replay_repeats_it() {
    use std::time::Duration;
    // dev-0 and dev-1 are in different partitions.
    let mut pipeline = Pipeline::new(TWO_PARTITIONS).checkpoint_rows(1_000);
    pipeline.append(&[reading("dev-0", 0), reading("dev-1", 0)]).await;
    pipeline.append(&[reading("dev-0", 40)]).await;
    pipeline.settle().await;
    assert_eq!(pipeline.rows("tens").await, [] as [&str; 0], "dev-1's partition holds the watermark back");
    pipeline.clock.advance(Duration::from_secs(31));
    // The row that wakes the query comes to the other partition: dev-1's is idle when it is read.
    pipeline.append(&[reading("dev-0", 41)]).await;
    pipeline.wait_for_rows("tens", 2).await;
    pipeline.crash().await;
    // Late by the decision, which the replay knows of: no row of its own partition made it so.
    pipeline.append(&[reading("dev-1", 5), reading("dev-1", 45)]).await;
    let streams = pipeline.finish().await;
    assert_eq!(streams["late.readings"].len(), 1, "{:?}", streams["late.readings"]);
    let first = streams["tens"].iter().filter(|row| row.contains("22:13:20Z")).count();
    assert_eq!(first, 2, "{:?}", streams["tens"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_query_goes_on_where_the_old_one_stopped() {
    let rows = readings(1_500);
    let (before, after) = rows.split_at(700);
    let mut pipeline = Pipeline::new(STREAM).checkpoint_rows(100);
    pipeline.append(before).await;
    pipeline.settle().await;
    let emitted = pipeline.rows("tens").await;
    pipeline.crash().await;
    let doubled = STREAM.replace("device_id, count(*), avg", "device_id, 2 * count(*), avg");
    let mut pipeline = pipeline.with_sql(&doubled);
    pipeline.append(after).await;
    let changed = pipeline.finish().await;
    let whole = Pipeline::new(&doubled).checkpoint_rows(100).run(&[&rows]).await;
    assert!(!emitted.is_empty());
    assert_eq!(changed["tens"][..emitted.len()], emitted, "what was emitted stays");
    assert_eq!(changed["tens"][emitted.len()..], whole["tens"][emitted.len()..], "the windows after it are complete");
    assert_eq!(changed["sliding"], whole["sliding"], "the other query is not touched");
}

/// Between two ticks of the clock changes gather; a window's result does not wait for one.
#[tokio::test(flavor = "multi_thread")]
async fn early_results_come_at_the_pace_of_the_clock() {
    let sql = "CREATE STREAM readings (
            device TEXT, ts TIMESTAMP NOT NULL, temperature DOUBLE, WATERMARK FOR ts AS ts
        ) WITH (idle_timeout = 'none');
        CREATE SINK paced WITH (connector = 'console');
        INSERT INTO paced SELECT device, window_end AS e, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
        GROUP BY device, window_start, window_end EMIT EVERY INTERVAL '5 seconds';";
    let mut pipeline = Pipeline::new(sql);
    let row = |device: &str, ts_ms: i64| Row { device: device.into(), ts_ms, temperature: 1.0 };
    let result = |device: &str, n: i64| format!(r#"{{"device":"{device}","e":"1970-01-01T00:00:10Z","n":{n}}}"#);

    pipeline.append(&[row("a", 0), row("b", 1)]).await;
    pipeline.settle().await;
    assert_eq!(pipeline.rows("out.paced").await, Vec::<String>::new());

    pipeline.clock.advance(Duration::from_secs(5));
    pipeline.append(&[row("a", 2)]).await;
    pipeline.settle().await;
    let first = pipeline.rows("out.paced").await;
    // The third row may have come just after the tick.
    assert!(first == [result("a", 2), result("b", 1)] || first == [result("a", 1), result("b", 1)], "{first:?}");

    pipeline.clock.advance(Duration::from_secs(4));
    pipeline.append(&[row("b", 3)]).await;
    pipeline.settle().await;
    assert_eq!(pipeline.rows("out.paced").await, first);

    pipeline.clock.advance(Duration::from_secs(1));
    pipeline.append(&[row("b", 4)]).await;
    pipeline.settle().await;
    let second = pipeline.rows("out.paced").await;
    assert!(second.len() > first.len(), "{second:?}");

    pipeline.append(&[row("a", 10_000)]).await;
    pipeline.settle().await;
    let last = pipeline.rows("out.paced").await;
    assert_eq!(last[second.len()..], [result("a", 2), result("b", 3)]);
}
