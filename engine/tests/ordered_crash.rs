//! A crash at every write and every sync of the log, under queries that take their rows in event-time order: what comes
//! out is what an undisturbed run gives, byte for byte.
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

const STREAM: &str = "CREATE STREAM readings (
    device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second'
) PARTITION BY (device) WITH (partitions = {partitions}, idle_timeout = '30 seconds');
CREATE SINK screen WITH (connector = 'console');
";

/// A chain over sessions, windows that overlap, skip and wait for long, a join, an alert over states.
const QUERIES: &str = "CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv');
CREATE STREAM sessions (e TIMESTAMP NOT NULL, device TEXT, s TIMESTAMP, n BIGINT, spread DOUBLE, middle DOUBLE,
    WATERMARK FOR e AS e);
INSERT INTO sessions SELECT window_end, device, window_start, count(*), stddev(v), median(v)
    FROM SESSION(readings, ts, INTERVAL '1500 milliseconds') GROUP BY device, window_start, window_end;
CREATE STREAM minutes (e TIMESTAMP, sessions BIGINT, n BIGINT);
INSERT INTO minutes SELECT window_end, count(*), sum(n) FROM TUMBLE(sessions, e, INTERVAL '1 minute')
    GROUP BY window_start, window_end;
CREATE STREAM sites (site TEXT, s TIMESTAMP, e TIMESTAMP, mean DOUBLE, ds BIGINT);
INSERT INTO sites SELECT d.site, window_start, window_end, avg(v), count(DISTINCT r.device)
    FROM COUNT_WINDOW(readings, 12, 5) AS r JOIN devices AS d ON d.device = r.device
    GROUP BY d.site, window_start, window_end;
CREATE STREAM samples (s TIMESTAMP, e TIMESTAMP, total DOUBLE);
INSERT INTO samples SELECT window_start, window_end, sum(v) FROM COUNT_WINDOW(readings, 3, 7)
    GROUP BY window_start, window_end;
CREATE STREAM warm (device TEXT, s TIMESTAMP, e TIMESTAMP, n BIGINT, peak DOUBLE);
INSERT INTO warm SELECT device, window_start, window_end, count(*), max(v) FROM STATE_WINDOW(readings, v > 50, v < 40)
    GROUP BY device, window_start, window_end;
CREATE STREAM ratios (device TEXT, ratio BIGINT);
INSERT INTO ratios SELECT device, 100 / (count(*) - 2) FROM SESSION(readings, ts, INTERVAL '1500 milliseconds')
    GROUP BY device, window_start, window_end;
CREATE ALERT long TO screen KEY (device) RAISE WHEN n > 2 CLEAR WHEN n < 2
    AS SELECT device, window_end, count(*) AS n FROM STATE_WINDOW(readings, v > 52, v < 50)
    GROUP BY device, window_start, window_end;
";
const DEVICES: &str = "device,site\nd1,south\nd0,north\nd2,north\n";
const OUTPUTS: [&str; 9] =
    ["sessions", "minutes", "sites", "samples", "warm", "alerts.long", "late.readings", "ratios", "failed.ratios"];
const CHUNK: usize = 40;

struct Reading {
    device: String,
    ts_us: i64,
    v: f64,
}

fn readings(count: i64) -> Vec<Reading> {
    let mut state = 99_u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let reading = |n: i64| {
        let late = if random() % 41 == 0 { 30_000_000 } else { random() % 1_000_000 };
        let warm = if (n / 30) % 2 == 0 { 20.0 } else { 0.0 };
        let device = format!("d{}", random() % 4);
        Reading { device, ts_us: n * 400_000 - late, v: 35.0 + warm + (random() % 997) as f64 / 83.0 }
    };
    (0..count).map(reading).collect()
}

async fn append(pipeline: &mut Pipeline, rows: &[Reading]) -> Result<(), thermocline_log::Error> {
    let schema = pipeline.start().await.log.stream("readings").unwrap().schema().clone();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.device))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.v))),
    ];
    pipeline.append_batch("readings", RecordBatch::try_new(schema, columns).unwrap()).await
}

