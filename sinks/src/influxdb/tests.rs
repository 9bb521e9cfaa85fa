//! Conformance of InfluxDB: version 1 with a real server, version 2 with a local one that checks the contract.

mod server_v1;
mod server_v2;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use serde_json::json;

use self::server_v1::{Influxd, V1};
use self::server_v2::V2;
use super::line::Encoding;
use super::reason;
use crate::conformance::{Fault, Harness, MemoryLog, sensor_rows, sensor_schema};
use crate::error::Error;
use crate::options::OptionValues;
use crate::settings::SinkSettings;
use crate::sink::Sink;

mod v1 {
    crate::sink_conformance!(super::V1::start());
}

mod v2 {
    crate::sink_conformance!(super::V2::start());
}

fn open(options: &[(&str, &str)], schema: SchemaRef) -> Box<dyn Sink> {
    let settings = SinkSettings {
        name: "metrics".into(),
        connector: "influxdb".into(),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect(),
        base_dir: PathBuf::new(),
        deployment: "plant-1".into(),
    };
    crate::open(settings, schema).unwrap()
}

fn log_of(rows: &RecordBatch) -> MemoryLog {
    let log = MemoryLog::new("readings", 0, rows.schema());
    log.append(rows);
    log
}

#[tokio::test]
async fn a_field_of_another_type_rejects_exactly_the_rows_that_have_it() {
    let influx = V1::start().await;
    // `note` is an integer in this shard already; every third row has one.
    influx.server.write("plant", "readings,device_id=other note=1i 1795305600000000000").await;
    let log = log_of(&sensor_rows(0..100));
    let outcome = influx.open().write(&[log.delivery(0..100)]).await.unwrap();
    let rows: Vec<usize> = outcome.rejected.iter().map(|rejected| rejected.row).collect();
    assert_eq!(rows, (0..100).step_by(3).collect::<Vec<_>>());
    assert!(outcome.rejected[0].reason.contains("field type conflict"), "{}", outcome.rejected[0].reason);
    assert_eq!(influx.stored().await.iter().filter(|row| row["id"].is_i64()).count(), 66);
}

#[tokio::test]
async fn tags_and_names_of_all_kinds_come_back_as_they_were() {
    let influx = V1::start().await;
    let odd = ["plain", "a b", "a,b", "a=b", "a\\b", "a\\,b", "a\\ b", "\"q\"", "温度 🌡️", "=,= "];
    let rows = RecordBatch::try_from_iter([
        ("the, tag=", Arc::new(StringArray::from(odd.to_vec())) as ArrayRef),
        ("the field, = \"x\"", Arc::new(Int32Array::from_iter_values(0..10))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(0..10).with_timezone("UTC"))),
    ])
    .unwrap();
    let url = influx.gate.url();
    let options = [("url", url.as_str()), ("database", "plant"), ("measurement", "an odd, name=")];
    let outcome = open(&options, rows.schema()).write(&[log_of(&rows).delivery(0..10)]).await.unwrap();
    assert_eq!(outcome.rejected, []);
    let mut found = influx.server.select("plant", "an odd, name=").await;
    found.sort_by_key(|row| row["the field, = \"x\""].as_i64());
    let tags: Vec<&str> = found.iter().map(|row| row["the, tag="].as_str().unwrap()).collect();
    assert_eq!(tags, odd);
}

#[tokio::test]
async fn a_missing_database_is_refused_where_it_may_not_be_created() {
    let influx = V1::start().await;
    let url = influx.gate.url();
    let options = [("url", url.as_str()), ("database", "absent"), ("create_database", "false")];
    let error = open(&options, sensor_schema()).write(&[log_of(&sensor_rows(0..1)).delivery(0..1)]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.contains("database not found")), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let server = Influxd::start_with_auth().await;
    let url = server.url();
    let write = |options: Vec<(&'static str, &'static str)>| {
        let mut all = vec![("url", url.as_str()), ("database", "plant")];
        all.extend(options);
        let mut sink = open(&all, sensor_schema());
        async move { sink.write(&[log_of(&sensor_rows(0..1)).delivery(0..1)]).await }
    };
    let error = write(vec![("username", "admin"), ("password", "wrong")]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.starts_with("401")), "{error}");
    let error = write(vec![]).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    write(vec![("username", "admin"), ("password", "right")]).await.unwrap();
}

