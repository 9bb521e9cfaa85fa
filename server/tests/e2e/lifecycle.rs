//! Starting, stopping, starting again; one directory, one server; the doors of operations.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Run, free_port, within};

const PIPELINE: &str = "CREATE STREAM readings (
    device_id   TEXT      NOT NULL,
    ts          TIMESTAMP NOT NULL,
    temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (connector = 'file', path = 'readings.csv', format = 'csv', follow = '${FOLLOW:-true}', max_skew = 'none');

CREATE STREAM minutes (ts TIMESTAMP NOT NULL, device_id TEXT NOT NULL, readings BIGINT NOT NULL, average DOUBLE);
INSERT INTO minutes
SELECT window_start, device_id, count(*), avg(temperature) FROM TUMBLE(readings, ts, INTERVAL '1 minute')
GROUP BY device_id, window_start, window_end;
";

/// A reading a second of two devices, as CSV.
fn rows(seconds: std::ops::Range<i64>) -> String {
    let mut rows = String::new();
    for second in seconds {
        let ts = chrono::DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap().format("%FT%TZ");
        let temperature = 20.0 + (second * 7919 % 1000) as f64 / 97.0;
        writeln!(rows, "dev-{},{ts},{temperature}", second % 2).unwrap();
    }
    rows
}

fn append(dir: &Path, text: &str) {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("readings.csv"));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn pipeline(dir: &Path) -> Run {
    std::fs::write(dir.join("pipeline.sql"), PIPELINE).unwrap();
    append(dir, "device_id,ts,temperature\n");
    Run::new(dir, dir.join("data"))
}