fn pipeline(partitions: u32) -> Pipeline {
    let sql = format!("{STREAM}{QUERIES}").replace("{partitions}", &partitions.to_string());
    let pipeline = Pipeline::new(&sql).checkpoint_rows(20);
    std::fs::write(pipeline.dir().join("devices.csv"), DEVICES).unwrap();
    pipeline
}

/// Appends what is not in the log yet, chunk by chunk, as a client that repeats what was not acknowledged; then
/// ends everything. `Err` when the disk died.
async fn run(pipeline: &mut Pipeline, rows: &[Reading]) -> Result<(), String> {
    pipeline.try_start().await.map_err(|error| error.to_string())?;
    let done = pipeline.rows_in("readings").await as usize;
    for chunk in rows[done..].chunks(CHUNK) {
        append(pipeline, chunk).await.map_err(|error| error.to_string())?;
        pipeline.try_settle().await?;
    }
    pipeline.finish_queries().await.map_err(|error| error.to_string())
}

/// The rows of every output; which query wrote its late rows first is the scheduler's affair.
fn outputs(streams: &HashMap<String, Vec<String>>) -> Vec<(&'static str, Vec<String>)> {
    let sorted = |name: &str| {
        let mut rows = streams[name].clone();
        if name == "late.readings" {
            rows.sort();
        }
        rows
    };
    OUTPUTS.iter().map(|name| (*name, sorted(name))).collect()
}

async fn undisturbed(partitions: u32, rows: &[Reading]) -> Vec<(&'static str, Vec<String>)> {
    let mut pipeline = pipeline(partitions);
    run(&mut pipeline, rows).await.unwrap();
    outputs(&pipeline.finish().await)
}

async fn crash_everywhere(partitions: u32) {
    let rows = readings(240);
    let expected = undisturbed(partitions, &rows).await;
    assert!(expected.iter().all(|(_, rows)| rows.len() > 1), "{expected:?}");
    // A sample of the places, another one for each number of partitions; 1 tries them all.
    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(17, |every| every.parse().unwrap());
    let mut operations = u64::from(partitions);
    let mut crashes = 0;
    loop {
        let mut pipeline = pipeline(partitions);
        let disk = Arc::new(CrashDisk::after_operations(operations));
        pipeline.set_disk(HookedDisk::new(&disk));
        let ended = run(&mut pipeline, &rows).await;
        assert_eq!(ended.is_err(), disk.is_dead(), "{ended:?}");
        if ended.is_ok() {
            break;
        }
        crashes += 1;
        pipeline.crash().await;
        pipeline.set_disk(Arc::new(OsDisk));
        run(&mut pipeline, &rows).await.unwrap();
        let found = outputs(&pipeline.finish().await);
        assert_eq!(found, expected, "{partitions} partitions, crash at operation {operations}");
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
    let rows = readings(240);
    for partitions in [1, 2] {
        let expected = undisturbed(partitions, &rows).await;
        for size in [3, 31, 240] {
            let mut pipeline = pipeline(partitions).unsynced();
            for chunk in rows.chunks(size) {
                append(&mut pipeline, chunk).await.unwrap();
                pipeline.settle().await;
            }
            assert_eq!(outputs(&pipeline.finish().await), expected, "{partitions} partitions, chunks of {size}");
        }
    }
}

/// A finish is a decision: what it completed stays so in the replay, and a crash after it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_is_replayed() {
    let rows = readings(240);
    let run_in_parts = async |crash: bool| {
        let mut pipeline = pipeline(2);
        run(&mut pipeline, &rows[..110]).await.unwrap();
        for part in [110..140, 140..240] {
            pipeline.crash().await;
            pipeline.start().await;
            append(&mut pipeline, &rows[part]).await.unwrap();
            pipeline.settle().await;
            if crash {
                pipeline.crash().await;
                pipeline.start().await;
                pipeline.settle().await;
            }
        }
        outputs(&pipeline.finish().await)
    };
    let expected = run_in_parts(false).await;
    assert_eq!(run_in_parts(true).await, expected);
}

