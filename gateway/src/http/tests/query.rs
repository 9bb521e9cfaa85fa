use arrow::array::{Float64Array, RecordBatch, TimestampMicrosecondArray};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::json;

use super::*;
use crate::http::{QueryError, QueryResult, QueryService};

/// Two rows; `fail` fails while planning, `break` after the first batch, `forever` never ends.
struct Rows;

#[async_trait]
impl QueryService for Rows {
    async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        let times = TimestampMicrosecondArray::from(vec![NOW_US, NOW_US + 500_000]).with_timezone("UTC");
        let values = Float64Array::from(vec![Some(1.5), None]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("ts", Arc::new(times) as arrow::array::ArrayRef, false),
            ("v", Arc::new(values) as _, true),
        ])
        .unwrap();
        let error = |user| QueryError { message: format!("cannot {sql}"), user };
        let schema = batch.schema();
        let batches = match sql {
            "fail" => return Err(error(true)),
            "defect" => return Err(error(false)),
            "fail first" => stream::iter(vec![Err(error(true))]).boxed(),
            "break" => stream::iter(vec![Ok(batch), Err(error(false))]).boxed(),
            "none" => stream::empty().boxed(),
            "forever" => stream::repeat_with(move || Ok(batch.clone())).boxed(),
            _ => stream::iter(vec![Ok(batch.slice(0, 1)), Ok(batch.slice(1, 1))]).boxed(),
        };
        Ok(QueryResult { schema, batches })
    }
}

async fn start() -> Server {
    let options = HttpOptions { max_queries: 1, ..HttpOptions::default() };
    Server::with(options, LogOptions::default(), |state| state.with_queries(Arc::new(Rows))).await
}

async fn ask(server: &Server, sql: &'static str, accept: &str) -> Response {
    server.client.post(format!("{}/v1/sql", server.url)).header("accept", accept).body(sql).send().await.unwrap()
}

#[tokio::test]
async fn rows_in_the_format_that_is_accepted() {
    let server = start().await;
    let first = r#"{"ts":"2026-11-22T10:00:00Z","v":1.5}"#;
    let second = r#"{"ts":"2026-11-22T10:00:00.500Z","v":null}"#;
    for (accept, content_type, expected) in [
        ("*/*", "application/x-ndjson", format!("{first}\n{second}\n")),
        ("text/html, application/x-ndjson;q=0.5", "application/x-ndjson", format!("{first}\n{second}\n")),
        ("application/json", "application/json", format!("[{first},{second}]")),
        ("text/csv, */*;q=0.1", "text/csv", "ts,v\n2026-11-22T10:00:00Z,1.5\n2026-11-22T10:00:00.500Z,\n".to_owned()),
    ] {
        let answer = ask(&server, "select", accept).await;
        assert_eq!(
            (answer.status(), answer.headers()["content-type"].to_str().unwrap()),
            (StatusCode::OK, content_type)
        );
        assert_eq!(answer.text().await.unwrap(), expected);
    }
    let arrow = ask(&server, "select", "application/vnd.apache.arrow.stream").await.bytes().await.unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(arrow.as_ref(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
    server.stop().await;
}

#[tokio::test]
async fn no_rows_are_still_a_result() {
    let server = start().await;
    for (accept, expected) in [("application/x-ndjson", ""), ("application/json", "[]"), ("text/csv", "ts,v\n")] {
        assert_eq!(ask(&server, "none", accept).await.text().await.unwrap(), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn errors_before_and_after_the_first_row() {
    let server = start().await;
    for (sql, status) in [
        ("fail", StatusCode::BAD_REQUEST),
        ("fail first", StatusCode::BAD_REQUEST),
        ("defect", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let answer = json(ask(&server, sql, "*/*").await, status).await;
        assert_eq!(answer, json!({ "error": { "message": format!("cannot {sql}") } }));
    }
    let answer = ask(&server, "break", "*/*").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.is_err(), "a part is not taken for the whole");
    json(ask(&server, "select", "image/png").await, StatusCode::NOT_ACCEPTABLE).await;
    let without = Server::start().await;
    json(ask(&without, "select", "*/*").await, StatusCode::NOT_FOUND).await;
    without.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn queries_at_a_time_are_bounded_and_end_with_their_client() {
    let server = start().await;
    let mut endless = ask(&server, "forever", "*/*").await;
    assert!(endless.chunk().await.unwrap().is_some());
    let refused = ask(&server, "select", "*/*").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    json(refused, StatusCode::TOO_MANY_REQUESTS).await;
    drop(endless);
    while ask(&server, "select", "*/*").await.status() != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}
