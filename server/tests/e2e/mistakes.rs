//! Bad input and bad SQL: what was expected, what was found, where; neighbours unharmed, nothing lost.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Run, command, within};

const READINGS: &str = "CREATE STREAM readings (
    device_id   TEXT      NOT NULL,
    ts          TIMESTAMP NOT NULL,
    temperature DOUBLE,
    WATERMARK FOR ts AS ts - INTERVAL '2 seconds'
) WITH (max_skew = 'none');

CREATE STREAM minutes (ts TIMESTAMP NOT NULL, readings BIGINT NOT NULL);
INSERT INTO minutes SELECT window_start, count(*) FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
";

fn pipeline(dir: &Path, sql: &str) -> Run {
    let folder = dir.join("pipeline");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("pipeline.sql"), sql).unwrap();
    Run::new(folder, dir.join("data"))
}

const NDJSON: &str = "application/x-ndjson";

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_row_is_kept_aside_and_its_neighbours_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path(), READINGS).start().await;
    let body = r#"{"device_id": "a", "ts": "2026-01-01T00:00:00Z", "temperature": 20.5}
{"device_id": "b", "ts": "2026-01-01T00:00:01Z", "temperature": "hot"}
{"device_id": "c", "ts": "yesterday"}
{"device_id": "d", "ts"
{"device_id": "e", "ts": "2026-01-01T00:00:02Z"}
"#;
    let (status, answer) = running.post("/v1/streams/readings", NDJSON, body).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(2), &json!(3)), "{answer}");
    let lines: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| error["line"].clone()).collect();
    assert_eq!(lines, [2, 3, 4]);
    let reason = answer["errors"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("temperature") && reason.contains("DOUBLE") && reason.contains("hot"), "{reason}");

    let stored = running.sql("SELECT device_id, temperature FROM readings ORDER BY device_id").await;
    assert_eq!(stored[0], json!({"device_id": "a", "temperature": 20.5}));
    assert_eq!((stored.len(), &stored[1]["device_id"]), (2, &json!("e")));
    let rejected = running.sql("SELECT * FROM rejected.readings").await;
    let text = Value::from(rejected.clone()).to_string();
    assert_eq!(rejected.len(), 3, "{text}");
    assert!(
        text.contains("hot") && text.contains("yesterday") && text.contains(reason.split('"').next().unwrap()),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_row_is_counted_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path(), READINGS).start().await;
    let row = |ts: &str| json!({"device_id": "a", "ts": ts, "temperature": 1.0}).to_string();
    for ts in ["2026-01-01T00:00:10Z", "2026-01-01T00:05:00Z", "2026-01-01T00:00:20Z", "2026-01-01T00:09:00Z"] {
        let (status, answer) = running.post("/v1/streams/readings", NDJSON, row(ts)).await;
        assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "a late row is a good row: {answer}");
    }
    running.reaches("SELECT count(*) FROM late.readings", 1).await;
    let late = running.sql("SELECT * FROM late.readings").await;
    assert_eq!(late.len(), 1);
    assert!(late[0].to_string().contains("2026-01-01T00:00:20"), "{}", late[0]);
    assert_eq!(running.count("SELECT count(*) FROM readings").await, 4);
    running.reaches("SELECT count(*) FROM minutes", 2).await;
    let minutes = running.sql("SELECT * FROM minutes ORDER BY ts").await;
    let expected =
        [json!({"ts": "2026-01-01T00:00:00Z", "readings": 1}), json!({"ts": "2026-01-01T00:05:00Z", "readings": 1})];
    assert_eq!(minutes, expected);
    assert!(running.get("/metrics").await.1.lines().any(|line| line.contains("late") && line.ends_with(" 1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_from_the_future_is_rejected_and_closes_no_window() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path(), &READINGS.replace(" WITH (max_skew = 'none')", "")).start().await;
    let body = r#"{"device_id": "a", "ts": "2026-01-01T00:00:10Z"}
{"device_id": "a", "ts": "2999-01-01T00:00:00Z"}
{"device_id": "a", "ts": "2026-01-01T00:00:20Z"}
{"device_id": "a", "ts": "2026-01-01T00:02:00Z"}
"#;
    let (status, answer) = running.post("/v1/streams/readings", NDJSON, body).await;
    assert_eq!((status, &answer["accepted"], &answer["rejected"]), (200, &json!(3), &json!(1)), "{answer}");
    assert_eq!(answer["errors"][0]["line"], 2);
    running.reaches("SELECT count(*) FROM minutes", 1).await;
    assert_eq!(running.sql("SELECT * FROM minutes").await, [json!({"ts": "2026-01-01T00:00:00Z", "readings": 2})]);
    assert_eq!(running.count("SELECT count(*) FROM late.readings").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_row_of_a_file_is_kept_aside_and_the_file_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = "connector = 'file', path = 'readings.csv', format = 'csv', max_skew = 'none'";
    let run = pipeline(dir.path(), &READINGS.replace("max_skew = 'none'", file));
    let rows = "device_id,ts,temperature\na,2026-01-01T00:00:00Z,20.5\nb,2026-01-01T00:00:01Z,warm\n,,\nc,2026-01-01T00:00:02Z,21\n";
    std::fs::write(run.pipeline.join("readings.csv"), rows).unwrap();
    run.to_the_end().await;
    assert_eq!(
        run.sql("SELECT device_id FROM readings ORDER BY 1").await,
        [json!({"device_id": "a"}), json!({"device_id": "c"})]
    );
    let rejected = run.sql("SELECT * FROM rejected.readings").await;
    assert_eq!(rejected.len(), 2);
    assert!(Value::from(rejected).to_string().contains("warm"));
    assert_eq!(run.sql("SELECT readings FROM minutes").await, [json!({"readings": 2})], "the end closes all windows");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_stream_is_404_and_a_close_name_is_suggested() {
    let dir = tempfile::tempdir().unwrap();
    let running = pipeline(dir.path(), READINGS).start().await;
    let (status, answer) = running.post("/v1/streams/reading", NDJSON, "{}").await;
    assert_eq!(status, 404);
    assert!(answer.to_string().contains("readings"), "{answer}");
    let (status, answer) = running.post("/v1/sql", "text/plain", "SELECT temprature FROM readings").await;
    assert_eq!(status, 400);
    assert!(answer.to_string().contains("did you mean"), "{answer}");
}

/// Exit code and standard error of a command.
async fn failing(arguments: &[&str]) -> (i32, String) {
    let mut command = command();
    let output = within("a command that fails", command.args(arguments).output()).await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_a_pipeline_is_shown_at_its_place_and_it_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mistakes = "CREATE STREAM hot (ts TIMESTAMP NOT NULL, peak DOUBLE);\n\
        INSERT INTO hot SELECT ts, temprature FROM readings;\n\
        CREATE SINK screen WITH connector = 'console');\n";
    let run = pipeline(dir.path(), &format!("{READINGS}{mistakes}"));
    let (folder, data) = (run.pipeline.to_str().unwrap(), run.data_dir.to_str().unwrap());
    let line = READINGS.lines().count();
    let check = failing(&["check", folder]).await;
    let start = failing(&["run", folder, "--data-dir", data, "--listen", "127.0.0.1:0"]).await;
    for (code, text) in [check, start] {
        assert_eq!(code, 1, "{text}");
        // The misspelt column: code, place, the line with a caret under the word, and the right name.
        assert!(text.contains("TC0102"), "{text}");
        assert!(text.contains(&format!("pipeline.sql:{}:28", line + 2)), "{text}");
        let shown: Vec<&str> = text.lines().collect();
        let quoted = shown.iter().position(|shown| shown.contains("SELECT ts, temprature FROM")).expect(&text);
        let word = shown[quoted].find("temprature").unwrap();
        assert_eq!(shown[quoted + 1].find('^'), Some(word), "{text}");
        assert!(text.contains("temperature"), "{text}");
        // The syntax error, found in the same run.
        assert!(text.contains("TC0002"), "{text}");
        assert!(text.contains(&format!("pipeline.sql:{}:25", line + 3)), "{text}");
        assert!(text.contains("2 error(s)"), "{text}");
    }
    assert!(!run.data_dir.exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_2_and_a_failure_is_3() {
    let dir = tempfile::tempdir().unwrap();
    let run = pipeline(dir.path(), READINGS);
    let folder = run.pipeline.to_str().unwrap();
    assert_eq!(failing(&["run"]).await.0, 2);
    assert_eq!(failing(&["start", folder]).await.0, 2);
    assert_eq!(failing(&["run", folder, "--listen", "here"]).await.0, 2);

    let running = run.start().await;
    let other = dir.path().join("other");
    let (code, text) =
        failing(&["run", folder, "--data-dir", other.to_str().unwrap(), "--listen", running.address()]).await;
    assert_eq!(code, 3, "{text}");
    assert!(text.contains(running.address()), "{text}");
    let (code, text) = failing(&["sql", "--data-dir", other.to_str().unwrap(), "SELECT 1"]).await;
    assert_eq!(code, 3, "{text}");
    let data = run.data_dir.to_str().unwrap();
    let (code, text) = failing(&["sql", "--data-dir", data, "SELECT temprature FROM readings"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("did you mean"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_set_stops_the_start_and_not_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let sink = "CREATE SINK oncall WITH (connector = 'pagerduty', routing_key = secret('ROUTING_KEY'));
        CREATE ALERT hot TO oncall KEY (ts) RAISE WHEN readings > 5 AS SELECT window_end AS ts, count(*) AS readings
        FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;";
    let run = pipeline(dir.path(), &format!("{READINGS}{sink}"));
    let (folder, data) = (run.pipeline.to_str().unwrap(), run.data_dir.to_str().unwrap());
    let (code, text) = failing(&["check", folder]).await;
    assert_eq!(code, 0, "{text}");
    let (code, text) = failing(&["run", folder, "--data-dir", data, "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("TC0208") && text.contains("ROUTING_KEY_FILE"), "{text}");
}
