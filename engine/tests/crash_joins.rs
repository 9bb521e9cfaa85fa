//! Joins of streams through crashes: at a sample of the writes and syncs of the log, and with inputs that fall silent.
//!
//! `THERMOCLINE_CRASH_EVERY=1` tries every single one (minutes); the default is a sample.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::Pipeline;
use common::crash_disk::CrashDisk;
use thermocline_log::{HookedDisk, OsDisk};

/// Every kind of join, one of a stream with itself, one whose condition fails on some pairs, and a window over joined rows; `{partitions}` is to be filled in.
const SQL: &str = "CREATE STREAM l (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second')
    PARTITION BY (device) WITH (partitions = {partitions});
CREATE STREAM r (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '2 seconds')
    PARTITION BY (device) WITH (partitions = {partitions});
CREATE STREAM pairs (device TEXT, at TIMESTAMP, bt TIMESTAMP, v DOUBLE);
INSERT INTO pairs SELECT coalesce(a.device, b.device), a.ts, b.ts, a.v + b.v FROM l AS a FULL JOIN r AS b
    ON a.device = b.device AND a.ts BETWEEN b.ts - INTERVAL '500 milliseconds' AND b.ts + INTERVAL '2 seconds' AND a.v > b.v;
CREATE STREAM asof (device TEXT, at TIMESTAMP, bt TIMESTAMP);
INSERT INTO asof SELECT a.device, a.ts, b.ts FROM l AS a ASOF JOIN r AS b MATCH_CONDITION (a.ts >= b.ts) ON a.device = b.device;
CREATE STREAM young (device TEXT, at TIMESTAMP, bt TIMESTAMP);
INSERT INTO young SELECT a.device, a.ts, b.ts FROM l AS a ASOF JOIN r AS b MATCH_CONDITION (a.ts > b.ts)
    ON a.device = b.device AND a.ts - b.ts < INTERVAL '1 second';
CREATE STREAM same (e TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR e AS e);
INSERT INTO same SELECT a.window_end, b.v FROM TUMBLE(l, ts, INTERVAL '5 seconds') AS a
    LEFT JOIN TUMBLE(r, ts, INTERVAL '5 seconds') AS b ON a.device = b.device AND a.window_start = b.window_start;
CREATE STREAM counts (e TIMESTAMP, n BIGINT, total DOUBLE);
INSERT INTO counts SELECT window_end, count(*), sum(v) FROM TUMBLE(same, e, INTERVAL '5 seconds') GROUP BY window_start, window_end;
CREATE STREAM quotients (device TEXT, at TIMESTAMP, bt TIMESTAMP);
INSERT INTO quotients SELECT a.device, a.ts, b.ts FROM l AS a LEFT JOIN r AS b ON a.device = b.device
    AND a.ts BETWEEN b.ts - INTERVAL '1 second' AND b.ts + INTERVAL '1 second' AND 9 / (CAST(a.v - b.v AS BIGINT) % 5) > 2;
CREATE STREAM nexts (device TEXT, at TIMESTAMP, bt TIMESTAMP);
INSERT INTO nexts SELECT a.device, a.ts, b.ts FROM l AS a JOIN l AS b
    ON a.device = b.device AND b.ts > a.ts AND b.ts < a.ts + INTERVAL '1 second';
";
const OUTPUTS: [&str; 8] = ["pairs", "asof", "young", "same", "counts", "nexts", "quotients", "failed.quotients"];
const STREAMS: [&str; 2] = ["l", "r"];
const CHUNK: usize = 40;

#[derive(Clone)]
struct Row {
    device: String,
    ts_us: i64,
    v: f64,
}

fn rows(seed: u64, count: i64) -> Vec<Row> {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let row = |n: i64| {
        let late = if random() % 37 == 0 { 15_000_000 } else { random() % 1_000_000 };
        Row { device: format!("d{}", random() % 4), ts_us: n * 250_000 - late, v: (random() % 97) as f64 }
    };
    (0..count).map(row).collect()
}

