use std::io::Write;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::ipc::writer::StreamWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::*;

const PATH: &str = "/v1/streams/readings";
const NDJSON: &str = "application/x-ndjson";
const GOOD: &str = r#"{"device_id":"a","ts":1000,"temperature":1.5}"#;
const STORED: &str = r#"{"device_id":"a","ts":"1970-01-01T00:00:01Z","temperature":1.5}"#;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn good_rows_are_stored_and_bad_ones_kept_with_the_reason() {
    let server = Server::start().await;
    let answer = server.post(PATH, NDJSON, format!("{GOOD}\nnonsense\n{GOOD}")).await;
    let reason = "malformed JSON at byte 1: expected '{' of an object, found 'n'";
    let expected = json!({ "accepted": 2, "rejected": 1, "errors": [{ "line": 2, "reason": reason }] });
    assert_eq!(json(answer, StatusCode::OK).await, expected);
    assert_eq!(server.lines(), [STORED, STORED]);
    let kept = json!({ "rejected_at": "2026-11-22T10:00:00Z", "source": "http", "line": 2, "reason": reason, "row": "nonsense" });
    let rejected: Vec<Value> = server.rejected_lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rejected, [kept]);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_names_ten_rejected_rows_and_the_log_keeps_all() {
    let server = Server::start().await;
    let answer = json(server.post(PATH, NDJSON, "x\n".repeat(25)).await, StatusCode::OK).await;
    assert_eq!((answer["rejected"].as_u64(), answer["errors"].as_array().unwrap().len()), (Some(25), 10));
    assert_eq!(server.rejected_lines().len(), 25);
    let answer = server.post(PATH, NDJSON, "").await;
    assert_eq!(json(answer, StatusCode::OK).await, json!({ "accepted": 0, "rejected": 0, "errors": [] }));
    server.stop().await;
}

