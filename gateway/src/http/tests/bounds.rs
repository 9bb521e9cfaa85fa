use std::sync::atomic::Ordering;
use std::time::Duration;

use thermocline_log::HookedDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::testing::FailingDisk;

const PATH: &str = "/v1/streams/readings";
const NDJSON: &str = "application/x-ndjson";
const GOOD: &str = "{\"device_id\":\"a\",\"ts\":1000}\n";

fn small() -> HttpOptions {
    HttpOptions {
        max_body_bytes: 10_000,
        max_bytes_in_flight: 12_000,
        idle_timeout: Duration::from_millis(200),
        head_timeout: Duration::from_millis(300),
        shutdown_grace: Duration::from_secs(5),
        ..HttpOptions::default()
    }
}

/// Sends bytes on a connection of its own; everything that comes back until the server closes it.
async fn talk(server: &Server, request: &str) -> String {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn bodies_over_the_limit_are_413() {
    let server = Server::with(small(), LogOptions::default(), |state| state).await;
    let large = GOOD.repeat(1000);
    json(server.post(PATH, NDJSON, large.clone()).await, StatusCode::PAYLOAD_TOO_LARGE).await;
    let chunk = format!("{:x}\r\n{}\r\n", 50 * GOOD.len(), GOOD.repeat(50));
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let answer = talk(&server, &format!("{head}{}0\r\n\r\n", chunk.repeat(20))).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &vec![b'\n'; 10 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let request = server.client.post(format!("{}{PATH}", server.url)).header("content-encoding", "gzip").body(bomb);
    let answer = json(request.send().await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(answer["error"]["message"], "the body has more than 10000 bytes");
    assert_eq!(json(server.post(PATH, NDJSON, GOOD).await, StatusCode::OK).await["accepted"], 1);
    server.stop().await;
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_together() {
    let server = Server::with(
        HttpOptions { idle_timeout: Duration::from_secs(60), ..small() },
        LogOptions::default(),
        |state| state,
    )
    .await;
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9000\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "its bytes are reserved now");
    let refused = server.post(PATH, NDJSON, GOOD.repeat(200)).await;
    assert_eq!(refused.headers()["retry-after"], "1");
    json(refused, StatusCode::TOO_MANY_REQUESTS).await;
    assert_eq!(server.post(PATH, NDJSON, GOOD).await.status(), StatusCode::OK, "small ones still fit");
    drop(slow);
    while server.post(PATH, NDJSON, GOOD.repeat(200)).await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn slow_clients_are_given_up_and_store_nothing() {
    let server = Server::with(small(), LogOptions::default(), |state| state).await;
    let request = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{GOOD}");
    let answer = talk(&server, &request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let answer = talk(&server, "POST /v1/streams/readings HTTP/1.1\r\nhost:").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let answer = talk(&server, "\u{0}\u{1}nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(server.log.range(server.stream.id(), 0).unwrap(), 0..0);
    server.stop().await;
}

#[tokio::test]
async fn an_overloaded_log_is_429_and_the_doors_stay_open() {
    let options = LogOptions { tail_bytes: 0, ..LogOptions::default() };
    let server = Server::with(HttpOptions::default(), options, |state| state).await;
    let answer = server.post(PATH, NDJSON, GOOD).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    json(answer, StatusCode::TOO_MANY_REQUESTS).await;
    let answer = server.post("/api/v2/write", "text/plain", "readings,device_id=a temperature=1 1").await;
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(json(answer, StatusCode::TOO_MANY_REQUESTS).await["code"], "too many requests");
    assert_eq!(server.fetch("/healthz").await.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_507_and_rows_go_in_again_when_there_is_space() {
    let disk = Arc::new(FailingDisk::default());
    let options = LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() };
    let server = Server::with(HttpOptions::default(), options, |state| state).await;
    assert_eq!(server.post(PATH, NDJSON, GOOD).await.status(), StatusCode::OK);
    disk.full.store(true, Ordering::SeqCst);
    let answer = json(server.post(PATH, NDJSON, GOOD).await, StatusCode::INSUFFICIENT_STORAGE).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("no space left"), "{answer}");
    let answer = server.post("/write", "text/plain", "readings,device_id=a temperature=1 1").await;
    assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
    disk.full.store(false, Ordering::SeqCst);
    while server.post(PATH, NDJSON, GOOD).await.status() != StatusCode::OK {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.lines().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_poisoned_log_is_507_and_reads_go_on() {
    let disk = Arc::new(FailingDisk::default());
    let options = LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() };
    let server = Server::with(HttpOptions::default(), options, |state| state).await;
    assert_eq!(server.post(PATH, NDJSON, GOOD).await.status(), StatusCode::OK);
    disk.syncs_left.store(0, Ordering::SeqCst);
    for _ in 0..2 {
        let answer = json(server.post(PATH, NDJSON, GOOD).await, StatusCode::INSUFFICIENT_STORAGE).await;
        assert_eq!(answer["error"]["hint"], "the server accepts no rows until it is restarted");
        disk.syncs_left.store(i64::MAX, Ordering::SeqCst);
    }
    let listed = json(server.fetch("/v1/streams").await, StatusCode::OK).await;
    assert_eq!(listed["streams"][1]["partitions"][0]["end"], 1);
    server.shutdown.cancel();
    server.serving.await.unwrap();
}

#[tokio::test]
async fn shutdown_lets_requests_in_flight_finish_and_closes_idle_connections() {
    let server = Server::with(
        HttpOptions { idle_timeout: Duration::from_secs(60), head_timeout: Duration::from_secs(60), ..small() },
        LogOptions::default(),
        |state| state,
    )
    .await;
    assert_eq!(server.fetch("/healthz").await.status(), StatusCode::OK, "leaves an idle connection");
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let head =
        format!("POST {PATH} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n", GOOD.len());
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).await.unwrap();
    server.shutdown.cancel();
    slow.write_all(GOOD.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"accepted\":1"), "{answer}");
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.is_err());
    assert_eq!(server.log.range(server.stream.id(), 0).unwrap(), 0..1);
}