async fn append(pipeline: &mut Pipeline, stream: &str, rows: &[Row]) -> Result<(), thermocline_log::Error> {
    let schema = pipeline.start().await.log.stream(stream).unwrap().schema().clone();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.device))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.v))),
    ];
    pipeline.append_batch(stream, RecordBatch::try_new(schema, columns).unwrap()).await
}

fn pipeline(partitions: u32) -> Pipeline {
    Pipeline::new(&SQL.replace("{partitions}", &partitions.to_string())).checkpoint_rows(50)
}

/// Appends what is not in the log yet, chunk by chunk, now to one stream, now to the other; then ends all joins. `Err` when
/// the disk died.
async fn run(pipeline: &mut Pipeline, rows: &[Vec<Row>; 2], chunk: usize) -> Result<(), String> {
    pipeline.try_start().await.map_err(|error| error.to_string())?;
    let mut done = [0, 0];
    for (done, stream) in done.iter_mut().zip(STREAMS) {
        *done = pipeline.rows_in(stream).await as usize;
    }
    while (0..2).any(|n| done[n] < rows[n].len()) {
        for n in 0..2 {
            let end = rows[n].len().min(done[n] + chunk);
            if done[n] < end {
                append(pipeline, STREAMS[n], &rows[n][done[n]..end]).await.map_err(|error| error.to_string())?;
                done[n] = end;
                pipeline.try_settle().await?;
            }
        }
    }
    pipeline.finish_queries().await.map_err(|error| error.to_string())
}

async fn undisturbed(partitions: u32, rows: &[Vec<Row>; 2], chunk: usize) -> HashMap<String, Vec<String>> {
    let mut pipeline = pipeline(partitions);
    run(&mut pipeline, rows, chunk).await.unwrap();
    pipeline.finish().await
}

