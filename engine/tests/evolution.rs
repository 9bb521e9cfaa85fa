//! A pipeline whose streams' columns have changed goes on with the rows that are there.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int64Type};
use common::{Pipeline, rows_of};
use thermocline_log::{Error as LogError, Stream};

const BEFORE: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, n INTEGER NOT NULL, temperature REAL,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);
CREATE STREAM tens (start_at TIMESTAMP, readings BIGINT, peak REAL, most INTEGER);
INSERT INTO tens SELECT window_start, count(*), max(temperature), max(n)
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end;
CREATE STREAM warm (n INTEGER, temperature REAL);
INSERT INTO warm SELECT n, temperature FROM readings WHERE temperature > 70;
";

/// `n` and `temperature` are wider, `room` is new and in the middle.
const AFTER: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, room TEXT, n BIGINT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (partitions = 2);
CREATE STREAM tens (start_at TIMESTAMP, readings BIGINT, peak DOUBLE, most BIGINT);
INSERT INTO tens SELECT window_start, count(*), max(temperature), max(n)
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end;
CREATE STREAM warm (n BIGINT, temperature DOUBLE);
INSERT INTO warm SELECT n, temperature FROM readings WHERE temperature > 70;
";

/// One reading a second; one in fifty is too late for its window.
fn readings(stream: &Stream, numbers: Range<i32>) -> RecordBatch {
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        let numbers = numbers.clone();
        let temperature = |n: i32| 60.0 + (n * 7919 % 1000) as f32 / 64.0;
        match (field.name().as_str(), field.data_type()) {
            ("device_id", _) => Arc::new(StringArray::from_iter_values(numbers.map(|n| format!("dev-{}", n % 3)))),
            ("ts", _) => {
                let seconds = numbers.map(|n| i64::from(if n % 50 == 49 { n - 40 } else { n }));
                let times = seconds.map(|second| (1_700_000_000 + second) * 1_000_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            ("n", DataType::Int32) => Arc::new(Int32Array::from_iter_values(numbers)),
            ("n", _) => Arc::new(Int64Array::from_iter_values(numbers.map(i64::from))),
            ("temperature", DataType::Float32) => Arc::new(Float32Array::from_iter_values(numbers.map(temperature))),
            ("temperature", _) => Arc::new(Float64Array::from_iter_values(numbers.map(|n| f64::from(temperature(n))))),
            ("room", _) => Arc::new(StringArray::from_iter_values(numbers.map(|n| format!("room {}", n % 4)))),
            other => panic!("{other:?}"),
        }
    };
    let schema = stream.schema();
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect()).unwrap()
}

async fn append(pipeline: &mut Pipeline, numbers: Range<i32>) {
    let stream = pipeline.start().await.log.stream("readings").unwrap();
    pipeline.append_batch("readings", readings(&stream, numbers)).await.unwrap();
}

