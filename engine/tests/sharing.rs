//! Queries over the same stream, windows and keys share panes: each gives what it gives alone, whoever comes and goes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;

use common::{Pipeline, Row};

const STREAM: &str = "CREATE STREAM readings (device TEXT, ts TIMESTAMP, temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '1 second') PARTITION BY (device) WITH (partitions = 2);
CREATE SINK screen WITH (connector = 'console');
";

/// Three that share, in different words and with different functions; one of other keys; one of other rows.
const QUERIES: [(&str, &str); 5] = [
    (
        "means",
        "CREATE STREAM means (device TEXT, e TIMESTAMP, mean DOUBLE, n BIGINT);
         INSERT INTO means SELECT device, window_end, avg(temperature), count(*)
             FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY device, window_start, window_end;",
    ),
    (
        "peaks",
        "CREATE STREAM peaks (e TIMESTAMP, device TEXT, peak DOUBLE, spread DOUBLE);
         INSERT INTO peaks SELECT window_end, device, max(temperature), stddev(temperature)
             FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY device, window_start, window_end
             HAVING count(*) > 3;",
    ),
    (
        "alerts.hot",
        "CREATE ALERT hot TO screen KEY (device) RAISE WHEN peak > 70 AS SELECT device, window_end, max(temperature) AS peak
             FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY device, window_start, window_end;",
    ),
    (
        "totals",
        "CREATE STREAM totals (e TIMESTAMP, n BIGINT);
         INSERT INTO totals SELECT window_end, count(*)
             FROM HOP(readings, ts, INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY window_start, window_end;",
    ),
    (
        "warm",
        "CREATE STREAM warm (device TEXT, e TIMESTAMP, n BIGINT);
         INSERT INTO warm SELECT device, window_end, count(*) FROM HOP((SELECT * FROM readings WHERE temperature > 30), ts,
             INTERVAL '5 seconds', INTERVAL '20 seconds') GROUP BY device, window_start, window_end;",
    ),
];

fn readings() -> Vec<Row> {
    let row = |n: i64| Row {
        device: format!("dev-{}", n * 7 % 5),
        // Some come late for a part of their windows, or for all.
        ts_ms: 1_700_000_000_000 + n * 300 - if n % 41 == 0 { 30_000 } else { n * 37 % 2_500 },
        temperature: (n * 53 % 997) as f64 / 13.0,
    };
    (0..600).map(row).collect()
}

fn sql(names: &[&str]) -> String {
    let texts = QUERIES.iter().filter(|(name, _)| names.contains(name)).map(|(_, text)| *text);
    STREAM.to_owned() + &texts.collect::<Vec<_>>().join("\n")
}

async fn alone(name: &str) -> Vec<String> {
    let rows = readings();
    let found = Pipeline::new(&sql(&[name])).unsynced().run(&[&rows]).await;
    assert!(found[name].len() > 5, "{name} has to say something");
    found[name].clone()
}

/// What the query's snapshots are called after, without numbers.
async fn snapshots(pipeline: &mut Pipeline) -> Vec<String> {
    let files = pipeline.start().await.log.state_files().unwrap();
    let mut names: Vec<String> = files.iter().map(|file| file.rsplitn(3, '-').nth(2).unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn each_query_gives_what_it_gives_alone() {
    let rows = readings();
    let names: Vec<&str> = QUERIES.iter().map(|(name, _)| *name).collect();
    for chunk in [600, 97] {
        for crash_every in [None, Some(2)] {
            let mut pipeline = Pipeline::new(&sql(&names)).unsynced().checkpoint_rows(50);
            for (n, rows) in rows.chunks(chunk).enumerate() {
                pipeline.append(rows).await;
                pipeline.settle().await;
                if crash_every.is_some_and(|every| n % every == 0) {
                    pipeline.crash().await;
                }
            }
            let files = snapshots(&mut pipeline).await;
            assert_eq!(files.iter().filter(|file| file.starts_with("shared.")).count(), 1, "{files:?}");
            assert_eq!(files.len(), 3, "three share one, two have their own: {files:?}");
            let found = pipeline.finish().await;
            for name in &names {
                assert_eq!(found[*name], alone(name).await, "{name}, {chunk} rows at once, crash {crash_every:?}");
            }
            let late = |query: &str| {
                let query = format!("\"late_query\":\"{query}\"");
                found["late.readings"].iter().filter(|row| row.contains(&query)).count()
            };
            assert!(late("means") > 5);
            assert_eq!([late("peaks"), late("alert.hot"), late("totals")], [late("means"); 3]);
        }
    }
}

#[tokio::test]
async fn queries_come_and_go() {
    let rows = readings();
    let mut pipeline = Pipeline::new(&sql(&["means", "peaks", "alerts.hot"])).unsynced().checkpoint_rows(50);
    pipeline.append(&rows[..300]).await;
    pipeline.settle().await;
    pipeline.crash().await;
    // The first one leaves: the others find their part of the shared state.
    let mut pipeline = pipeline.with_sql(&sql(&["peaks", "alerts.hot", "totals"]));
    pipeline.append(&rows[300..400]).await;
    pipeline.settle().await;
    let status: HashMap<String, u64> =
        pipeline.start().await.engine.status().map(|(name, status)| (name.to_owned(), status.rows_in())).collect();
    assert_eq!(status["alert.hot"], 100, "it goes on from the state that it shared: {status:?}");
    pipeline.crash().await;
    // It comes back, and reads the rows that it has missed.
    let mut pipeline = pipeline.with_sql(&sql(&["means", "peaks", "alerts.hot", "totals"]));
    pipeline.append(&rows[400..]).await;
    pipeline.settle().await;
    let found = pipeline.finish().await;
    for name in ["means", "peaks", "alerts.hot", "totals"] {
        assert_eq!(found[name], alone(name).await, "{name}");
    }
}
