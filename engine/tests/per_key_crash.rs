//! Crashes at the operations of the disk, under queries with watermarks per key: what comes out is what an undisturbed run
//! gives, byte for byte, each key's rows in their order.
//!
//! `THERMOCLINE_CRASH_EVERY=1` tries every single one (minutes); the default is a sample.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::Pipeline;
use common::crash_disk::CrashDisk;
use thermocline_log::{HookedDisk, OsDisk};

const STREAM: &str = "CREATE STREAM readings (
    device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second' PER device
) PARTITION BY (device) WITH (partitions = {partitions});
CREATE SINK screen WITH (connector = 'console');
CREATE SINK influx WITH (connector = 'influxdb', url = 'http://localhost:1', database = 'x');
";

/// Windows that take late rows and are corrected, a chain of two streams with watermarks per key, rows in order, rows that wait
/// for later ones, an alert.
const QUERIES: &str = "CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv');
INSERT INTO influx SELECT r.device, d.site, window_end, count(*) AS n, stddev(v) AS spread, median(v) AS middle
    FROM HOP(readings, ts, INTERVAL '4 seconds', INTERVAL '12 seconds') AS r JOIN devices AS d ON d.device = r.device
    GROUP BY r.device, d.site, window_start, window_end ALLOW LATENESS INTERVAL '20 seconds';
CREATE STREAM tens (device TEXT, e TIMESTAMP NOT NULL, n BIGINT, mean DOUBLE, WATERMARK FOR e AS e PER device)
    PARTITION BY (device) WITH (partitions = {partitions});
INSERT INTO tens SELECT device, window_end, count(*), avg(v) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    GROUP BY device, window_start, window_end;
CREATE STREAM sessions (device TEXT, s TIMESTAMP, e TIMESTAMP, n BIGINT);
INSERT INTO sessions SELECT device, window_start, window_end, sum(n) FROM SESSION(tens, e, INTERVAL '25 seconds')
    GROUP BY device, window_start, window_end;
CREATE STREAM fives (device TEXT, s TIMESTAMP, e TIMESTAMP, spread DOUBLE);
INSERT INTO fives SELECT device, window_start, window_end, stddev(v) FROM COUNT_WINDOW(readings, 5, 3)
    GROUP BY device, window_start, window_end;
CREATE STREAM steps (device TEXT, ts TIMESTAMP, step DOUBLE, mean DOUBLE, next DOUBLE);
INSERT INTO steps SELECT device, ts, v - lag(v) OVER (PARTITION BY device ORDER BY ts),
    avg(v) OVER (PARTITION BY device ORDER BY ts RANGE BETWEEN INTERVAL '9 seconds' PRECEDING AND CURRENT ROW),
    lead(v, 2) OVER (PARTITION BY device ORDER BY ts) FROM readings;
CREATE ALERT warm TO screen KEY (device) RAISE WHEN mean > 50 CLEAR WHEN mean < 40
    AS SELECT device, window_end, avg(v) AS mean FROM TUMBLE(readings, ts, INTERVAL '5 seconds')
    GROUP BY device, window_start, window_end;
";
const DEVICES: &str = "device,site\nd1,south\nd0,north\nd2,north\nd3,south\n";
const OUTPUTS: [&str; 7] = ["out.influx", "tens", "sessions", "fives", "steps", "alerts.warm", "late.readings"];
const CHUNK: usize = 40;

#[derive(Clone)]
struct Reading {
    device: String,
    ts_us: i64,
    v: f64,
}

