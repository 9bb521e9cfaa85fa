//! A disk that is full does not keep queries from stopping, and costs no row.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::full_disk::FullDisk;
use common::{Pipeline, Row, readings_batch};
use thermocline_log::{Commit, HookedDisk};

const SQL: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
);
CREATE STREAM tens (start_at TIMESTAMP, n BIGINT);
CREATE STREAM copies (ts TIMESTAMP);
INSERT INTO tens SELECT window_start, count(*) FROM TUMBLE(readings, ts, INTERVAL '10 seconds')
    GROUP BY window_start, window_end;
INSERT INTO copies SELECT ts FROM readings;
";

fn readings(seconds: std::ops::Range<i64>) -> Vec<Row> {
    let row = |s| Row { device: "dev-0".into(), ts_ms: 1_700_000_000_000 + s * 1000, temperature: 1.0 };
    seconds.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_cannot_commit_stop_and_do_it_again_later() {
    let expected = Pipeline::new(SQL).run(&[&readings(0..40), &readings(40..80), &readings(80..120)]).await;

    let disk = Arc::new(FullDisk::default());
    let mut pipeline = Pipeline::new(SQL).checkpoint_rows(16);
    pipeline.set_disk(HookedDisk::new(&disk));
    pipeline.append(&readings(0..40)).await;
    pipeline.settle().await;
    let stream = pipeline.start().await.log.stream("readings").unwrap();
    // These rows are the last write that fits, unless the log has just written one of its own, such as a mark.
    loop {
        disk.full_after(1);
        match pipeline.append_batch("readings", readings_batch(&readings(40..80), &stream)).await {
            Ok(()) => break,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        // What comes after a full disk begins a new journal file, which is a write by itself.
        disk.free();
        let mut begins_a_file = Commit::new();
        begins_a_file.put("test", "");
        pipeline.start().await.log.commit(begins_a_file).await.unwrap();
    }
    let before = disk.refused();
    let running = pipeline.start().await;
    while disk.refused() < before + 20 {
        assert!(running.engine.status().all(|(_, status)| status.error().is_none()), "they wait for space");
        tokio::task::yield_now().await;
    }
    // It would never end.
    tokio::time::timeout(Duration::from_secs(60), running.engine.stop()).await.expect("they stop").unwrap();
    assert_eq!(pipeline.rows_in("copies").await, 40);

    disk.free();
    pipeline.crash().await;
    pipeline.append(&readings(80..120)).await;
    assert_eq!(pipeline.finish().await, expected);
}
