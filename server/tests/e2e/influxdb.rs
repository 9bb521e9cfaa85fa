//! A real InfluxDB holds the hourly series and answers for it, whichever of the two was started first.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, eventually, free_port, machine_csv, machine_csv_missing, pipeline};

const BINARY: &str = "/usr/bin/influxd";

/// Debian's InfluxDB 1 on loopback, ended with the test.
struct Influxd {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Influxd {
    async fn start(port: u16) -> Self {
        assert!(Path::new(BINARY).exists(), "expected {BINARY} (Debian's influxdb): run scripts/install-test-tools");
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
             [meta]\ndir = \"{root}/meta\"\n\
             [data]\ndir = \"{root}/data\"\nwal-dir = \"{root}/wal\"\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n",
            rpc = free_port()
        );
        let path = folder.path().join("influxdb.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("-config").arg(&path).env("HOME", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { child: command.spawn().unwrap(), url: url(port), _folder: folder };
        let ping = format!("{}/ping", server.url);
        eventually("InfluxDB to be up", || async {
            reqwest::get(&ping).await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        server
    }

    /// Rows of an InfluxQL query's only series, times in microseconds; none where there is no series yet.
    async fn query(&self, query: &str) -> Vec<Value> {
        let request = reqwest::Client::new().post(format!("{}/query?db=plant&epoch=us", self.url));
        // A form by hand: the value has no characters that a form would escape but these.
        let form = format!("q={}", query.replace(' ', "+").replace('"', "%22"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let result = &answer["results"][0];
        let is_missing = result["error"].as_str().is_some_and(|error| error.contains("database not found"));
        assert!(result["error"].is_null() || is_missing, "{query}: {result}");
        result["series"][0]["values"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn machine(dir: &Path, csv: &Path, port: u16) -> Run {
    Run::new(pipeline("machine-temperature", dir, &[]), dir.join("data"))
        .env("MACHINE_CSV", csv)
        .env("MACHINE_METRICS", "influxdb")
        .env("MACHINE_METRICS_URL", url(port))
        .env("MACHINE_METRICS_DATABASE", "plant")
}

const COLUMNS: [&str; 4] = ["readings", "avg_temperature", "min_temperature", "max_temperature"];

/// Checks InfluxDB's points against the stream they came from.
async fn assert_has_the_series(influxd: &Influxd, hours: &[Value]) {
    let counted = influxd.query("SELECT count(avg_temperature) FROM \"hourly\"").await;
    assert_eq!(counted[0][1].as_u64(), Some(hours.len() as u64));
    let points = influxd.query(&format!("SELECT {} FROM \"hourly\"", COLUMNS.join(", "))).await;
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
    running.stderr.wait_for("a delivery that failed", |line| line.contains("metrics") && line.contains("retry")).await;
    let influxd = Influxd::start(port).await;
    assert_eq!(running.ended().await.code(), Some(0));
    assert_has_the_series(&influxd, &run.sql("SELECT * FROM hourly ORDER BY ts").await).await;
}
