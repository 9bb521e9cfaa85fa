//! A crash at every write and every sync of the log, with chains of queries, views over views and windows over windows: what
//! comes out is what an undisturbed run gives, byte for byte.
//!
//! `THERMOCLINE_CRASH_EVERY=1` tries every single one (minutes); the default is a sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thermocline_log::{HookedDisk, OsDisk};

use super::common::Pipeline;
use super::common::crash_disk::CrashDisk;

const SQL: &str = "CREATE STREAM readings (
    device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second'
) PARTITION BY (device) WITH (partitions = {partitions}, idle_timeout = 'none');
CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv');
CREATE SINK screen WITH (connector = 'console');

-- Two stages through a stream.
CREATE STREAM warm (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '40 seconds');
CREATE STREAM warm_tens (e TIMESTAMP, n BIGINT, mean DOUBLE);
INSERT INTO warm SELECT device, ts, v FROM readings WHERE v > 20 AND device = 'd1';
INSERT INTO warm_tens SELECT window_end, count(*), avg(v) FROM TUMBLE(warm, ts, INTERVAL '10 seconds')
    GROUP BY window_start, window_end;

-- A view, one over it, a query over that, an alert.
CREATE MATERIALIZED VIEW fives AS SELECT device, window_start, window_end, count(*) AS n, avg(v) AS mean
    FROM TUMBLE(readings, ts, INTERVAL '5 seconds') GROUP BY device, window_start, window_end;
CREATE MATERIALIZED VIEW per_site AS SELECT d.site, window_start, window_end, sum(n) AS n, avg(mean) AS mean, stddev(mean) AS spread
    FROM HOP(fives, window_end, INTERVAL '10 seconds', INTERVAL '30 seconds') AS f JOIN devices AS d ON d.device = f.device
    GROUP BY d.site, window_start, window_end;
CREATE STREAM sites (e TIMESTAMP, n BIGINT, mean DOUBLE);
INSERT INTO sites SELECT window_end, sum(n), avg(spread) FROM TUMBLE(per_site, window_start, INTERVAL '1 minute')
    GROUP BY window_start, window_end;
CREATE STREAM changes (device TEXT, e TIMESTAMP, change DOUBLE);
INSERT INTO changes SELECT device, window_end, mean - lag(mean) OVER (PARTITION BY device ORDER BY window_end) FROM fives;
CREATE ALERT hot TO screen KEY (device) RAISE WHEN mean > 50 FOR INTERVAL '10 seconds' AS
    SELECT device, window_end, mean FROM fives;

-- Rows that are replaced; the first of each key; every row.
CREATE MATERIALIZED VIEW so_far AS SELECT device, window_end, count(*) AS n, avg(v) AS mean
    FROM TUMBLE(readings, ts, INTERVAL '20 seconds') GROUP BY device, window_start, window_end EMIT ON UPDATE;
CREATE MATERIALIZED VIEW firsts AS SELECT DISTINCT ON (device, window_end) device, window_end, ts, v
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') ORDER BY device, window_end, ts;
CREATE STREAM first_tens (e TIMESTAMP, n BIGINT, total DOUBLE);
INSERT INTO first_tens SELECT window_end, count(*), sum(v) FROM TUMBLE(firsts, ts, INTERVAL '30 seconds')
    GROUP BY window_start, window_end;

-- Windows over windows, one of them filtered, one over what rows make.
CREATE STREAM nested (e TIMESTAMP, device TEXT, n BIGINT, mean DOUBLE, spread DOUBLE);
INSERT INTO nested SELECT window_end, device, sum(n), avg(mean), stddev(mean) FROM CUMULATE((
    SELECT device, window_end AS e, count(*) AS n, avg(v) AS mean FROM HOP(readings, ts, INTERVAL '2 seconds', INTERVAL '6 seconds')
    GROUP BY device, window_start, window_end HAVING count(*) > 2), e, INTERVAL '10 seconds', INTERVAL '40 seconds')
    GROUP BY device, window_start, window_end;
CREATE STREAM visits (s TIMESTAMP, e TIMESTAMP, device TEXT, n BIGINT, mean DOUBLE);
INSERT INTO visits SELECT window_start, window_end, device, sum(n), avg(mean) FROM SESSION((
    SELECT device, window_end AS e, count(*) AS n, avg(v) AS mean FROM TUMBLE(readings, ts, INTERVAL '2 seconds')
    GROUP BY device, window_start, window_end HAVING avg(v) > 45), e, INTERVAL '5 seconds')
    GROUP BY device, window_start, window_end;
CREATE STREAM long_visits (e TIMESTAMP, n BIGINT, mean DOUBLE);
INSERT INTO long_visits SELECT window_end, count(*), avg(mean) FROM TUMBLE((
    SELECT device, window_end AS e, avg(mean) AS mean FROM SESSION((
        SELECT device, window_end AS e, avg(v) AS mean FROM TUMBLE(readings, ts, INTERVAL '1 second')
        GROUP BY device, window_start, window_end), e, INTERVAL '3 seconds')
    GROUP BY device, window_start, window_end), e, INTERVAL '20 seconds') GROUP BY window_start, window_end;
";
const DEVICES: &str = "device,site\nd1,south\nd0,north\nd2,north\n";
const OUTPUTS: [&str; 12] = [
    "warm_tens",
    "view.fives",
    "view.per_site",
    "sites",
    "changes",
    "alerts.hot",
    "view.firsts",
    "first_tens",
    "nested",
    "visits",
    "long_visits",
    "stage.nested.1",
];
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
    let last = |n: i64| Reading { device: format!("d{n}"), ts_us: count * 400_000 + 600_000_000, v: 1.0 };
    rows.extend((0..4).map(last));
    rows
}

/// The last row of each window and device.
fn last_rows(rows: &[String]) -> BTreeMap<(String, String), String> {
    let key = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        (row["window_end"].to_string(), row["device"].to_string())
    };
    rows.iter().map(|row| (key(row), row.clone())).collect()
}

fn check_same(found: &HashMap<String, Vec<String>>, expected: &HashMap<String, Vec<String>>, place: &str) {
    for stream in OUTPUTS {
        assert_eq!(found[stream], expected[stream], "{stream}, {place}");
    }
    assert_eq!(last_rows(&found["view.so_far"]), last_rows(&expected["view.so_far"]), "{place}");
    for stream in ["late.fives", "late.per_site", "late.firsts", "late.nested.stage1"] {
        assert!(found[stream].is_empty(), "no row is late for what it was made for: {stream}, {place}");
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

async fn crash_everywhere(partitions: u32) {
    let rows = readings(320);
    let expected = undisturbed(partitions, &rows).await;
    for stream in OUTPUTS {
        assert!(expected[stream].len() > 1, "{stream} has rows: {:?}", expected[stream]);
    }
    assert!(last_rows(&expected["view.so_far"]).len() < expected["view.so_far"].len(), "rows are replaced");
    // A sample of the places, another one for each number of partitions; 1 tries them all.
    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(53, |every| every.parse().unwrap());
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
        for size in [3, 31, 324] {
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
