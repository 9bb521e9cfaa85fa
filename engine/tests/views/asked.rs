//! Views are asked while their queries run, and after that; windows above get to know how far those below are.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use thermocline_engine::AdHoc;
use thermocline_log::{Log, LogOptions};

use super::common::{Pipeline, Row, rows_of};

const STREAM: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, WATERMARK FOR ts AS ts
) PARTITION BY (device_id) WITH (partitions = 1);
";

fn rows(range: std::ops::Range<i64>) -> Vec<Row> {
    let row = |n: i64| Row { device: format!("d{}", n % 7), ts_ms: n * 500, temperature: n as f64 };
    range.map(row).collect()
}

fn first_number(batches: &[RecordBatch], column: usize) -> i64 {
    batches.iter().find(|b| b.num_rows() > 0).unwrap().column(column).as_primitive::<Int64Type>().value(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_each_key_once_and_whole_commits_while_the_query_runs() {
    // Each window has the same rows of every device: a part of a commit, or a key that stands twice, would show.
    let sql = format!(
        "{STREAM}
        CREATE MATERIALIZED VIEW tens AS SELECT device_id, window_end, count(*) AS n
        FROM TUMBLE(readings, ts, INTERVAL '7 seconds') GROUP BY device_id, window_start, window_end;
        CREATE MATERIALIZED VIEW so_far AS SELECT device_id, window_end, count(*) AS n
        FROM TUMBLE(readings, ts, INTERVAL '1 day') GROUP BY device_id, window_start, window_end EMIT ON UPDATE;"
    );
    let mut pipeline = Pipeline::new(&sql).unsynced();
    pipeline.start().await;
    let adhoc = pipeline.start().await.engine.adhoc();
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let asking = tokio::spawn(async move {
        let mut asked = 0;
        let mut seen = 0;
        loop {
            let last = *is_done.borrow_and_update();
            let ask =
                async |sql: &str| -> Vec<RecordBatch> { adhoc.query(sql).await.unwrap().try_collect().await.unwrap() };
            let tens = ask("SELECT count(*), count(DISTINCT (device_id, window_end)), count(*) % 7 FROM tens").await;
            assert_eq!(first_number(&tens, 0), first_number(&tens, 1), "a key twice");
            assert_eq!(first_number(&tens, 2), 0, "a part of a window: {tens:?}");
            assert!(first_number(&tens, 0) >= seen, "rows are gone");
            seen = first_number(&tens, 0);
            let so_far = ask("SELECT count(*), count(DISTINCT device_id) FROM so_far").await;
            assert_eq!(first_number(&so_far, 0), first_number(&so_far, 1), "a key twice");
            let one = ask("SELECT count(*) FROM so_far WHERE device_id = 'd3'").await;
            assert!(first_number(&one, 0) <= 1);
            asked += 1;
            if last && asked > 5 {
                return seen;
            }
        }
    });
    for part in rows(0..14_000).chunks(350) {
        pipeline.append(part).await;
    }
    pipeline.settle().await;
    pipeline.finish_queries().await.unwrap();
    done.send(true).unwrap();
    assert_eq!(asking.await.unwrap(), 7_000);
    let so_far = rows_of(&pipeline.query("SELECT device_id, n FROM so_far ORDER BY device_id").await);
    assert_eq!(so_far[6], r#"{"device_id":"d6","n":2000}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_the_same_after_a_restart_with_other_windows_and_without_its_pipeline() {
    let sql = format!(
        "{STREAM}
        CREATE MATERIALIZED VIEW early AS SELECT device_id, window_end, count(*) AS n, sum(temperature) AS total
        FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end EMIT ON UPDATE;
        CREATE MATERIALIZED VIEW warm AS SELECT * FROM readings WHERE temperature >= 100;"
    );
    let mut pipeline = Pipeline::new(&sql);
    for part in rows(0..500).chunks(33) {
        pipeline.append(part).await;
        pipeline.settle().await;
    }
    let ask = "SELECT * FROM early WHERE device_id = 'd2' ORDER BY window_end";
    let before = rows_of(&pipeline.query(ask).await);
    assert_eq!(before.len(), 5, "{before:?}");
    assert!(pipeline.rows("view.early").await.len() > 50);
    pipeline.crash().await;
    assert_eq!(rows_of(&pipeline.query(ask).await), before);
    pipeline.settle().await;
    pipeline.crash().await;
    // The directory alone.
    let log = Log::open(pipeline.dir().join("log"), LogOptions::default()).unwrap();
    let alone = AdHoc::over_log(log.clone(), 1 << 30).unwrap();
    let answer = async |sql: &str| -> Vec<RecordBatch> { alone.query(sql).await.unwrap().try_collect().await.unwrap() };
    assert_eq!(rows_of(&answer(ask).await), before);
    assert_eq!(first_number(&answer("SELECT count(*) FROM warm").await, 0), 400);
    log.close().await.unwrap();
}

/// Every minute is dropped by HAVING, or has no rows after WHERE: the hour closes all the same, with no row after it.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_above_closes_when_no_window_below_gives_rows() {
    for condition in ["HAVING count(*) > 50", "HAVING count(*) > 50 AND sum(temperature) > 0"] {
        for partitions in [1, 2] {
            let sql = format!(
                "CREATE STREAM readings (
                    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, temperature DOUBLE, WATERMARK FOR ts AS ts
                ) PARTITION BY (device_id) WITH (partitions = {partitions}, idle_timeout = 'none');
                CREATE STREAM hours (e TIMESTAMP, n BIGINT);
                INSERT INTO hours SELECT window_end, count(*) FROM TUMBLE((
                    SELECT window_end AS e, count(*) AS n FROM TUMBLE(readings, ts, INTERVAL '1 minute')
                    WHERE temperature < 1e6 GROUP BY window_start, window_end {condition}), e, INTERVAL '10 minutes')
                GROUP BY window_start, window_end;"
            );
            let mut pipeline = Pipeline::new(&sql);
            // Two full minutes, then nothing but what WHERE or HAVING drops, up to just past the ten minutes.
            let mut given = rows(0..240);
            let row = |device: &str, ts_ms, temperature| Row { device: device.into(), ts_ms, temperature };
            given.extend((3..10).map(|minute| row("d1", minute * 60_000, 0.0)));
            pipeline.append(&given).await;
            // Every partition has one; all but the last are of a window that gives no row.
            let last: Vec<Row> = (0..7).map(|n| row(&format!("d{n}"), 660_000 + n, 1e7)).collect();
            pipeline.append(&last).await;
            pipeline.wait_for_rows("hours", 1).await;
            let found = pipeline.rows("hours").await;
            assert_eq!(found, [r#"{"e":"1970-01-01T00:10:00Z","n":2}"#], "{condition}, {partitions} partitions");
            pipeline.crash().await;
            let found = pipeline.rows("hours").await;
            assert_eq!(found.len(), 1, "not again after a crash");
        }
    }
}

/// A sink takes the rows of a view, replaced ones and what replaces them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_reads_a_view() {
    let sql = format!(
        "{STREAM}
        CREATE SINK screen WITH (connector = 'console');
        CREATE MATERIALIZED VIEW early AS SELECT device_id, window_end, count(*) AS n
        FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY device_id, window_start, window_end EMIT ON UPDATE;
        INSERT INTO screen SELECT device_id, n FROM early;"
    );
    let mut pipeline = Pipeline::new(&sql);
    for part in rows(0..21).chunks(7) {
        pipeline.append(part).await;
        pipeline.settle().await;
    }
    let mut feeds = pipeline.start().await.engine.feeds("screen").await.unwrap();
    let mut found = Vec::new();
    while let Some(batch) = feeds[0].next(5).await.unwrap() {
        found.extend(rows_of(&[batch.rows]));
    }
    assert_eq!((feeds.len(), found.len()), (1, 21));
    assert_eq!((&*found[0], &*found[20]), (r#"{"device_id":"d0","n":1}"#, r#"{"device_id":"d6","n":3}"#));
}

/// A query over a view begins when the view has been there for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_comes_later_has_all_rows_of_the_view() {
    let view = "CREATE MATERIALIZED VIEW tens AS SELECT device_id, window_start, window_end, count(*) AS n
        FROM TUMBLE(readings, ts, INTERVAL '10 seconds') GROUP BY device_id, window_start, window_end;
        CREATE STREAM minutes (e TIMESTAMP, device_id TEXT, n BIGINT);";
    let query =
        "INSERT INTO minutes SELECT window_end, device_id, sum(n) FROM TUMBLE(tens, window_start, INTERVAL '1 minute')
        GROUP BY device_id, window_start, window_end;";
    let whole = Pipeline::new(&format!("{STREAM}{view}{query}")).run(&[&rows(0..3_000)]).await;
    let mut pipeline = Pipeline::new(&format!("{STREAM}{view}"));
    pipeline.append(&rows(0..2_000)).await;
    pipeline.settle().await;
    pipeline.crash().await;
    let mut pipeline = pipeline.with_sql(&format!("{STREAM}{view}{query}"));
    pipeline.append(&rows(2_000..3_000)).await;
    let found: HashMap<String, Vec<String>> = pipeline.finish().await;
    assert_eq!(found["minutes"], whole["minutes"]);
    assert!(whole["minutes"].len() > 100 && found["late.tens"].is_empty());
}
