//! DuckDB is the oracle: windows and alerts of both examples are what it computes from the same rows.

use serde_json::Value;

use crate::support::{Run, examples_dir, machine_csv, machine_csv_missing, pipeline, python};

/// Of a mean: sums of floats depend on the order of their terms.
const RELATIVE_TOLERANCE: f64 = 1e-12;

fn of_kind(lines: &[Value], kind: &str) -> Vec<Value> {
    lines.iter().filter_map(|line| line.get(kind)).cloned().collect()
}

/// Row for row: means within the tolerance, everything else exactly.
fn assert_same_rows(found: &[Value], expected: &[Value]) {
    assert!(!expected.is_empty());
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (column, expected) in expected.as_object().unwrap() {
            let found = &found[column];
            let is_same = match (found.as_f64(), expected.as_f64()) {
                (Some(a), Some(b)) if column.starts_with("avg") => (a - b).abs() <= RELATIVE_TOLERANCE * b.abs(),
                (Some(a), Some(b)) => a == b,
                _ => found == expected,
            };
            assert!(is_same, "row {n}, {column}: {found}, DuckDB says {expected}");
        }
    }
    assert_eq!(found.len(), expected.len());
}

async fn alert_events(run: &Run, alert: &str) -> Vec<Value> {
    let events = run.sql(&format!("SELECT ts, key, action FROM alerts.{alert} ORDER BY ts, key")).await;
    let with_key = |mut event: Value| {
        event["key"] = serde_json::from_str(event["key"].as_str().unwrap()).unwrap();
        event
    };
    events.into_iter().map(with_key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_hours_and_alerts_are_what_duckdb_computes() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let dir = tempfile::tempdir().unwrap();
    let run =
        Run::new(pipeline("machine-temperature", dir.path(), &[]), dir.path().join("data")).env("MACHINE_CSV", &csv);
    run.to_the_end().await;
    let oracle = python("windows_machine.py", &[&csv]).await;
    assert_same_rows(&run.sql("SELECT * FROM hourly ORDER BY ts").await, &of_kind(&oracle, "hourly"));
    assert_same_rows(&alert_events(&run, "cold").await, &of_kind(&oracle, "alert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plants_series_and_alerts_are_what_duckdb_computes() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run::new(pipeline("plant", dir.path(), &[]), dir.path().join("data"));
    run.to_the_end().await;
    let readings = dir.path().join("readings.json");
    let text = run.sql_text("SELECT device_id, ts, temperature, vibration FROM readings", "json").await;
    assert_eq!(text.lines().count(), 60_000);
    std::fs::write(&readings, text).unwrap();
    let oracle = python("windows_plant.py", &[&readings, &examples_dir().join("plant/devices.csv")]).await;
    assert_same_rows(&run.sql("SELECT * FROM series ORDER BY ts, device_id").await, &of_kind(&oracle, "series"));
    assert_same_rows(&alert_events(&run, "overheating").await, &of_kind(&oracle, "alert"));
}
