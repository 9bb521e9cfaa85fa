//! What sinks read: rows of a filter with the offsets of the rows they came of, from any position.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Pipeline, Row, rows_of};

const SQL: &str = "CREATE STREAM readings (device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE);
CREATE SINK screen WITH (connector = 'console');
INSERT INTO screen SELECT device_id, 100 / CAST(temperature AS BIGINT) AS x FROM readings WHERE device_id <> 'out';
";

fn row(device: &str, temperature: f64) -> Row {
    Row { device: device.into(), ts_ms: 0, temperature }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_knows_the_offset_of_every_row() {
    let mut pipeline = Pipeline::new(SQL);
    let rows = [row("a", 1.0), row("out", 2.0), row("b", 0.0), row("c", 4.0), row("out", 5.0), row("out", 6.0)];
    pipeline.append(&rows).await;
    let mut feeds = pipeline.start().await.engine.feeds("screen").await.unwrap();
    assert_eq!(feeds.len(), 1);
    let feed = &mut feeds[0];
    assert_eq!((feed.name(), feed.position(), feed.lag()), ("screen", 0, 6));

    let first = feed.next(4).await.unwrap().unwrap();
    assert_eq!((first.start_offset, first.end_offset), (0, 4));
    // The division fails for b: it is kept out, its neighbours are not.
    assert_eq!(first.offsets, [0, 3]);
    assert_eq!(rows_of(&[first.rows]), [r#"{"device_id":"a","x":100}"#, r#"{"device_id":"c","x":25}"#]);
    assert_eq!((feed.position(), feed.lag()), (4, 2));

    let nothing = feed.next(100).await.unwrap().unwrap();
    assert_eq!((nothing.start_offset, nothing.end_offset, nothing.rows.num_rows()), (4, 6, 0));
    assert!(nothing.offsets.is_empty());
    assert!(feed.next(100).await.unwrap().is_none());

    feed.seek(3);
    let again = feed.next(1).await.unwrap().unwrap();
    assert_eq!((again.start_offset, again.end_offset, again.offsets), (3, 4, vec![3]));

    pipeline.append(&[row("d", 10.0)]).await;
    let feed = &mut feeds[0];
    feed.seek(6);
    feed.wait().await;
    assert_eq!(feed.next(100).await.unwrap().unwrap().offsets, [6]);
    assert!(pipeline.start().await.engine.feeds("another").await.unwrap().is_empty());
}
