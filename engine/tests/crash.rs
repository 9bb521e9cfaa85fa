//! A crash at every write and every sync of the log: what comes out is what an undisturbed run gives, byte for byte.
//!
//! `THERMOCLINE_CRASH_EVERY=1` tries every single one (minutes); the default is a sample.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::Pipeline;
use common::crash_disk::CrashDisk;
use thermocline_log::{HookedDisk, OsDisk};

/// Overlapping windows with an aggregate whose partial states matter, a chain of two windows, alerts with a hold time
/// over rows and over windows, early and corrected results, results that an expression fails on, a join; `{partitions}` is to be filled in.
const SQL: &str = "CREATE STREAM readings (
    device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second'
) PARTITION BY (device) WITH (partitions = {partitions});
CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv');
CREATE SINK screen WITH (connector = 'console');
CREATE STREAM sliding (e TIMESTAMP, device TEXT, n BIGINT, mean DOUBLE, spread DOUBLE, middle DOUBLE);
INSERT INTO sliding SELECT window_end, device, count(*), avg(v), stddev(v), approx_percentile_cont(v, 0.5)
    FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY device, window_start, window_end;
CREATE STREAM tens (e TIMESTAMP NOT NULL, site TEXT, n BIGINT, total DOUBLE, middle DOUBLE, WATERMARK FOR e AS e);
INSERT INTO tens SELECT window_end, d.site, count(*), sum(v), approx_percentile_cont(v, 0.9)
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') AS r JOIN devices AS d ON d.device = r.device
    GROUP BY d.site, window_start, window_end;
CREATE STREAM so_far (e TIMESTAMP, device TEXT, n BIGINT, mean DOUBLE, spread DOUBLE, middle DOUBLE);
INSERT INTO so_far SELECT window_end, device, count(*), avg(v), stddev(v), approx_percentile_cont(v, 0.5)
    FROM CUMULATE(readings, ts, INTERVAL '4 seconds', INTERVAL '20 seconds', INTERVAL '1 second')
    GROUP BY device, window_start, window_end;
CREATE STREAM local (e TIMESTAMP, n BIGINT, mean DOUBLE);
INSERT INTO local SELECT window_end, count(*), avg(v)
    FROM CUMULATE(readings, ts, INTERVAL '5 seconds', INTERVAL '30 seconds' TIME ZONE 'Europe/Berlin')
    GROUP BY window_start, window_end;
CREATE STREAM minutes (e TIMESTAMP, n BIGINT, total DOUBLE);
INSERT INTO minutes SELECT window_end, sum(n), sum(total) FROM TUMBLE(tens, e, INTERVAL '1 minute')
    GROUP BY window_start, window_end;
CREATE SINK corrected WITH (connector = 'console');
INSERT INTO corrected SELECT window_end AS e, device, count(*) AS n, avg(v) AS mean, stddev(v) AS spread,
    approx_percentile_cont(v, 0.5) AS middle
    FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY device, window_start, window_end
    ALLOW LATENESS INTERVAL '25 seconds';
