//! Alerts about silence over a real log: what the clock, a table, a restart and a crash do to them.
//!
//! `THERMOCLINE_CRASH_EVERY=1` crashes at every single write and sync (minutes); the default is a sample.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use common::crash_disk::CrashDisk;
use common::{Pipeline, Row};
use thermocline_log::{HookedDisk, OsDisk};

/// The interval is short because a query that nothing wakes waits for it by the machine's clock, not by the test's.
const SQL: &str = "CREATE STREAM readings (
    device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '50 milliseconds'
) PARTITION BY (device) WITH (partitions = {partitions}, idle_timeout = '{idle}');
CREATE TABLE devices (device TEXT PRIMARY KEY, site TEXT) WITH (location = 'devices.csv', refresh = '100 milliseconds');
CREATE SINK screen WITH (connector = 'console');
CREATE ALERT silent TO screen KEY (device) RAISE WHEN NO DATA FOR INTERVAL '300 milliseconds'
    SUMMARY device || ' at ' || v AS SELECT device, v FROM readings;
CREATE ALERT missing TO screen KEY (device)
    RAISE WHEN NO DATA FOR INTERVAL '300 milliseconds' EXPECTING (SELECT device, site FROM devices)
    SUMMARY device || ' in ' || site || coalesce(' at ' || v, ', never heard')
    AS SELECT r.device, d.site, r.v FROM readings AS r JOIN devices AS d ON d.device = r.device;
CREATE ALERT dead TO screen RAISE WHEN NO DATA FOR INTERVAL '300 milliseconds' AS SELECT v FROM readings WHERE device = 'b';
";
const DEVICES: &str = "device,site\na,north\nb,south\nnever,west\n";
const ALERTS: [&str; 3] = ["alerts.silent", "alerts.missing", "alerts.dead"];

fn pipeline(partitions: u32, idle: &str) -> Pipeline {
    let sql = SQL.replace("{partitions}", &partitions.to_string()).replace("{idle}", idle);
    let pipeline = Pipeline::new(&sql).checkpoint_rows(40);
    write_devices(&pipeline, DEVICES);
    pipeline
}

fn write_devices(pipeline: &Pipeline, rows: &str) {
    std::fs::write(pipeline.dir().join("devices.csv"), rows).unwrap();
}

fn row(device: &str, ts_ms: i64) -> Row {
    Row { device: device.into(), ts_ms, temperature: ts_ms as f64 }
}

/// Of each event its time, action, key and summary.
fn shown(events: &[String]) -> Vec<String> {
    let show = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let time = text("ts").trim_start_matches("1970-01-01T").replacen("00:", "", 1);
        format!("{time} {} {}", text("action"), text("summary"))
    };
    events.iter().map(show).collect()
}