fn only(rows: &[Reading], device: &str) -> Vec<Reading> {
    let rows = rows.iter().filter(|r| r.device == device);
    rows.map(|r| Reading { device: r.device.clone(), ts_us: r.ts_us, v: r.v }).collect()
}

/// Idle partitions are decided with the clock: a replay repeats what was decided, so that every row is late or counted once.
#[tokio::test(flavor = "multi_thread")]
async fn idle_decisions_are_replayed() {
    let rows = readings(200);
    // d0 goes on alone; then d1 comes back, its older rows being late by decision.
    let (d0, d1) = (only(&rows, "d0"), only(&rows, "d1"));
    let parts = [&d0[..12], &d1[..12], &d0[12..30], &d1[12..], &d0[30..]];
    for crash_after in 0..5 {
        let sql = STREAM.replace("{partitions}", "2")
            + "CREATE STREAM counted (device TEXT, e TIMESTAMP, n BIGINT);
               INSERT INTO counted SELECT device, window_end, count(*) FROM SESSION(readings, ts, INTERVAL '2 seconds')
                   GROUP BY device, window_start, window_end;";
        let mut pipeline = Pipeline::new(&sql).checkpoint_rows(15);
        for (n, part) in parts.iter().enumerate() {
            append(&mut pipeline, part).await.unwrap();
            pipeline.settle().await;
            pipeline.clock.advance(Duration::from_secs(31));
            if n == crash_after {
                pipeline.crash().await;
                pipeline.start().await;
                pipeline.settle().await;
            }
        }
        let streams = pipeline.finish().await;
        let rows: Vec<serde_json::Value> =
            streams["counted"].iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        let counted: i64 = rows.iter().map(|row| row["n"].as_i64().unwrap()).sum();
        let late = streams["late.readings"].len();
        assert_eq!(counted as usize + late, d0.len() + d1.len(), "crash after {crash_after}: {rows:?}");
        let ends: Vec<String> = rows.iter().map(|row| row["e"].to_string()).collect();
        assert!(ends.is_sorted(), "sessions end in order: {ends:?}");
    }
}

/// Another text takes the rows that are held again, without those of the past coming out twice; it takes none that is
/// before what the old text had completed, though the decisions that had completed it are forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn another_text_goes_on_where_the_old_one_was() {
    let rows = readings(240);
    let text = |gap: &str| {
        STREAM.replace("{partitions}", "2")
            + &format!(
                "CREATE STREAM counted (s TIMESTAMP, e TIMESTAMP, n BIGINT);
                 INSERT INTO counted SELECT window_start, window_end, count(*)
                     FROM SESSION(readings, ts, INTERVAL '{gap}') GROUP BY window_start, window_end;"
            )
    };
    let mut pipeline = Pipeline::new(&text("900 milliseconds")).checkpoint_rows(20);
    append(&mut pipeline, &rows[..120]).await.unwrap();
    pipeline.settle().await;
    // Everything ends, also the windows of the partition that is behind.
    pipeline.finish_queries().await.unwrap();
    let mut before = pipeline.rows("counted").await;
    before.sort();
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(&text("700 milliseconds"));
    pipeline.settle_started().await;
    // Before what was completed: late, not out of order.
    append(&mut pipeline, &rows[100..240]).await.unwrap();
    pipeline.settle().await;
    let streams = pipeline.finish().await;
    let counted = &streams["counted"];
    assert_eq!(counted[..before.len()], before[..]);
    let ends = |rows: &[String]| -> Vec<String> {
        let end = |row: &String| serde_json::from_str::<serde_json::Value>(row).unwrap()["e"].to_string();
        rows.iter().map(end).collect()
    };
    assert!(ends(counted).is_sorted(), "{counted:?}");
    assert!(counted.len() > before.len() + 3, "{counted:?}");
    assert!(streams["late.readings"].len() > 20, "{:?}", streams["late.readings"]);
}