#[tokio::test]
async fn the_precision_is_the_one_that_was_asked_for() {
    let influx = V1::start().await;
    let url = influx.gate.url();
    for (precision, expected) in [("ns", 1_500_000), ("us", 1_500_000), ("ms", 1_500_000), ("s", 1_000_000)] {
        let rows = RecordBatch::try_from_iter([
            ("value", Arc::new(Int32Array::from(vec![1])) as ArrayRef),
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC"))),
        ])
        .unwrap();
        let options =
            [("url", url.as_str()), ("database", "plant"), ("precision", precision), ("measurement", precision)];
        open(&options, rows.schema()).write(&[log_of(&rows).delivery(0..1)]).await.unwrap();
        assert_eq!(influx.server.select("plant", precision).await[0]["time"], json!(expected), "{precision}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split() {
    let influx = V2::start().await;
    influx.gate.inject([Fault::Status(413), Fault::Status(413)]);
    let log = log_of(&sensor_rows(0..100));
    let outcome = influx.open().write(&[log.delivery(0..100)]).await.unwrap();
    assert_eq!(outcome.rejected, []);
    assert_eq!(influx.stored().await.len(), 100);
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let influx = V2::start().await;
    let url = format!("{}/base", influx.gate.url());
    let options = [("url", url.as_str()), ("org", "o"), ("bucket", "b"), ("token", "wrong")];
    let error = open(&options, sensor_schema()).write(&[log_of(&sensor_rows(0..1)).delivery(0..1)]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.starts_with("401")), "{error}");
}

/// Lines, or reasons, of rows with all kinds of columns.
#[test]
fn lines_are_exact() {
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("zone", Arc::new(StringArray::from(vec![Some("a b"), Some("x"), Some("x\\"), Some("")])) as ArrayRef, true),
        ("area", Arc::new(StringArray::from(vec![Some("n=1"), None, Some("y"), Some("l\nb")])), true),
        ("on", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])), true),
        ("count", Arc::new(UInt64Array::from(vec![Some(7), None, Some(1), Some(u64::MAX)])), true),
        ("value", Arc::new(Float64Array::from(vec![1e21, f64::NAN, 0.5, 0.5])), true),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![-1, 0, 0, 0]).with_timezone("UTC")), true),
        ("end", Arc::new(TimestampMicrosecondArray::from(vec![Some(5), None, None, None]).with_timezone("UTC")), true),
    ])
    .unwrap();
    let encoding = Encoding::of(&OptionValues::default(), &rows.schema()).unwrap();
    let lines = encoding.lines(&rows, "q 1").unwrap();
    let expected = "q\\ 1,area=n\\=1,zone=a\\ b on=true,count=7i,value=1000000000000000000000,end=5i -1";
    assert_eq!(lines[0].as_deref(), Ok(expected));
    assert_eq!(lines[1], Err("expected at least one field with a value, found none".to_owned()));
    assert_eq!(lines[2], Err("expected tag zone not to end with a backslash, found 'x\\'".to_owned()));
    assert_eq!(lines[3], Err("expected tag area without a line break, found one".to_owned()));
}

#[test]
fn what_servers_say_is_understood() {
    let message = reason::message(r#"{"error":"partial write: points beyond retention policy dropped=3"}"#);
    assert_eq!(message, "partial write: points beyond retention policy dropped=3");
    assert_eq!(reason::dropped(&message), Some(3));
    assert_eq!(reason::dropped("no count"), None);
    assert_eq!(reason::message(r#"{"code":"invalid","message":"bad"}"#), "bad");
    assert_eq!(reason::message(" plain text\n"), "plain text");
    let message = "partial write: unable to parse 'b x': missing fields\nunable to parse 'd': missing fields dropped=0";
    assert_eq!(reason::quoted_lines(message, &["a x=1", "b x", "c x=1", "d"]), [1, 3]);
    assert_eq!(reason::quoted_lines("something else", &["a", "b"]), [] as [usize; 0]);
}
