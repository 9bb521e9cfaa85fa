use serde_json::json;

use super::*;

const TEXT: &str = "text/plain; charset=utf-8";

#[tokio::test]
async fn telegraf_writes_to_either_version() {
    let server = Server::start().await;
    let created = server.post("/query", "application/x-www-form-urlencoded", "q=CREATE+DATABASE+%22telegraf%22").await;
    assert_eq!(json(created, StatusCode::OK).await, json!({ "results": [{ "statement_id": 0 }] }));
    let body = "readings,device_id=a,host=plant temperature=20.5,status=\"ok\" 1000000000\n";
    assert_eq!(server.post("/write?db=telegraf", TEXT, body).await.status(), StatusCode::NO_CONTENT);
    let body = "readings,device_id=b temperature=21i 2000";
    let answer = server.post("/api/v2/write?org=o&bucket=b&precision=ms", TEXT, body).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        server.lines(),
        [
            r#"{"device_id":"a","ts":"1970-01-01T00:00:01Z","temperature":20.5,"status":"ok"}"#,
            r#"{"device_id":"b","ts":"1970-01-01T00:00:02Z","temperature":21.0}"#
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn good_lines_are_kept_beside_bad_ones() {
    let server = Server::start().await;
    let body = "readings,device_id=a temperature=1 1\nreadings,device_id=b temperature=hot 1\ndisk free=1\n";
    let reason = "partial write: line 2: field \"temperature\": expected a number, a quoted text, true or false, found \"hot\"; \
                  line 3: no stream named \"disk\"; dropped=2";
    let answer = json(server.post("/write", TEXT, body).await, StatusCode::BAD_REQUEST).await;
    assert_eq!(answer, json!({ "error": reason }));
    let answer = json(server.post("/api/v2/write", TEXT, body).await, StatusCode::BAD_REQUEST).await;
    assert_eq!(answer, json!({ "code": "invalid", "message": reason }));
    assert_eq!(server.lines().len(), 2);
    let rejected: Value = serde_json::from_str(&server.rejected_lines()[0]).unwrap();
    assert_eq!(rejected["source"], "line protocol");
    assert_eq!(rejected["row"], "readings,device_id=b temperature=hot 1");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_as_a_whole_is_said_in_influxdbs_words() {
    let server = Server::start().await;
    let answer = json(server.post("/write", TEXT, "disk free=1\ncpu x=1").await, StatusCode::NOT_FOUND).await;
    assert!(answer["error"].as_str().unwrap().ends_with("dropped=2"));
    let answer = json(server.post("/api/v2/write?precision=d", TEXT, "").await, StatusCode::BAD_REQUEST).await;
    assert_eq!(answer["code"], "invalid");
    let answer = json(server.fetch("/query?q=SELECT+1").await, StatusCode::BAD_REQUEST).await;
    assert!(answer["error"].as_str().unwrap().contains("CREATE DATABASE"));
    assert_eq!(server.fetch("/query?q=create%20database%20x").await.status(), StatusCode::OK);
    server.stop().await;
}