async fn events(pipeline: &mut Pipeline, alert: &str) -> Vec<String> {
    shown(&pipeline.rows(alert).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_comes_the_clock_raises_and_the_next_row_clears_once() {
    for crash in [false, true] {
        let mut pipeline = pipeline(2, "none");
        pipeline.append(&[row("a", 1_000), row("b", 1_100), row("a", 1_120)]).await;
        pipeline.settle().await;
        assert_eq!(events(&mut pipeline, "alerts.silent").await, [] as [&str; 0]);
        pipeline.clock.advance(Duration::from_millis(301));
        pipeline.wait_for_rows("alerts.silent", 2).await;
        pipeline.wait_for_rows("alerts.missing", 3).await;
        pipeline.wait_for_rows("alerts.dead", 1).await;
        if crash {
            pipeline.crash().await;
            pipeline.settle_started().await;
        }
        // Hours later: whoever is heard is cleared, the others are raised already.
        pipeline.append(&[row("b", 9_000_000), row("b", 9_000_200)]).await;
        pipeline.settle().await;
        let streams = pipeline.finish().await;
        assert_eq!(
            shown(&streams["alerts.silent"]),
            ["00:01.400Z trigger b at 1100.0", "00:01.420Z trigger a at 1120.0", "02:30:00Z resolve b at 9000000.0"],
            "crash: {crash}"
        );
        assert_eq!(streams["alerts.missing"].len(), 4, "{:?}", streams["alerts.missing"]);
        assert_eq!(streams["alerts.dead"].len(), 2, "{:?}", streams["alerts.dead"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_had_a_row_is_silent_by_the_clock() {
    let mut pipeline = pipeline(2, "1 second");
    pipeline.settle_started().await;
    pipeline.clock.advance(Duration::from_millis(500));
    pipeline.wait_for_rows("alerts.missing", 3).await;
    pipeline.wait_for_rows("alerts.dead", 1).await;
    let raised = events(&mut pipeline, "alerts.missing").await;
    assert_eq!(
        raised,
        [
            "00:00.500Z trigger a in north, never heard",
            "00:00.500Z trigger b in south, never heard",
            "00:00.500Z trigger never in west, never heard"
        ]
    );
    pipeline.crash().await;
    pipeline.append(&[row("a", 100), row("b", 120)]).await;
    let streams = pipeline.finish().await;
    // It is not resolved before it was raised.
    assert_eq!(
        shown(&streams["alerts.missing"])[3..],
        ["00:00.500Z resolve a in north at 100.0", "00:00.500Z resolve b in south at 120.0"]
    );
    assert_eq!(streams["alerts.silent"], [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_raised_because_the_engine_was_down() {
    let mut pipeline = pipeline(1, "1 second");
    pipeline.append(&[row("a", 1_000), row("b", 1_010), row("never", 1_020)]).await;
    pipeline.settle().await;
    pipeline.crash().await;
    // An hour later a is there at once, b a little later, the third not in time.
    pipeline.append(&[row("a", 3_600_000), row("a", 3_600_200), row("b", 3_600_250)]).await;
    pipeline.settle().await;
    for alert in ALERTS {
        assert_eq!(events(&mut pipeline, alert).await, [] as [&str; 0], "{alert}");
    }
    pipeline.append(&[row("a", 3_600_400), row("b", 3_600_500)]).await;
    let streams = pipeline.finish().await;
    let expected = ["01:00.300Z trigger never at 1020.0"];
    assert_eq!(shown(&streams["alerts.silent"]), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_to_the_table_has_an_interval_and_one_that_leaves_is_cleared() {
    let mut pipeline = pipeline(1, "1 second");
    pipeline.append(&[row("a", 1_000), row("a", 1_250), row("a", 1_400)]).await;
    pipeline.settle().await;
    pipeline.wait_for_rows("alerts.missing", 2).await;
    write_devices(&pipeline, "device,site\na,north\nb,south\nnew,east\n");
    pipeline.clock.advance(Duration::from_millis(100));
    pipeline.wait_for_rows("alerts.missing", 3).await;
    pipeline.append(&[row("a", 1_600), row("a", 1_850)]).await;
    pipeline.settle().await;
    pipeline.crash().await;
    pipeline.append(&[row("a", 1_900), row("a", 2_000)]).await;
    let streams = pipeline.finish().await;
    assert_eq!(
        shown(&streams["alerts.missing"]),
        [
            "00:01.300Z trigger b in south, never heard",
            "00:01.300Z trigger never in west, never heard",
            "00:01.500001Z resolve never in west, never heard",
            "00:01.800001Z trigger new in east, never heard"
        ]
        .map(|text| text.replace("00:01.500001Z", &time_of(&streams["alerts.missing"][2])))
        .map(|text| text.replace("00:01.800001Z", &time_of(&streams["alerts.missing"][3])))
    );
}

fn time_of(event: &str) -> String {
    shown(&[event.to_owned()])[0].split(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_text_of_the_query_clears_what_the_one_before_has_raised() {
    let mut pipeline = pipeline(1, "1 second");
    pipeline.append(&[row("a", 1_000), row("b", 1_500), row("b", 1_700)]).await;
    pipeline.settle().await;
    assert_eq!(events(&mut pipeline, "alerts.silent").await, ["00:01.300Z trigger a at 1000.0"]);
    pipeline.crash().await;
    let sql = SQL.replace("{partitions}", "1").replace("{idle}", "1 second");
    let mut pipeline = pipeline.with_sql(&sql.replace("INTERVAL '300 milliseconds'", "INTERVAL '2 seconds'"));
    pipeline.append(&[row("b", 1_800), row("a", 1_900), row("b", 2_000)]).await;
    let streams = pipeline.finish().await;
    assert_eq!(shown(&streams["alerts.silent"]), ["00:01.300Z trigger a at 1000.0", "00:01.900Z resolve a at 1900.0"]);
}

/// Five devices, each of which is silent from time to time.
fn readings(seed: u64, count: i64) -> Vec<Row> {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let devices = ["a", "b", "c", "d", "e"];
    let mut rows = Vec::new();
    for n in 0..count {
        let device = random() % 5;
        let sleeps = (n / 40 + device) % 5 == 0;
        let late = if random() % 31 == 0 { 400 } else { random() % 50 };
        if !sleeps {
            rows.push(row(devices[device as usize], 10_000 + n * 20 - late));
        }
    }
    rows
}

fn check_in_turns(events: &[String]) {
    assert!(events.iter().any(|event| event.contains("resolve")), "{events:?}");
    let mut raised: HashMap<String, bool> = HashMap::new();
    for event in events {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let raise = event["action"] == "trigger";
        let before = raised.insert(event["dedup_key"].to_string(), raise).unwrap_or(false);
        assert_ne!(before, raise, "raised twice, or resolved without being raised: {event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_any_chunks_give_the_same_bytes() {
    let rows = readings(7, 400);
    for partitions in [1, 3] {
        let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for size in [400, 1, 7, 90] {
            let mut pipeline = pipeline(partitions, "none").unsynced();
            for chunk in rows.chunks(size) {
                pipeline.append(chunk).await;
                pipeline.settle().await;
            }
            let streams = pipeline.finish().await;
            for alert in ALERTS {
                let found = &streams[alert];
                check_in_turns(found);
                let before = expected.entry(alert).or_insert_with(|| found.clone());
                assert_eq!(found, before, "{alert}, {partitions} partitions, chunks of {size}");
            }
        }
        assert!(expected["alerts.silent"].len() > 10, "{expected:?}");
    }
}

/// What a plain look at all rows of one partition says: time, action and device of each event, sorted.
fn silences(rows: &[Row]) -> Vec<(i64, &'static str, String)> {
    let mut heard: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut latest_ms = i64::MIN;
    for row in rows {
        if row.ts_ms >= latest_ms.saturating_sub(50) {
            heard.entry(&row.device).or_default().push(row.ts_ms);
        }
        latest_ms = latest_ms.max(row.ts_ms);
    }
    let mut found = Vec::new();
    for (device, mut times) in heard {
        times.sort_unstable();
        for (n, time_ms) in times.iter().enumerate() {
            let next_ms = times.get(n + 1);
            if next_ms.unwrap_or(&latest_ms) - time_ms > 300 {
                found.push((time_ms + 300, "trigger", device.to_owned()));
                found.extend(next_ms.map(|next_ms| (*next_ms, "resolve", device.to_owned())));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_are_those_of_a_plain_look_at_all_rows() {
    for seed in 1..=5 {
        let rows = readings(seed, 300);
        let mut pipeline = pipeline(1, "none").unsynced();
        for chunk in rows.chunks(37) {
            pipeline.append(chunk).await;
        }
        let streams = pipeline.finish().await;
        let event = |event: &String| {
            let event: serde_json::Value = serde_json::from_str(event).unwrap();
            let time = chrono::DateTime::parse_from_rfc3339(event["ts"].as_str().unwrap()).unwrap().timestamp_millis();
            let action = if event["action"] == "trigger" { "trigger" } else { "resolve" };
            let key: serde_json::Value = serde_json::from_str(event["key"].as_str().unwrap()).unwrap();
            (time, action, key["device"].as_str().unwrap().to_owned())
        };
        let mut found: Vec<_> = streams["alerts.silent"].iter().map(event).collect();
        found.sort();
        assert_eq!(found, silences(&rows), "seed {seed}");
        assert!(found.len() > 5, "seed {seed}: {found:?}");
    }
}

/// Rows, silence of all by the clock, and rows again; goes on where the log stands. `Err` when the disk died.
async fn run(pipeline: &mut Pipeline, rows: &[Row], all: &[(&str, u64)]) -> Result<(), String> {
    pipeline.try_start().await.map_err(|error| error.to_string())?;
    let (before, after) = rows.split_at(rows.len() / 2);
    let done = pipeline.rows_in("readings").await as usize;
    append_from(pipeline, before, done).await?;
    if done <= before.len() {
        pipeline.clock.advance(Duration::from_millis(301));
        while is_short(pipeline, all).await {
            let running = pipeline.start().await;
            if let Some(error) = running.engine.status().find_map(|(_, status)| status.error()) {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    append_from(pipeline, after, done.saturating_sub(before.len())).await?;
    pipeline.finish_queries().await.map_err(|error| error.to_string())
}

/// Whether an alert has fewer events than that.
async fn is_short(pipeline: &mut Pipeline, all: &[(&str, u64)]) -> bool {
    for (alert, events) in all {
        if pipeline.rows_in(alert).await < *events {
            return true;
        }
    }
    false
}

async fn append_from(pipeline: &mut Pipeline, rows: &[Row], done: usize) -> Result<(), String> {
    for chunk in rows.get(done..).unwrap_or_default().chunks(30) {
        let stream = pipeline.start().await.log.stream("readings").unwrap();
        let batch = common::readings_batch(chunk, &stream);
        pipeline.append_batch("readings", batch).await.map_err(|error| error.to_string())?;
        pipeline.try_settle().await?;
    }
    pipeline.try_settle().await
}

/// What comes before the silence of all, and after it.
fn interrupted() -> Vec<Row> {
    let mut rows = readings(7, 240);
    let half = rows.len() / 2;
    rows[half..].iter_mut().for_each(|row| row.ts_ms += 100_000);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_or_sync_raises_and_clears_each_silence_once() {
    let rows = interrupted();
    for partitions in [1, 2] {
        // All but the last silence of every device are found out by rows.
        let mut first = pipeline(partitions, "none");
        append_from(&mut first, &rows[..rows.len() / 2], 0).await.unwrap();
        let mut all = Vec::new();
        for (alert, keys) in [("alerts.silent", 5), ("alerts.missing", DEVICES.lines().count() - 1), ("alerts.dead", 1)]
        {
            let by_rows = first.rows(alert).await;
            let open = by_rows.iter().filter(|event| event.contains("trigger")).count()
                - by_rows.iter().filter(|event| event.contains("resolve")).count();
            all.push((alert, (by_rows.len() + keys - open) as u64));
        }
        drop(first);

        let mut undisturbed = pipeline(partitions, "none");
        run(&mut undisturbed, &rows, &all).await.unwrap();
        let expected = undisturbed.finish().await;
        ALERTS.iter().for_each(|alert| check_in_turns(&expected[*alert]));
        let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(15, |every| every.parse().unwrap());
        let mut operations = u64::from(partitions);
        let mut crashes = 0;
        loop {
            let mut pipeline = pipeline(partitions, "none");
            let disk = Arc::new(CrashDisk::after_operations(operations));
            pipeline.set_disk(HookedDisk::new(&disk));
            let ended = run(&mut pipeline, &rows, &all).await;
            assert_eq!(ended.is_err(), disk.is_dead(), "{ended:?}");
            if ended.is_ok() {
                break;
            }
            crashes += 1;
            pipeline.crash().await;
            pipeline.set_disk(Arc::new(OsDisk));
            run(&mut pipeline, &rows, &all).await.unwrap();
            let found = pipeline.finish().await;
            for alert in ALERTS {
                assert_eq!(found[alert], expected[alert], "{alert}, {partitions} partitions, operation {operations}");
            }
            operations += every;
        }
        assert!(crashes > 5, "{crashes} crashes");
    }
}