#[tokio::test]
async fn every_format_by_its_content_type() {
    let server = Server::start().await;
    let columns: [(&str, ArrayRef); 2] =
        [("device_id", Arc::new(StringArray::from(vec!["a"]))), ("ts", Arc::new(Int64Array::from(vec![1000])))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut arrow = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    for (content_type, body) in [
        ("application/x-ndjson", GOOD.as_bytes().to_vec()),
        ("Application/JSON; charset=utf-8", format!("[{GOOD}]").into_bytes()),
        ("application/json", GOOD.as_bytes().to_vec()),
        ("text/csv", b"ts,device_id\n1000,a\n".to_vec()),
        ("application/vnd.apache.arrow.stream", arrow.into_inner().unwrap()),
    ] {
        let answer = json(server.post(PATH, content_type, body).await, StatusCode::OK).await;
        assert_eq!(answer["accepted"], 1, "{content_type}: {answer}");
    }
    let without = server.client.post(format!("{}{PATH}", server.url)).body(GOOD).send().await.unwrap();
    assert_eq!(json(without, StatusCode::OK).await["accepted"], 1);
    assert_eq!(server.lines().len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn gzip_bodies() {
    let server = Server::start().await;
    let send = |body: Vec<u8>, encoding: &str| {
        let request = server.client.post(format!("{}{PATH}", server.url)).header("content-encoding", encoding);
        request.body(body).send()
    };
    let body = format!("{GOOD}\n").repeat(1000);
    let answer = send(gzip(body.as_bytes()), "gzip").await.unwrap();
    assert_eq!(json(answer, StatusCode::OK).await["accepted"], 1000);
    let answer = send(b"plain".to_vec(), "gzip").await.unwrap();
    assert!(json(answer, StatusCode::BAD_REQUEST).await["error"]["message"].as_str().unwrap().contains("not gzip"));
    let cut = gzip(body.as_bytes());
    let answer = send(cut[..cut.len() / 2].to_vec(), "gzip").await.unwrap();
    json(answer, StatusCode::BAD_REQUEST).await;
    let answer = send(b"x".to_vec(), "zstd").await.unwrap();
    json(answer, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    assert_eq!(server.lines().len(), 1000);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_as_a_whole_stores_nothing() {
    let options = HttpOptions { max_rejected_rows: 5, ..HttpOptions::default() };
    let server = Server::with(options, LogOptions::default(), |state| state).await;
    let answer = json(server.post("/v1/streams/reading", NDJSON, GOOD).await, StatusCode::NOT_FOUND).await;
    let expected = json!({ "error": { "message": "no stream named \"reading\"", "hint": "did you mean readings, reading_counts" } });
    assert_eq!(answer, expected);
    let answer = server.post("/v1/streams/zzz", NDJSON, GOOD).await;
    assert_eq!(json(answer, StatusCode::NOT_FOUND).await["error"]["hint"], "GET /v1/streams lists the streams");
    let answer = server.post(PATH, "application/x-www-form-urlencoded", GOOD).await;
    let answer = json(answer, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    assert!(answer["error"]["hint"].as_str().unwrap().contains("curl"));
    let answer = json(server.post(PATH, "text/csv", "a,b\n1,2").await, StatusCode::BAD_REQUEST).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("header line"), "{answer}");
    let answer =
        json(server.post(PATH, NDJSON, format!("{GOOD}\n{}", "x\n".repeat(6))).await, StatusCode::BAD_REQUEST).await;
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("more than 5 rows are malformed"), "{answer}");
    let answer = json(server.fetch(PATH).await, StatusCode::METHOD_NOT_ALLOWED).await;
    assert_eq!(answer["error"]["message"], "GET is not answered at /v1/streams/readings");
    json(server.fetch("/v2").await, StatusCode::NOT_FOUND).await;
    assert_eq!(server.log.range(server.stream.id(), 0).unwrap(), 0..0);
    assert_eq!(server.log.range(server.rejected.id(), 0).unwrap(), 0..0);
    server.stop().await;
}

#[tokio::test]
async fn rows_survive_a_log_that_was_not_closed() {
    let server = Server::start().await;
    let body = format!("{GOOD}\n").repeat(20_000);
    let answers = (0..4).map(|_| server.post(PATH, NDJSON, body.clone()));
    for answer in futures::future::join_all(answers).await {
        assert_eq!(json(answer, StatusCode::OK).await["accepted"], 20_000);
    }
    let Server { log, stream, shutdown, serving, _dir: dir, .. } = server;
    shutdown.cancel();
    serving.await.unwrap();
    drop(log);
    let log = crate::testing::open_log(dir.path());
    assert_eq!(log.range(stream.id(), 0).unwrap(), 0..80_000);
}

#[tokio::test]
async fn streams_are_listed_with_columns_and_offsets() {
    let server = Server::start().await;
    server.post(PATH, NDJSON, format!("{GOOD}\n{GOOD}")).await;
    let answer = json(server.fetch("/v1/streams").await, StatusCode::OK).await;
    assert_eq!(answer["streams"][0]["name"], "reading_counts");
    let expected = json!({
        "name": "readings",
        "columns": [
            { "name": "device_id", "type": "TEXT", "nullable": false },
            { "name": "ts", "type": "TIMESTAMP", "nullable": false },
            { "name": "temperature", "type": "DOUBLE", "nullable": true },
            { "name": "status", "type": "TEXT", "nullable": true },
        ],
        "event_time": "ts",
        "partitions": [{ "partition": 0, "start": 0, "end": 2 }],
    });
    assert_eq!(answer["streams"][1], expected);
    server.stop().await;
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let reasons =
        move || if is_ready.load(std::sync::atomic::Ordering::SeqCst) { vec![] } else { vec!["replaying".to_owned()] };
    let state = |state: HttpState| state.with_readiness(reasons).with_metrics(|| "up 1\n".to_owned());
    let server = Server::with(HttpOptions::default(), LogOptions::default(), state).await;
    assert_eq!(server.fetch("/healthz").await.text().await.unwrap(), "ok\n");
    let answer = json(server.fetch("/readyz").await, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(answer, json!({ "ready": false, "reasons": ["replaying"] }));
    json(server.fetch("/health").await, StatusCode::SERVICE_UNAVAILABLE).await;
    ready.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(json(server.fetch("/readyz").await, StatusCode::OK).await["ready"], true);
    assert_eq!(json(server.fetch("/health").await, StatusCode::OK).await["status"], "pass");
    assert_eq!(server.fetch("/ping").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(server.fetch("/metrics").await.text().await.unwrap(), "up 1\n");
    server.stop().await;
}