async fn count(pipeline: &mut Pipeline, condition: &str) -> i64 {
    let found = pipeline.query(&format!("SELECT count(*) FROM readings WHERE {condition}")).await;
    found[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// Rows 0 to 39 in a segment, 40 to 49 in the tail, under the columns of before; 50 to 59 under those of after.
async fn changed() -> Pipeline {
    let mut pipeline = Pipeline::new(BEFORE);
    append(&mut pipeline, 0..40).await;
    pipeline.start().await.log.seal().await.unwrap();
    append(&mut pipeline, 40..50).await;
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(AFTER);
    append(&mut pipeline, 50..60).await;
    pipeline
}

#[tokio::test(flavor = "multi_thread")]
async fn ad_hoc_queries_see_one_schema_over_segments_and_tail() {
    let mut pipeline = changed().await;
    for sealed in [false, true] {
        if sealed {
            pipeline.start().await.log.seal().await.unwrap();
        }
        let rows = rows_of(&pipeline.query("SELECT n, room, temperature FROM readings ORDER BY n").await);
        assert_eq!(rows.len(), 60);
        assert_eq!(rows[39], r#"{"n":39,"temperature":73.140625}"#);
        assert_eq!(rows[45], r#"{"n":45,"temperature":65.546875}"#);
        assert_eq!(rows[55], r#"{"n":55,"room":"room 3","temperature":68.515625}"#);
        let all = pipeline.query("SELECT * FROM readings").await;
        let types: Vec<_> = all[0].schema().fields().iter().map(|f| f.data_type().clone()).collect();
        assert_eq!(types[1..3], [DataType::Utf8, DataType::Int64]);
        // Filters go down to the segments' statistics, which are of the narrower types.
        for (condition, rows) in [
            ("true", 60),
            ("n = 7", 1),
            ("n >= 30 AND n < 55", 25),
            ("n > 3000000000", 0),
            ("n < 3000000000", 60),
            ("temperature = CAST(73.140625 AS DOUBLE)", 1),
            ("room IS NULL", 50),
            ("room IS NOT NULL", 10),
            ("room = 'room 3'", 3),
            ("coalesce(room, 'none') = 'none'", 50),
            ("room = 'room 3' OR n = 3", 4),
        ] {
            assert_eq!(count(&mut pipeline, condition).await, rows, "{condition}, sealed: {sealed}");
        }
        assert_eq!(rows_of(&pipeline.query("SELECT room FROM readings WHERE n = 3").await), ["{}"]);
        let groups =
            "SELECT room, count(*) AS c, max(n) AS n FROM readings GROUP BY room ORDER BY room NULLS FIRST LIMIT 2";
        assert_eq!(rows_of(&pipeline.query(groups).await), [r#"{"c":50,"n":49}"#, r#"{"room":"room 0","c":2,"n":56}"#]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_on_over_wider_columns_as_if_they_had_always_been() {
    let mut pipeline = Pipeline::new(BEFORE).checkpoint_rows(20);
    append(&mut pipeline, 0..205).await;
    pipeline.settle().await;
    pipeline.start().await.log.seal().await.unwrap();
    append(&mut pipeline, 205..333).await;
    pipeline.settle().await;
    assert!(pipeline.rows_in("tens").await > 20);
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(AFTER);
    append(&mut pipeline, 333..500).await;
    // Crashed again, it has snapshots of the wider types.
    pipeline.settle().await;
    pipeline.crash().await;
    append(&mut pipeline, 500..600).await;
    let found = pipeline.finish().await;

    let mut whole = Pipeline::new(AFTER);
    append(&mut whole, 0..600).await;
    let whole = whole.finish().await;
    assert_eq!(found["tens"], whole["tens"]);
    let sorted = |rows: &[String]| {
        let mut rows = rows.to_vec();
        rows.sort();
        rows
    };
    assert_eq!(sorted(&found["warm"]), sorted(&whole["warm"]));
    // What was late before the change has no room.
    let without_room = |rows: &[String]| {
        let row = |row: &String| {
            let mut row: BTreeMap<String, serde_json::Value> = serde_json::from_str(row).unwrap();
            row.remove("room");
            format!("{row:?}")
        };
        sorted(&rows.iter().map(row).collect::<Vec<_>>())
    };
    assert!(found["late.readings"].len() > 10);
    assert_eq!(without_room(&found["late.readings"]), without_room(&whole["late.readings"]));
    assert!(found["late.readings"].iter().any(|row| row.contains("room 3")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_cannot_become_is_refused_and_nothing_is_changed() {
    let mut pipeline = changed().await;
    pipeline.crash().await;
    for (from, to, column) in [
        ("n BIGINT NOT NULL", "n INTEGER NOT NULL", "n"),
        ("room TEXT, ", "", "room"),
        ("room TEXT", "room TEXT NOT NULL", "room"),
        ("room TEXT", "room TEXT, hits BIGINT NOT NULL", "hits"),
    ] {
        pipeline = pipeline.with_sql(&AFTER.replace(from, to).replace("most BIGINT", "most DOUBLE"));
        let error = pipeline.try_start().await.unwrap_err();
        assert!(
            matches!(&error, thermocline_engine::Error::Log(LogError::ColumnMismatch { column: found, .. }) if found == column),
            "{error}"
        );
    }
    let mut pipeline = pipeline.with_sql(AFTER);
    assert_eq!(count(&mut pipeline, "n < 60").await, 60);
}

const INTO_SINK: &str = "CREATE SINK hole WITH (connector = 'blackhole');
INSERT INTO hole SELECT window_start, max(temperature) AS peak
    FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end;
";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_into_a_sink_may_gain_columns() {
    let mut pipeline = Pipeline::new(&format!("{BEFORE}{INTO_SINK}"));
    append(&mut pipeline, 0..45).await;
    pipeline.settle().await;
    let name = {
        let streams = pipeline.start().await.log.streams();
        let mut names = streams.iter().map(|stream| stream.name().to_owned());
        names.find(|name| name.starts_with("out.")).unwrap()
    };
    let before = pipeline.rows_in(&name).await;
    assert!(before > 0);
    pipeline.crash().await;
    // A count is never NULL, but the rows before have none.
    let more = INTO_SINK.replace("window_start, max", "window_start, count(*) AS readings, max");
    for (sql, numbers) in [(more.clone(), 45..90), (more, 90..100)] {
        pipeline = pipeline.with_sql(&format!("{AFTER}{sql}"));
        append(&mut pipeline, numbers).await;
        pipeline.settle().await;
        pipeline.crash().await;
    }
    let rows = rows_of(&pipeline.query(&format!("SELECT * FROM {name}")).await);
    let with_count = rows.iter().filter(|row| row.contains(r#""readings":"#)).count();
    assert_eq!(rows.len() - with_count, before as usize);
    assert!(with_count >= 4, "{rows:?}");
}