const ALL_MINUTES: &str = "SELECT * FROM minutes ORDER BY ts, device_id";
const ALL_READINGS: &str = "SELECT * FROM readings ORDER BY ts";

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_and_ctrl_c_everything_goes_on() {
    let (calm, disturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let calm_run = pipeline(calm.path()).env("FOLLOW", "false");
    append(calm.path(), &rows(0..9000));
    calm_run.to_the_end().await;

    let run = pipeline(disturbed.path());
    // Each stop comes amid a minute: the window that is open then has rows from both sides of it.
    for (part, signal) in [(0..3010, Signal::TERM), (3010..6030, Signal::INT)] {
        let running = run.start().await;
        let end = part.end;
        append(disturbed.path(), &rows(part));
        running.reaches("SELECT count(*) FROM readings", end).await;
        running.reaches("SELECT count(*) FROM minutes", 2 * (end / 60 - 1)).await;
        running.signal(signal);
        let ended = running.ended().await;
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    }
    append(disturbed.path(), &rows(6030..9000));
    let finite = run.clone().env("FOLLOW", "false");
    finite.to_the_end().await;
    finite.to_the_end().await;

    assert_eq!(run.sql(ALL_READINGS).await, calm_run.sql(ALL_READINGS).await);
    assert_eq!(run.sql(ALL_MINUTES).await, calm_run.sql(ALL_MINUTES).await);
    assert_eq!(run.sql("SELECT count(*) AS n FROM readings").await, [json!({"n": 9000})]);
    assert_eq!(run.sql("SELECT count(*) AS n FROM minutes").await, [json!({"n": 300})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_changes_no_window() {
    let (calm, disturbed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let calm_run = pipeline(calm.path()).env("FOLLOW", "false");
    append(calm.path(), &rows(0..9000));
    calm_run.to_the_end().await;

    let run = pipeline(disturbed.path());
    for part in [0..1015, 1015..1020, 1020..6050] {
        let running = run.start().await;
        let end = part.end;
        append(disturbed.path(), &rows(part));
        running.reaches("SELECT count(*) FROM readings", end - 500).await;
        running.kill().await;
    }
    append(disturbed.path(), &rows(6050..9000));
    run.clone().env("FOLLOW", "false").to_the_end().await;
    assert_eq!(run.sql(ALL_READINGS).await, calm_run.sql(ALL_READINGS).await);
    assert_eq!(run.sql(ALL_MINUTES).await, calm_run.sql(ALL_MINUTES).await);
}

/// Posts rows, a batch at a time, until the server is gone; the batches that were acknowledged. Each is sent once.
async fn post_until_gone(url: String, client: usize, acknowledged: watch::Sender<usize>) -> Vec<String> {
    let http = reqwest::Client::new();
    let mut batches = Vec::new();
    for batch in 0.. {
        let device = format!("client-{client}-batch-{batch}");
        let row = |n: usize| json!({"device_id": device, "ts": 1_767_225_600_000_i64 + n as i64, "temperature": n});
        let body: Vec<String> = (0..BATCH_ROWS).map(|n| row(n).to_string()).collect();
        let request = http.post(&url).header("content-type", "application/x-ndjson").body(body.join("\n"));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => batches.push(device),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => break,
        }
        acknowledged.send_modify(|batches| *batches += 1);
    }
    batches
}

const BATCH_ROWS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_and_no_batch_is_there_in_part_or_twice() {
    let dir = tempfile::tempdir().unwrap();
    let run = pipeline(dir.path());
    let mut acknowledged = Vec::new();
    for round in 0..4_usize {
        let running = run.start().await;
        let (count, mut counted) = watch::channel(0);
        let post =
            |client: usize| post_until_gone(running.url("/v1/streams/readings"), 10 * round + client, count.clone());
        let clients: Vec<_> = (0..4).map(|client| tokio::spawn(post(client))).collect();
        within("acknowledged batches", counted.wait_for(|count| *count >= 50)).await.unwrap();
        running.kill().await;
        for client in clients {
            acknowledged.extend(within("a client to see that the server is gone", client).await.unwrap());
        }
    }
    let query = "SELECT device_id, count(*) AS n, count(DISTINCT ts) AS times FROM readings GROUP BY device_id";
    let stored = run.sql(query).await;
    for batch in &stored {
        assert_eq!((&batch["n"], &batch["times"]), (&json!(BATCH_ROWS), &json!(BATCH_ROWS)), "{batch}");
    }
    let stored: HashSet<&str> = stored.iter().map(|batch| batch["device_id"].as_str().unwrap()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|batch| !stored.contains(batch.as_str())).collect();
    assert!(lost.is_empty(), "of {} acknowledged batches: {lost:?}", acknowledged.len());
}

/// A sink whose server is not there holds back nothing but itself, the end of the process included.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_does_not_wait_for_a_sink_that_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(crate::support::pipeline("plant", dir.path(), &[]), dir.path().join("data"))
        .env("PLANT_ROWS", "6000")
        .env("PLANT_METRICS", "influxdb")
        .env("PLANT_METRICS_URL", format!("http://127.0.0.1:{}", free_port()))
        .env("PLANT_METRICS_DATABASE", "plant");
    let running = run.start().await;
    running.stderr.wait_for("a delivery that failed", |line| line.contains("plant_series")).await;
    running.reaches("SELECT count(*) FROM readings", 6000).await;
    running.reaches("SELECT count(*) FROM series", 50).await;
    assert_eq!(running.get("/readyz").await.0, 200, "a destination that is down does not make the server unready");
    running.signal(Signal::TERM);
    let ended = running.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_directory_has_one_server_and_queries_go_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let run = pipeline(dir.path());
    append(dir.path(), &rows(0..100));
    let running = run.start().await;
    running.reaches("SELECT count(*) FROM readings", 100).await;
    let query = "SELECT device_id, count(*) AS readings FROM readings GROUP BY device_id ORDER BY device_id";
    let held = run.sql(query).await;
    assert_eq!(held, [json!({"device_id": "dev-0", "readings": 50}), json!({"device_id": "dev-1", "readings": 50})]);
    assert_eq!(run.sql_text(query, "csv").await, "device_id,readings\ndev-0,50\ndev-1,50\n");
    assert!(run.sql_text(query, "table").await.contains("(2 rows)"));

    let address = std::fs::read_to_string(dir.path().join("data/address")).unwrap();
    let second = run.spawn(&[]).ended().await;
    assert_eq!(second.code(), Some(3), "{}", second.stderr);
    assert!(second.stderr.contains("data"), "names the directory: {}", second.stderr);
    // Starting removed the file that says where the first one listens: this test's doing, mended for what follows.
    std::fs::write(dir.path().join("data/address"), address).unwrap();

    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));
    assert_eq!(run.sql(query).await, held, "the same with nobody there");
}

#[tokio::test(flavor = "multi_thread")]
async fn line_protocol_lands_in_the_stream_as_telegraf_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path()).start().await;
    let lines = "readings,device_id=dev-7 temperature=71.5 1767225600000\nreadings,device_id=dev-8 temperature=64 1767225601500\n";
    let (status, answer) =
        running.post("/api/v2/write?org=plant&bucket=plant&precision=ms", "text/plain; charset=utf-8", lines).await;
    assert_eq!((status, answer), (204, Value::Null));
    let expected = [
        json!({"device_id": "dev-7", "ts": "2026-01-01T00:00:00Z", "temperature": 71.5}),
        json!({"device_id": "dev-8", "ts": "2026-01-01T00:00:01.500Z", "temperature": 64.0}),
    ];
    assert_eq!(running.sql(ALL_READINGS).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_metrics_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path()).start().await;
    append(dir.path(), &rows(0..130));
    running.reaches("SELECT count(*) FROM minutes", 4).await;
    assert_eq!(running.get("/healthz").await.0, 200);
    let (status, ready) = running.get("/readyz").await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&ready).unwrap()["ready"], true);
    let (status, metrics) = running.get("/metrics").await;
    assert_eq!(status, 200);
    let rows = metrics
        .lines()
        .find(|line| line.starts_with("thermocline_gateway_rows_total") && line.contains("stream=\"readings\""));
    assert!(rows.is_some_and(|line| line.contains("source=\"file\"") && line.ends_with(" 130")), "{metrics}");
}