CREATE SINK early WITH (connector = 'console');
INSERT INTO early SELECT window_end AS e, device, count(*) AS n, avg(v) AS mean, stddev(v) AS spread
    FROM CUMULATE(readings, ts, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY device, window_start, window_end
    EMIT ON UPDATE;
CREATE SINK both WITH (connector = 'console');
INSERT INTO both SELECT window_end AS e, device, count(*) AS n, avg(v) AS mean
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device, window_start, window_end
    EMIT EVERY INTERVAL '1 minute' ALLOW LATENESS INTERVAL '1 minute';
CREATE ALERT warm TO screen KEY (device) RAISE WHEN top > 66 OR n < 3
    AS SELECT device, window_end, max(v) AS top, count(*) AS n
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device, window_start, window_end
    ALLOW LATENESS INTERVAL '1 minute';
CREATE STREAM moving (device TEXT, ts TIMESTAMP, recent DOUBLE, spread DOUBLE, nearby BIGINT, total DOUBLE, before DOUBLE);
INSERT INTO moving SELECT device, ts, avg(v) OVER (PARTITION BY device ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW),
    stddev(v) OVER (PARTITION BY device ORDER BY ts),
    count(*) OVER (ORDER BY ts RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND CURRENT ROW),
    sum(v) OVER (PARTITION BY device ORDER BY ts ROWS UNBOUNDED PRECEDING), lag(v, 3) OVER (PARTITION BY device ORDER BY ts)
    FROM readings;
CREATE STREAM centred (site TEXT, device TEXT, ts TIMESTAMP, mean DOUBLE, next DOUBLE, number BIGINT);
INSERT INTO centred SELECT d.site, m.* FROM (SELECT device, ts,
    avg(v) OVER (PARTITION BY device ORDER BY ts RANGE BETWEEN INTERVAL '3 seconds' PRECEDING AND INTERVAL '3 seconds' FOLLOWING),
    lead(v, 2) OVER (PARTITION BY device ORDER BY ts), CAST(row_number() OVER (ORDER BY ts) AS BIGINT) FROM readings) AS m
    LEFT JOIN devices AS d ON d.device = m.device;
CREATE STREAM firsts (device TEXT, ts TIMESTAMP, v DOUBLE);
INSERT INTO firsts SELECT device, ts, v FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    QUALIFY row_number() OVER (PARTITION BY device, window_end ORDER BY ts) <= 2;
CREATE ALERT hot TO screen KEY (device) RAISE WHEN mean > 50 FOR INTERVAL '5 seconds' CLEAR WHEN mean < 45
    AS SELECT device, window_end, avg(v) AS mean
    FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY device, window_start, window_end;
CREATE STREAM ratios (e TIMESTAMP, device TEXT, ratio BIGINT);
INSERT INTO ratios SELECT window_end, device, 100 / (count(*) - 6) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    GROUP BY device, window_start, window_end;
CREATE ALERT odd TO screen KEY (device) RAISE WHEN 10 / (n - 6) > 1 AS SELECT device, window_end, count(*) AS n
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device, window_start, window_end;
CREATE ALERT large TO screen KEY (site) RAISE WHEN total > 500 FOR INTERVAL '10 seconds'
    AS SELECT site, e, total FROM tens;
";
const DEVICES: &str = "device,site\nd1,south\nd0,north\nd2,north\n";
const OUTPUTS: [&str; 15] = [
    "sliding",
    "tens",
    "so_far",
    "local",
    "minutes",
    "moving",
    "centred",
    "firsts",
    "alerts.hot",
    "alerts.large",
    "alerts.warm",
    "ratios",
    "failed.ratios",
    "alerts.odd",
    "failed.alert.odd",
];
/// Outputs whose rows take the place of earlier ones of the same window and device.
const UPDATED: [&str; 3] = ["out.corrected", "out.early", "out.both"];
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
        let warm = if (n / 60) % 2 == 0 { 20.0 } else { 0.0 };
        let device = format!("d{}", random() % 4);
        Reading { device, ts_us: n * 400_000 - late, v: 35.0 + warm + (random() % 997) as f64 / 83.0 }
    };
    let mut rows: Vec<Reading> = (0..count).map(reading).collect();
    // Far behind them one row of every device, so that no window before it takes rows any more.
    let last = |n: i64| Reading { device: format!("d{n}"), ts_us: count * 400_000 + 600_000_000, v: 1.0 };
    rows.extend((0..4).map(last));
    rows
}

/// The last row of each window and device.
fn last_rows(rows: &[String]) -> BTreeMap<(String, String), String> {
    let key = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        (row["e"].to_string(), row["device"].to_string())
    };
    rows.iter().map(|row| (key(row), row.clone())).collect()
}

fn check_same(found: &HashMap<String, Vec<String>>, expected: &HashMap<String, Vec<String>>, place: &str) {
    for stream in OUTPUTS {
        assert_eq!(found[stream], expected[stream], "{stream}, {place}");
    }
    for stream in UPDATED {
        assert_eq!(last_rows(&found[stream]), last_rows(&expected[stream]), "{stream}, {place}");
    }
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
    let sql = SQL.replace("{partitions}", &partitions.to_string());
    let pipeline = Pipeline::new(&sql).checkpoint_rows(30);
    std::fs::write(pipeline.dir().join("devices.csv"), DEVICES).unwrap();
    pipeline
}

/// Appends what is not in the log yet, chunk by chunk, as a client that repeats what was not acknowledged; then
/// closes all windows. `Err` when the disk died.
async fn run(pipeline: &mut Pipeline, rows: &[Reading]) -> Result<(), String> {
    pipeline.try_start().await.map_err(|error| error.to_string())?;
    let done = pipeline.rows_in("readings").await as usize;
    for chunk in rows[done..].chunks(CHUNK) {
        append(pipeline, chunk).await.map_err(|error| error.to_string())?;
        pipeline.try_settle().await?;
    }
    pipeline.finish_queries().await.map_err(|error| error.to_string())
}

async fn undisturbed(partitions: u32, rows: &[Reading]) -> HashMap<String, Vec<String>> {
    let mut pipeline = pipeline(partitions);
    run(&mut pipeline, rows).await.unwrap();
    pipeline.finish().await
}

