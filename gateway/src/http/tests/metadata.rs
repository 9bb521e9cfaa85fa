//! Columns that the door fills.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::metadata::{Metadata, MetadataColumn};
use crate::testing::input;

/// Posts with two headers of its own, and returns the rows without what the client itself says.
async fn stored(server: &Server, stream: &Stream, content_type: &str, path: &str, body: &'static str) -> Vec<Value> {
    let request = server.client.post(format!("{}{path}", server.url)).header("content-type", content_type);
    let request = request.header("x-site", "Halle 3").header("authorization", "Bearer secret");
    let response = request.body(body).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    let lines = all_lines(&server.log, stream);
    let rows = lines.iter().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let headers: Value = serde_json::from_str(row["sent"].as_str().unwrap()).unwrap();
        row["sent"] = json!({ "site": headers["x-site"], "type": headers["content-type"] });
        assert!(!lines[0].contains("secret"));
        row
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn arrival_and_headers_are_kept_and_no_field_sets_them() {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("at", time(), false),
        Field::new("v", DataType::Float64, true),
        Field::new("sent", DataType::Utf8, true),
        Field::new("topic", DataType::Utf8, true),
    ]));
    let server = Server::start().await;
    let mut open = input(&server.log, "kept", schema).await;
    open.event_time_column = Some(0);
    open.metadata = [(0, Metadata::Timestamp), (2, Metadata::Headers), (3, Metadata::Topic)]
        .map(|(column, metadata)| MetadataColumn { column, metadata })
        .into();
    let stream = open.stream.clone();
    server.registry.register(open);
    let at = chrono::DateTime::from_timestamp_micros(NOW_US).unwrap().format("%FT%TZ").to_string();
    let ndjson = "{\"v\": 1, \"at\": 5, \"topic\": \"mine\"}\n{\"v\": \"x\"}\n{}\n";
    let rows = stored(&server, &stream, "application/x-ndjson", "/v1/streams/kept", ndjson).await;
    let sent = |kind: &str| json!({ "site": "Halle 3", "type": kind });
    let first = json!({ "at": at, "v": 1.0, "sent": sent("application/x-ndjson") });
    assert_eq!(rows, [first, json!({ "at": at, "sent": sent("application/x-ndjson") })]);
    let rows = stored(&server, &stream, "text/csv", "/v1/streams/kept", "v\n2\n").await;
    assert_eq!(rows[2], json!({ "at": at, "v": 2.0, "sent": sent("text/csv") }));
    let rows = stored(&server, &stream, "text/plain", "/write?precision=s", "kept v=3 1\n").await;
    assert_eq!(rows[3], json!({ "at": at, "v": 3.0, "sent": sent("text/plain") }));
    let listed = json(server.fetch("/v1/streams").await, StatusCode::OK).await.to_string();
    assert!(listed.contains("\"topic\""), "{listed}");
    server.stop().await;
}
