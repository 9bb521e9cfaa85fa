//! A real InfluxDB holds the hourly series and answers for it, whichever of the two was started first.

use std::path::Path;

use serde_json::Value;

use crate::support::{Influxd, Run, free_port, machine_csv, machine_csv_missing, pipeline};

fn machine(dir: &Path, csv: &Path, port: u16) -> Run {
    Run::new(pipeline("machine-temperature", dir, &[]), dir.join("data"))
        .env("MACHINE_CSV", csv)
        .env("MACHINE_METRICS", "influxdb")
        .env("MACHINE_METRICS_URL", Influxd::url(port))
        .env("MACHINE_METRICS_DATABASE", "plant")
}

const COLUMNS: [&str; 4] = ["readings", "avg_temperature", "min_temperature", "max_temperature"];

/// Checks InfluxDB's points against the stream they came from.
async fn assert_has_the_series(influxd: &Influxd, hours: &[Value]) {
    let counted = influxd.query("SELECT count(avg_temperature) FROM \"machine_hourly\"").await;
    assert_eq!(counted[0][1].as_u64(), Some(hours.len() as u64));
    let points = influxd.query(&format!("SELECT {} FROM \"machine_hourly\"", COLUMNS.join(", "))).await;
    assert_eq!(points.len(), hours.len());
    for (point, hour) in points.iter().zip(hours) {
        let time = chrono::DateTime::parse_from_rfc3339(hour["ts"].as_str().unwrap()).unwrap().timestamp_micros();
        assert_eq!(point[0].as_i64(), Some(time));
        for (n, column) in COLUMNS.iter().enumerate() {
            assert_eq!(point[n + 1].as_f64(), hour[column].as_f64(), "{column} at {}", hour["ts"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn influxdb_answers_for_the_series() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let influxd = Influxd::start(port).await;
    let run = machine(dir.path(), &csv, port);
    run.to_the_end().await;
    assert_has_the_series(&influxd, &run.sql("SELECT * FROM hourly ORDER BY ts").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_waits_for_an_influxdb_that_is_started_later() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let run = machine(dir.path(), &csv, port);
    let running = run.spawn(&["--exit-when-done"]);
    running
        .stderr
        .wait_for("a delivery that failed", |line| line.contains("machine_hourly") && line.contains("tried again"))
        .await;
    let influxd = Influxd::start(port).await;
    assert_eq!(running.ended().await.code(), Some(0));
    assert_has_the_series(&influxd, &run.sql("SELECT * FROM hourly ORDER BY ts").await).await;
}
