//! A pipeline whose streams' columns changed, over the data directory of the earlier one.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Run, command, within};

const BEFORE: &str = "CREATE STREAM readings (
    device_id TEXT NOT NULL, ts TIMESTAMP NOT NULL, hits INTEGER NOT NULL, temperature REAL,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) PARTITION BY (device_id) WITH (max_skew = 'none');
CREATE SINK hole WITH (connector = 'blackhole');
INSERT INTO hole SELECT window_start, max(temperature) AS peak, max(hits) AS hits
FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
";

fn write(dir: &Path, sql: &str) -> Run {
    let folder = dir.join("pipeline");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("pipeline.sql"), sql).unwrap();
    Run::new(folder, dir.join("data"))
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_widened_between_two_runs_and_other_changes_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let post = "/v1/streams/readings";
    let running = write(dir.path(), BEFORE).start().await;
    let body = r#"{"device_id": "a", "ts": "2026-01-01T00:00:00Z", "hits": 7, "temperature": 20.5}
{"device_id": "b", "ts": "2026-01-01T00:02:00Z", "hits": 8, "temperature": "cold"}
{"device_id": "b", "ts": "2026-01-01T00:03:00Z", "hits": 9}
"#;
    let (status, answer) = running.post(post, "application/x-ndjson", body).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(2), &json!(1)), "{answer}");
    running.reaches("SELECT count(*) FROM out.hole", 1).await;
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));

    let after = BEFORE
        .replace("hits INTEGER NOT NULL, temperature REAL", "room TEXT, hits BIGINT NOT NULL, temperature DOUBLE")
        .replace("SELECT window_start", "SELECT window_start, count(*) AS readings");
    let run = write(dir.path(), &after);
    let running = run.start().await;
    let body =
        r#"{"device_id": "a", "ts": "2026-01-01T00:09:00Z", "hits": 3000000000, "temperature": 21.1, "room": "attic"}"#;
    assert_eq!(running.post(post, "application/x-ndjson", body).await.0, 200);
    let rows = [
        json!({"room": null, "hits": 7, "temperature": 20.5}),
        json!({"room": null, "hits": 9, "temperature": null}),
        json!({"room": "attic", "hits": 3_000_000_000_i64, "temperature": 21.1}),
    ];
    let query = "SELECT room, hits, temperature FROM readings ORDER BY ts";
    assert_eq!(running.sql(query).await, rows);
    assert_eq!(running.count("SELECT count(*) FROM rejected.readings").await, 1);
    running.reaches("SELECT count(*) FROM out.hole", 2).await;
    let windows = running.sql("SELECT readings, peak, hits FROM out.hole ORDER BY window_start").await;
    assert_eq!(
        windows,
        [json!({"readings": null, "peak": 20.5, "hits": 7}), json!({"readings": 1, "peak": null, "hits": 9})]
    );
    running.signal(Signal::TERM);
    assert_eq!(running.ended().await.code(), Some(0));
    assert_eq!(run.sql(query).await, rows, "the same with nobody there");

    let data = run.data_dir.to_str().unwrap();
    for (from, to, told) in [
        (
            "hits BIGINT",
            "hits INTEGER",
            "column \"hits\": the pipeline says INTEGER NOT NULL, the data directory BIGINT NOT NULL",
        ),
        ("room TEXT, ", "", "column \"room\": the pipeline says no such column, the data directory TEXT"),
        (
            "PARTITION BY (device_id)",
            "PARTITION BY (room)",
            "partition key: the pipeline says room, the data directory device_id",
        ),
    ] {
        let run = write(dir.path(), &after.replace(from, to));
        let mut command = command();
        let folder = run.pipeline.to_str().unwrap();
        let arguments = ["run", folder, "--data-dir", data, "--listen", "127.0.0.1:0"];
        let output = within("a run that is refused", command.args(arguments).output()).await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in ["TC0210", "pipeline.sql:1:", told, "take a new name or another data directory"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    assert_eq!(run.sql(query).await, rows, "nothing was changed");
}
