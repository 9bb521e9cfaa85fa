use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use thermocline_log::ManualClock;

use super::*;

const PATH: &str = "/v1/streams/readings";
const GOOD: &str = r#"{"device_id":"a","ts":1000,"temperature":1.5}"#;

async fn send(server: &Server, path: &str, key: &str, body: impl Into<reqwest::Body>) -> Response {
    server.client.post(format!("{}{path}", server.url)).header("idempotency-key", key).body(body).send().await.unwrap()
}

fn is_replayed(answer: &Response) -> bool {
    match answer.headers().get("idempotency-replayed") {
        Some(value) => value == "true",
        None => false,
    }
}

#[tokio::test]
async fn a_body_sent_again_gets_the_same_answer_and_is_stored_once() {
    let server = Server::start().await;
    let body = format!("{GOOD}\nnonsense\n{GOOD}\n{}", "x\n".repeat(20));
    let first = send(&server, PATH, "k", body.clone()).await;
    assert!(!is_replayed(&first));
    let first = json(first, StatusCode::OK).await;
    assert_eq!((first["accepted"].as_u64(), first["rejected"].as_u64()), (Some(2), Some(21)));
    for round in 0..3 {
        let again = send(&server, PATH, "k", body.clone()).await;
        assert!(is_replayed(&again));
        assert_eq!(json(again, StatusCode::OK).await, first, "round {round}");
        // The rejected rows are found in segments too.
        server.log.seal().await.unwrap();
    }
    assert_eq!((server.lines().len(), server.rejected_lines().len()), (2, 21));
    server.stop().await;
}

#[tokio::test]
async fn only_malformed_rows_and_no_rows_at_all_are_remembered_too() {
    let server = Server::start().await;
    for (key, body, rejected) in [("malformed", "x\ny\n", 2), ("empty", "", 0)] {
        for round in 0..2 {
            let answer = send(&server, PATH, key, body).await;
            assert_eq!(is_replayed(&answer), round == 1, "{key}");
            let answer = json(answer, StatusCode::OK).await;
            assert_eq!((answer["accepted"].as_u64(), answer["rejected"].as_u64()), (Some(0), Some(rejected)), "{key}");
            assert_eq!(answer["errors"].as_array().unwrap().len() as u64, rejected);
        }
        json(send(&server, PATH, key, GOOD).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    assert_eq!((server.lines().len(), server.rejected_lines().len()), (0, 2));
    server.stop().await;
}

#[tokio::test]
async fn a_key_is_for_one_body_of_one_stream() {
    let server = Server::start().await;
    json(send(&server, PATH, "k", GOOD).await, StatusCode::OK).await;
    let other = json(send(&server, PATH, "k", format!("{GOOD}\n")).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    let expected = json!({ "error": {
        "message": "the idempotency key was used before for another body",
        "hint": "nothing of this body was stored; send it with a key of its own",
    }});
    assert_eq!(other, expected);
    let answer = send(&server, "/v1/streams/reading_counts", "k", GOOD).await;
    assert!(!is_replayed(&answer), "another stream");
    json(answer, StatusCode::OK).await;
    // The draft writes keys in quotes; compressed or not, it is the same body.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let request = server.client.post(format!("{}{PATH}", server.url)).header("content-encoding", "gzip");
    let request = request.header("idempotency-key", "\"k\"").body(encoder.finish().unwrap());
    assert!(is_replayed(&request.send().await.unwrap()));
    assert_eq!(server.lines().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn malformed_keys_are_400_and_store_nothing() {
    let server = Server::start().await;
    for key in ["", "\"\"", "\"", "\"k", &"k".repeat(256)] {
        let answer = json(send(&server, PATH, key, GOOD).await, StatusCode::BAD_REQUEST).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("expected an idempotency key of 1 to 255 ASCII characters, found "), "{message}");
    }
    let latin1 = reqwest::header::HeaderValue::from_bytes(b"k\xe4").unwrap();
    let request = server.client.post(format!("{}{PATH}", server.url)).header("idempotency-key", latin1);
    json(request.body(GOOD).send().await.unwrap(), StatusCode::BAD_REQUEST).await;
    let request = server.client.post(format!("{}{PATH}", server.url)).header("idempotency-key", "a");
    let answer = request.header("idempotency-key", "b").body(GOOD).send().await.unwrap();
    json(answer, StatusCode::BAD_REQUEST).await;
    assert_eq!(server.lines().len(), 0);
    json(send(&server, PATH, &"k".repeat(255), GOOD).await, StatusCode::OK).await;
    server.stop().await;
}

#[tokio::test]
async fn a_refused_body_does_not_use_up_its_key() {
    let options = HttpOptions { max_rejected_rows: 1, ..HttpOptions::default() };
    let server = Server::with(options, LogOptions::default(), |state| state).await;
    json(send(&server, PATH, "k", "x\ny\n").await, StatusCode::BAD_REQUEST).await;
    let answer = send(&server, PATH, "k", GOOD).await;
    assert!(!is_replayed(&answer));
    assert_eq!(json(answer, StatusCode::OK).await["accepted"], 1);
    server.stop().await;
}

#[tokio::test]
async fn of_many_at_the_same_time_one_is_stored_and_all_get_its_answer() {
    let server = Server::start().await;
    let body = format!("{GOOD}\n").repeat(5000) + "nonsense";
    let answers = futures::future::join_all((0..16).map(|_| send(&server, PATH, "k", body.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    for answer in answers {
        let answer = json(answer, StatusCode::OK).await;
        assert_eq!((answer["accepted"].as_u64(), answer["rejected"].as_u64()), (Some(5000), Some(1)));
        assert_eq!(answer["errors"][0]["line"], 5001);
    }
    assert_eq!((server.lines().len(), server.rejected_lines().len()), (5000, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_server_remembers() {
    let server = Server::start().await;
    let first = json(send(&server, PATH, "k", format!("{GOOD}\nx")).await, StatusCode::OK).await;
    let server = server.restart().await;
    let again = send(&server, PATH, "k", format!("{GOOD}\nx")).await;
    assert!(is_replayed(&again));
    assert_eq!(json(again, StatusCode::OK).await, first);
    assert_eq!(server.lines().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn the_answer_is_that_of_the_first_time_whatever_the_clock_says_now() {
    // A row from the future is rejected; later it would not be.
    let clock = Arc::new(ManualClock::new(NOW_US / 1000));
    let log = LogOptions { clock: Arc::clone(&clock) as _, ..LogOptions::default() };
    let gateway_clock = TestClock::at(NOW_US);
    let state = |state: HttpState| state.with_clock(Arc::clone(&gateway_clock) as _);
    let server = Server::with(HttpOptions::default(), log, state).await;
    let body = format!(r#"{{"device_id":"a","ts":{}}}"#, NOW_US / 1000 + 120_000);
    let first = json(send(&server, PATH, "k", body.clone()).await, StatusCode::OK).await;
    assert_eq!(first["rejected"], 1);
    drop(crate::clock::Clock::sleep(gateway_clock.as_ref(), Duration::from_secs(600)));
    assert_eq!(json(send(&server, PATH, "k", body.clone()).await, StatusCode::OK).await, first);
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let answer = send(&server, PATH, "k", body).await;
    assert!(!is_replayed(&answer), "a day later it is another request");
    assert_eq!(json(answer, StatusCode::OK).await["accepted"], 1);
    server.stop().await;
}