async fn crash_everywhere(partitions: u32) {
    let rows = [rows(7, 200), rows(8, 160)];
    let expected = undisturbed(partitions, &rows, CHUNK).await;
    for stream in OUTPUTS {
        assert!(expected[stream].len() > 3, "{stream}: {:?}", expected[stream]);
    }
    assert!(!expected["late.l"].is_empty() && !expected["late.r"].is_empty());
    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(31, |every| every.parse().unwrap());
    let mut operations = u64::from(partitions);
    let mut crashes = 0;
    loop {
        let mut pipeline = pipeline(partitions);
        let disk = Arc::new(CrashDisk::after_operations(operations));
        pipeline.set_disk(HookedDisk::new(&disk));
        let ended = run(&mut pipeline, &rows, CHUNK).await;
        assert_eq!(ended.is_err(), disk.is_dead(), "{ended:?}");
        if ended.is_ok() {
            break;
        }
        crashes += 1;
        pipeline.crash().await;
        pipeline.set_disk(Arc::new(OsDisk));
        run(&mut pipeline, &rows, CHUNK).await.unwrap();
        let found = pipeline.finish().await;
        for stream in OUTPUTS {
            let place = format!("{stream}, {partitions} partitions, crash at operation {operations}");
            assert_eq!(found[stream], expected[stream], "{place}");
        }
        operations += every;
    }
    assert!(crashes > 5, "{crashes} crashes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_or_sync_changes_nothing() {
    crash_everywhere(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_or_sync_changes_nothing_with_several_partitions() {
    crash_everywhere(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_any_chunks_give_the_same_bytes() {
    let rows = [rows(9, 200), rows(10, 200)];
    for partitions in [1, 2] {
        let expected = undisturbed(partitions, &rows, 200).await;
        for chunk in [5, 37] {
            let found = undisturbed(partitions, &rows, chunk).await;
            for stream in OUTPUTS {
                assert_eq!(found[stream], expected[stream], "{stream}, {partitions} partitions, chunks of {chunk}");
            }
        }
    }
}

/// An input without rows holds the other back until its idle timeout; what was decided then is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_rows_is_waited_for_no_longer_than_its_idle_timeout() {
    let sql = "CREATE STREAM l (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts)
            WITH (idle_timeout = '30 seconds');
        CREATE STREAM r (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts)
            WITH (idle_timeout = '30 seconds');
        CREATE STREAM pairs (at TIMESTAMP, bt TIMESTAMP);
        INSERT INTO pairs SELECT a.ts, b.ts FROM l AS a LEFT JOIN r AS b ON a.device = b.device
            AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '1 second'";
    let row = |seconds: i64| Row { device: "d".into(), ts_us: seconds * 1_000_000, v: 0.0 };
    for crash in [false, true] {
        let mut pipeline = Pipeline::new(sql).checkpoint_rows(3);
        append(&mut pipeline, "l", &[row(10), row(20), row(30)]).await.unwrap();
        pipeline.settle().await;
        assert!(pipeline.rows("pairs").await.is_empty(), "r may still have rows of that time");
        pipeline.clock.advance(Duration::from_secs(31));
        // A row of a busy input wakes the query; r is idle then.
        append(&mut pipeline, "l", &[row(40)]).await.unwrap();
        pipeline.wait_for_rows("pairs", 3).await;
        if crash {
            pipeline.crash().await;
            pipeline.start().await;
        }
        // Behind what was decided: late, however long ago it was.
        append(&mut pipeline, "r", &[row(20), row(40)]).await.unwrap();
        pipeline.settle().await;
        let streams = pipeline.finish().await;
        let at = |seconds: i64| format!(r#"{{"at":"1970-01-01T00:00:{seconds}Z"}}"#);
        let pair = r#"{"at":"1970-01-01T00:00:40Z","bt":"1970-01-01T00:00:40Z"}"#.to_owned();
        assert_eq!(streams["pairs"], [at(10), at(20), at(30), pair], "crash: {crash}");
        assert_eq!(streams["late.r"].len(), 1, "{:?}", streams["late.r"]);
    }
}

/// A query that reads other streams than before: what it emitted stays, what comes after that is the new query's.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_may_be_changed_to_one_of_other_streams() {
    let sql = |right: &str| {
        format!(
            "CREATE STREAM l (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second');
            CREATE STREAM r (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second');
            CREATE STREAM pairs (at BIGINT, bt BIGINT);
            INSERT INTO pairs SELECT CAST(a.ts AS BIGINT), CAST(b.ts AS BIGINT) FROM l AS a JOIN {right} AS b
                ON a.device = b.device AND a.ts - b.ts BETWEEN INTERVAL '-2 seconds' AND INTERVAL '2 seconds';"
        )
    };
    let (left, right) = (rows(11, 200), rows(12, 200));
    let whole = async |sql: String| {
        let mut pipeline = Pipeline::new(&sql).checkpoint_rows(30);
        append(&mut pipeline, "l", &left).await.unwrap();
        append(&mut pipeline, "r", &right).await.unwrap();
        pipeline.finish().await["pairs"].clone()
    };
    let (of_itself, of_both) = (whole(sql("l")).await, whole(sql("r")).await);

    let mut pipeline = Pipeline::new(&sql("l")).checkpoint_rows(30);
    append(&mut pipeline, "l", &left[..100]).await.unwrap();
    // Further than what the first query had read of its second input.
    append(&mut pipeline, "r", &right[..150]).await.unwrap();
    pipeline.settle().await;
    let emitted = pipeline.rows("pairs").await;
    assert!(emitted.len() > 10 && of_itself.starts_with(&emitted));
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(&sql("r"));
    append(&mut pipeline, "l", &left[100..]).await.unwrap();
    append(&mut pipeline, "r", &right[150..]).await.unwrap();
    let found = pipeline.finish().await["pairs"].clone();

    let watermark_us = left[..100].iter().map(|row| row.ts_us).max().unwrap() - 1_000_000;
    let comes_later = |row: &&String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        ["at", "bt"].iter().any(|time| row[time].as_i64().unwrap() >= watermark_us)
    };
    let later: Vec<String> = of_both.iter().filter(comes_later).cloned().collect();
    assert!(later.len() > 10);
    assert_eq!(found, [emitted, later].concat());
}
