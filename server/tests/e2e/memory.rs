//! The memory limit: readiness names the query that stopped, the server goes on, and with more memory so does the query.

use std::path::Path;

use serde_json::Value;
use thermocline_log::LogOptions;

use crate::support::{eventually, within};

const PIPELINE: &str = "
    CREATE STREAM readings (device TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '1 second');
    CREATE STREAM copies (device TEXT, v DOUBLE);
    CREATE STREAM spreads (device TEXT, at TIMESTAMP, middle DOUBLE);
    INSERT INTO copies SELECT device, v FROM readings;
    INSERT INTO spreads SELECT device, window_end, median(v) FROM TUMBLE(readings, ts, INTERVAL '1 hour')
        GROUP BY device, window_start, window_end;";

async fn server(dir: &Path, memory_limit_bytes: u64) -> thermocline::Server {
    std::fs::write(dir.join("pipeline.sql"), PIPELINE).unwrap();
    let (pipeline, findings) = thermocline::load(&dir.join("pipeline.sql"), &|_| None).await.unwrap();
    let settings = thermocline::ServerSettings {
        pipeline: pipeline.unwrap_or_else(|| panic!("{}", findings.render())),
        data_dir: dir.join("data"),
        listen: "127.0.0.1:0".parse().unwrap(),
        log: LogOptions::default(),
        metrics: None,
        checkpoint_rows: None,
        memory_limit_bytes: Some(memory_limit_bytes),
    };
    thermocline::Server::start(settings, &|_| None).await.unwrap()
}

async fn ready(server: &thermocline::Server) -> (u16, Value) {
    let answer = within("readiness", reqwest::get(format!("http://{}/readyz", server.address()))).await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn post(server: &thermocline::Server, rows: String) -> u16 {
    let url = format!("http://{}/v1/streams/readings", server.address());
    within("an answer", reqwest::Client::new().post(url).body(rows).send()).await.unwrap().status().as_u16()
}

/// A thousand rows of a thousand devices each.
fn rows(part: usize) -> String {
    let row = |n: usize| format!("{{\"device\": \"device {n}, part {part}\", \"ts\": {}, \"v\": {n}}}\n", 1000 * part);
    (0..1_000).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_query_that_needs_more_memory() {
    let dir = tempfile::tempdir().unwrap();
    let limited = server(dir.path(), 1 << 20).await;
    for part in 0..30 {
        assert_eq!(post(&limited, rows(part)).await, 200);
    }
    let (_, found) =
        eventually("the query to stop", || async { Some(ready(&limited).await).filter(|found| found.0 == 503) }).await;
    let reason = found["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("query spreads: query \"spreads\" holds"), "{reason}");
    assert!(limited.report().problems()[0].contains("--memory-limit"), "{:?}", limited.report());
    assert_eq!(post(&limited, rows(30)).await, 200);
    let copied = || async { limited.report().queries.iter().any(|q| q.name == "copies" && q.rows_out == 31_000) };
    eventually("the other query", || async { copied().await.then_some(()) }).await;
    let stopped = limited.stop().await.unwrap_err().to_string();
    assert!(stopped.contains("\"spreads\" holds"), "{stopped}");
    let more = server(dir.path(), 1 << 30).await;
    assert_eq!(ready(&more).await.0, 200);
    more.finish().await.unwrap();
    // A process that another test starts holds all locks until it runs its program.
    let data = dir.path().join("data");
    let ask = || async { thermocline::query_data_dir(&data, "SELECT * FROM spreads").await.ok() };
    let (_, batches) = eventually("the log to be free", ask).await;
    assert_eq!(batches.iter().map(|rows| rows.num_rows()).sum::<usize>(), 31_000);
}
