//! Retention by size waits for nobody: a query that comes after it goes on with what is left.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Pipeline, Row, rows_of};

const STREAM: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (max_size = 'SIZE');
CREATE STREAM tens (start_at TIMESTAMP, n BIGINT);
CREATE STREAM copies (ts TIMESTAMP);
";

const QUERIES: &str = "
INSERT INTO tens SELECT window_start, count(*) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    GROUP BY window_start, window_end;
INSERT INTO copies SELECT ts FROM readings;
";

fn readings(seconds: std::ops::Range<i64>) -> Vec<Row> {
    let row = |s| Row { device: "dev-0".into(), ts_ms: 1_700_000_000_000 + s * 1000, temperature: 1.0 };
    seconds.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_on_after_rows_that_were_removed_before_they_read_them() {
    let unlimited = format!("{}{QUERIES}", STREAM.replace("SIZE", "1GB"));
    let mut pipeline = Pipeline::new(&unlimited);
    pipeline.append(&readings(0..25)).await;
    pipeline.settle().await;
    pipeline.crash().await;

    // Meanwhile nobody reads, and the stream may keep next to nothing.
    let mut pipeline = pipeline.with_sql(&STREAM.replace("SIZE", "1KB"));
    let mut next = 25;
    while pipeline.oldest("readings").await < 100 {
        assert!(next < 10_000, "retention removed nothing");
        pipeline.append(&readings(next..next + 50)).await;
        pipeline.start().await.log.seal().await.unwrap();
        next += 50;
    }
    pipeline.crash().await;

    let mut pipeline = pipeline.with_sql(&unlimited);
    pipeline.append(&readings(next..next + 20)).await;
    let oldest = pipeline.oldest("readings").await;
    let held = pipeline.query("SELECT ts FROM readings ORDER BY ts").await;
    let streams = pipeline.finish().await;
    let copies = &streams["copies"];
    assert_eq!(copies.len(), 25 + (next + 20 - oldest as i64) as usize, "what was read before, and all that is left");
    assert_eq!(copies[25..], rows_of(&held)[..]);
    let counted = streams["tens"].iter().filter(|row| row.contains("\"n\":10}")).count() as i64;
    assert!(counted >= (next - oldest as i64) / 10 - 1, "{:?}", streams["tens"]);
}

/// What a query replays begins where retention ends, which is in the middle of what it had read: rows that it had not read
/// are new to it, the late ones among them too, and nothing comes out twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_over_removed_rows_ends_where_the_query_had_been() {
    let stream = |size: &str| {
        "CREATE STREAM readings (device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
            WATERMARK FOR ts AS ts - INTERVAL '2 seconds') WITH (max_size = 'SIZE');
         CREATE STREAM tens (s TIMESTAMP, e TIMESTAMP, n BIGINT);
         CREATE STREAM seconds (s TIMESTAMP, n BIGINT);"
            .replace("SIZE", size)
    };
    let queries = "INSERT INTO tens SELECT window_start, window_end, count(*) FROM COUNT_WINDOW(readings, 10)
            GROUP BY window_start, window_end;
        INSERT INTO seconds SELECT window_start, count(*) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
            GROUP BY window_start, window_end;";
    // It has no snapshot: everything would be replayed.
    let mut pipeline = Pipeline::new(&format!("{}{queries}", stream("1GB")));
    pipeline.append(&readings(0..100)).await;
    pipeline.settle().await;
    pipeline.start().await.log.seal().await.unwrap();
    pipeline.append(&readings(100..150)).await;
    pipeline.settle().await;
    let mut before = pipeline.rows("tens").await;
    before.sort();
    assert_eq!(before.len(), 14);
    pipeline.crash().await;

    // Meanwhile nobody reads: a row comes late, what was read ends in the middle of a segment, and the one before goes.
    let mut pipeline = pipeline.with_sql(&stream("1GB"));
    for part in [150..160, 100..101, 160..290] {
        pipeline.append(&readings(part)).await;
    }
    let log = pipeline.start().await.log.clone();
    log.seal().await.unwrap();
    let segments = log.snapshot(log.stream("readings").unwrap().id(), 0).unwrap().segments;
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    pipeline.crash().await;
    // One row too many for all of them.
    let mut pipeline = pipeline.with_sql(&stream(&format!("{bytes}B")));
    pipeline.append(&readings(290..291)).await;
    pipeline.start().await.log.seal().await.unwrap();
    assert_eq!(pipeline.oldest("readings").await, 100);
    pipeline.crash().await;

    let mut pipeline = pipeline.with_sql(&format!("{}{queries}", stream("1GB")));
    pipeline.append(&readings(291..320)).await;
    let streams = pipeline.finish().await;
    let late = &streams["late.readings"];
    for query in ["tens", "seconds"] {
        assert_eq!(late.iter().filter(|row| row.contains(query)).count(), 1, "{query}: {late:?}");
    }
    let tens = &streams["tens"];
    assert_eq!(tens[..before.len()], before[..]);
    let mut starts: Vec<&String> = tens.iter().collect();
    starts.dedup();
    assert_eq!(starts.len(), tens.len(), "no window comes out twice");
    assert!(starts.is_sorted(), "{tens:?}");
}