fn check_alerts(events: &[String]) {
    assert!(events.iter().any(|event| event.contains("resolve")), "{events:?}");
    let mut raised: HashMap<String, bool> = HashMap::new();
    for event in events {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let raise = event["action"] == "trigger";
        let before = raised.insert(event["dedup_key"].to_string(), raise).unwrap_or(false);
        assert_ne!(before, raise, "raised twice, or resolved without being raised: {event}");
    }
}

async fn crash_everywhere(partitions: u32) {
    let rows = readings(320);
    let expected = undisturbed(partitions, &rows).await;
    assert!(expected["minutes"].len() > 1 && !expected["late.readings"].is_empty(), "{expected:?}");
    check_alerts(&expected["alerts.hot"]);
    check_alerts(&expected["alerts.large"]);
    check_alerts(&expected["alerts.warm"]);
    assert!(!expected["failed.ratios"].is_empty() && !expected["failed.alert.odd"].is_empty(), "some results fail");
    for stream in UPDATED {
        assert!(last_rows(&expected[stream]).len() < expected[stream].len(), "{stream} has updates");
    }
    // A sample of the places, another one for each number of partitions; 1 tries them all.
    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(37, |every| every.parse().unwrap());
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
        let found = pipeline.finish().await;
        check_same(&found, &expected, &format!("{partitions} partitions, crash at operation {operations}"));
        operations += every;
    }
    assert!(crashes > 10, "{crashes} crashes");
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
    let rows = readings(320);
    for partitions in [1, 2] {
        let expected = undisturbed(partitions, &rows).await;
        for size in [3, 31, 320] {
            let mut pipeline = pipeline(partitions).unsynced();
            for chunk in rows.chunks(size) {
                append(&mut pipeline, chunk).await.unwrap();
                pipeline.settle().await;
            }
            let found = pipeline.finish().await;
            check_same(&found, &expected, &format!("{partitions} partitions, chunks of {size}"));
        }
    }
}

/// A finish is a decision: what it closed stays closed in the replay, and a crash after it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_is_replayed() {
    let rows = readings(320);
    let run_in_two_parts = async |crash: bool| {
        let mut pipeline = pipeline(1);
        run(&mut pipeline, &rows[..130]).await.unwrap();
        for part in [130..170, 170..320] {
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
        pipeline.finish().await
    };
    let expected = run_in_two_parts(false).await;
    let found = run_in_two_parts(true).await;
    for stream in OUTPUTS {
        assert_eq!(found[stream], expected[stream], "{stream}");
    }
    let count = |query: &str| {
        let late = |streams: &HashMap<String, Vec<String>>| {
            streams["late.readings"].iter().filter(|row| row.contains(query)).cloned().collect::<Vec<_>>()
        };
        (late(&found), late(&expected))
    };
    let (found, expected) = count(r#""late_query":"sliding""#);
    assert_eq!(found, expected);
}

/// Idle partitions are decided with the clock; a replay repeats what was decided, wherever the crash comes.
#[tokio::test(flavor = "multi_thread")]
async fn idle_decisions_are_replayed() {
    let rows = readings(200);
    for crash_after in [0, 1, 2, 3] {
        let sql = "CREATE STREAM readings (
                device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second'
            ) PARTITION BY (device) WITH (partitions = 2, idle_timeout = '30 seconds');
            CREATE STREAM tens (e TIMESTAMP, device TEXT, n BIGINT, mean DOUBLE);
            INSERT INTO tens SELECT window_end, device, count(*), avg(v)
            FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY device, window_start, window_end;";
        let mut pipeline = Pipeline::new(sql).checkpoint_rows(25);
        let only = |device: &str, range: std::ops::Range<usize>| -> Vec<Reading> {
            let rows = rows[range].iter().filter(|r| r.device == device);
            rows.map(|r| Reading { device: r.device.clone(), ts_us: r.ts_us, v: r.v }).collect()
        };
        // d0 goes on alone; then d1 comes back, its older rows being late by decision.
        let parts =
            [only("d0", 0..60), only("d1", 0..60), only("d0", 60..150), only("d1", 60..160), only("d0", 150..200)];
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
        // Which rows are late depends on when the clock was looked at; no row is lost or counted twice.
        let mut windows: HashMap<String, i64> = HashMap::new();
        for row in &streams["tens"] {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            let window = format!("{} {}", row["e"], row["device"]);
            assert!(windows.insert(window.clone(), row["n"].as_i64().unwrap()).is_none(), "{window} twice");
        }
        let mut ends: Vec<&str> = streams["tens"].iter().map(|row| row.split('"').nth(3).unwrap()).collect();
        let sorted = ends.is_sorted();
        ends.dedup();
        assert!(sorted, "windows close in order: {ends:?}");
    }
}