/// Devices that are now and then offline, and send what they have kept.
fn readings(count: i64) -> Vec<Reading> {
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let mut rows = Vec::new();
    let mut offline: HashMap<i64, Vec<Reading>> = HashMap::new();
    for n in 0..count {
        let late = if random() % 21 == 0 { 15_000_000 } else { random() % 1_000_000 };
        let warm = if (n / 40) % 2 == 0 { 20.0 } else { 0.0 };
        let device = random() % 4;
        let v = 35.0 + warm + (random() % 997) as f64 / 83.0;
        let row = Reading { device: format!("d{device}"), ts_us: n * 400_000 - late, v };
        match offline.get_mut(&device) {
            Some(kept) => kept.push(row),
            None => rows.push(row),
        }
        match random() % 30 {
            0 => {
                offline.entry(random() % 4).or_default();
            }
            1 | 2 => rows.extend(offline.remove(&device).into_iter().flatten()),
            _ => {}
        }
    }
    for device in 0..4 {
        rows.extend(offline.remove(&device).into_iter().flatten());
    }
    rows
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

/// The rows of every output, by device, each device's in their order: how partitions interleave is their pace. Which
/// query wrote its late rows first is the scheduler's affair.
fn outputs(streams: &HashMap<String, Vec<String>>) -> Vec<(&'static str, Vec<String>)> {
    let device = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row.get("device").or(row.get("key")).unwrap().to_string()
    };
    let sorted = |name: &str| {
        let mut rows = streams[name].clone();
        match name {
            "late.readings" => rows.sort(),
            _ => rows.sort_by_cached_key(device),
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
    assert!(expected.iter().all(|(_, rows)| rows.len() > 3), "{expected:?}");
    // A sample of the places, another one for each number of partitions; 1 tries them all.
    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(23, |every| every.parse().unwrap());
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
        for size in [1, 31, 240] {
            let mut pipeline = pipeline(partitions).unsynced();
            for chunk in rows.chunks(size) {
                append(&mut pipeline, chunk).await.unwrap();
                pipeline.settle().await;
            }
            assert_eq!(outputs(&pipeline.finish().await), expected, "{partitions} partitions, chunks of {size}");
        }
    }
}

/// A finish is journaled: what it completed stays so in the replay, and a crash after it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_is_replayed() {
    let rows = readings(240);
    let run_in_parts = async |crash: bool| {
        let mut pipeline = pipeline(2);
        run(&mut pipeline, &rows[..110]).await.unwrap();
        for part in [110..140, 140..rows.len()] {
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

const COUNTED: &str = "CREATE STREAM counted (device TEXT, e TIMESTAMP, n BIGINT);
INSERT INTO counted SELECT device, window_end, count(*) FROM TUMBLE(readings, ts, INTERVAL '{size}')
    GROUP BY device, window_start, window_end;";

/// Another text takes the rows that are held again, without those of the past coming out twice.
#[tokio::test(flavor = "multi_thread")]
async fn another_text_goes_on_where_the_old_one_was() {
    let rows = readings(240);
    let text = |size: &str| STREAM.replace("{partitions}", "2") + &COUNTED.replace("{size}", size);
    let (all, half) = (rows.len(), rows.len() / 2);
    let mut whole = Pipeline::new(&text("10 seconds"));
    append(&mut whole, &rows).await.unwrap();
    whole.settle().await;
    let whole = whole.finish().await["counted"].clone();
    let mut pipeline = Pipeline::new(&text("5 seconds")).checkpoint_rows(20);
    append(&mut pipeline, &rows[..half]).await.unwrap();
    pipeline.settle().await;
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(&text("5 seconds"));
    pipeline.settle_started().await;
    let before = pipeline.rows("counted").await;
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(&text("10 seconds"));
    pipeline.settle_started().await;
    assert_eq!(pipeline.rows("counted").await, before, "what was emitted stays, and nothing comes twice");
    append(&mut pipeline, &rows[half..all]).await.unwrap();
    pipeline.settle().await;
    let counted = pipeline.finish().await["counted"].clone();
    // What the second half has closed has all rows, also those that came under the other text.
    assert!(counted[before.len()..].iter().all(|row| whole.contains(row)), "{counted:?}\n{whole:?}");
    assert!(counted.len() > before.len() + 10, "{counted:?}");
}

/// A stream whose watermark becomes one per key: the query begins anew, and goes on after what it has emitted.
#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_becomes_one_per_key_and_back() {
    let rows = readings(240);
    let per_key = STREAM.replace("{partitions}", "2") + &COUNTED.replace("{size}", "10 seconds");
    let shared = per_key.replace(" PER device", "");
    let third = rows.len() / 3;
    let mut pipeline = Pipeline::new(&shared).checkpoint_rows(20);
    let mut emitted = Vec::new();
    for (n, text) in [&shared, &per_key, &shared].into_iter().enumerate() {
        pipeline = pipeline.with_sql(text);
        pipeline.settle_started().await;
        assert_eq!(pipeline.rows("counted").await, emitted, "text {n}");
        append(&mut pipeline, &rows[n * third..(n + 1) * third]).await.unwrap();
        pipeline.settle().await;
        emitted = pipeline.rows("counted").await;
        pipeline.crash().await;
    }
    assert!(emitted.len() > 10, "{emitted:?}");
}
