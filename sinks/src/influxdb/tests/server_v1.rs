//! A real InfluxDB 1, started for a test in a temporary folder on free ports of loopback.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alert::rfc3339;
use crate::conformance::{Gate, Harness, sensor_rows, sensor_schema};
use crate::connector::Guarantee;
use crate::sink::Sink;

const BINARY: &str = "/usr/bin/influxd";

/// A running server, ended with the test.
pub(super) struct Influxd {
    child: Child,
    address: SocketAddr,
    client: reqwest::Client,
    user: Option<(&'static str, &'static str)>,
    _folder: TempDir,
}

impl Influxd {
    pub(super) async fn start() -> Self {
        Self::launch(false).await
    }

    /// With a user `admin` whose password is `right`.
    pub(super) async fn start_with_auth() -> Self {
        let mut server = Self::launch(true).await;
        server.query("CREATE USER admin WITH PASSWORD 'right' WITH ALL PRIVILEGES").await;
        server.user = Some(("admin", "right"));
        server
    }

    async fn launch(auth: bool) -> Self {
        assert!(
            Path::new(BINARY).exists(),
            "expected {BINARY} (Debian's package influxdb; the test script installs it)"
        );
        let folder = tempfile::tempdir().unwrap();
        let [http, rpc] = [free_port(), free_port()];
        let root = folder.path().display();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
             [meta]\ndir = \"{root}/meta\"\n\
             [data]\ndir = \"{root}/data\"\nwal-dir = \"{root}/wal\"\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"127.0.0.1:{http}\"\nauth-enabled = {auth}\nlog-enabled = false\n"
        );
        let path = folder.path().join("influxdb.conf");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(BINARY)
            .arg("-config")
            .arg(&path)
            .env("HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], http));
        let server = Self { child, address, client: reqwest::Client::new(), user: None, _folder: folder };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let ping = format!("{}/ping", self.url());
        for _ in 0..1500 {
            if self.client.get(&ping).send().await.is_ok_and(|reply| reply.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
        panic!("influxd did not start:\n{log}");
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.user {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    pub(super) async fn query(&self, statement: &str) -> Value {
        let parameters = [("q", statement), ("db", "plant"), ("epoch", "u")];
        let url = reqwest::Url::parse_with_params(&format!("{}/query", self.url()), parameters).unwrap();
        let reply = self.authorised(self.client.post(url)).send().await.unwrap();
        serde_json::from_str(&reply.text().await.unwrap()).unwrap()
    }

    /// Writes lines past the sink, creating the database.
    pub(super) async fn write(&self, database: &str, lines: &'static str) {
        self.query(&format!("CREATE DATABASE {database}")).await;
        let url = format!("{}/write?db={database}", self.url());
        let reply = self.authorised(self.client.post(url)).body(lines).send().await.unwrap();
        assert_eq!(reply.status(), 204, "{}", reply.text().await.unwrap());
    }

    /// All points of a measurement as objects; `time` in µs.
    pub(super) async fn select(&self, database: &str, measurement: &str) -> Vec<Value> {
        let name = measurement.replace('\\', "\\\\").replace('"', "\\\"");
        let answer = self.query(&format!("SELECT * FROM \"{database}\"..\"{name}\"")).await;
        let series = &answer["results"][0]["series"][0];
        let Some(rows) = series["values"].as_array() else { return Vec::new() };
        let columns = series["columns"].as_array().unwrap();
        let object = |row: &Value| {
            columns
                .iter()
                .zip(row.as_array().unwrap())
                .map(|(name, value)| (name.as_str().unwrap().to_owned(), value.clone()))
                .collect()
        };
        rows.iter().map(object).map(Value::Object).collect()
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server and the gate before it.
pub(super) struct V1 {
    pub(super) server: Influxd,
    pub(super) gate: Gate,
}

impl V1 {
    pub(super) async fn start() -> Self {
        let server = Influxd::start().await;
        let gate = Gate::before(server.address).await.unwrap();
        Self { server, gate }
    }
}

#[async_trait]
impl Harness for V1 {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn open(&self) -> Box<dyn Sink> {
        let url = self.gate.url();
        super::open(&[("url", &url), ("database", "plant"), ("tags", "device_id")], sensor_schema())
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        let mut rows = self.server.select("plant", "readings").await;
        for row in &mut rows {
            row["ts"] = rfc3339(row["time"].as_i64().unwrap()).into();
            row.as_object_mut().unwrap().remove("time");
            // JSON has one kind of number; this column is of floats.
            row["temperature"] = json!(row["temperature"].as_f64());
        }
        rows
    }

    fn expected(&self, row: Value) -> Option<Value> {
        storable(row)
    }

    /// A series key that is longer than the server takes.
    fn poison(&self) -> Option<RecordBatch> {
        let rows = sensor_rows(9000..9001);
        let mut columns = rows.columns().to_vec();
        columns[0] = std::sync::Arc::new(arrow::array::StringArray::from(vec!["x".repeat(70_000)]));
        Some(RecordBatch::try_new(rows.schema(), columns).unwrap())
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}

/// The row, if its time is one that the server can store.
pub(super) fn storable(row: Value) -> Option<Value> {
    let ts = chrono::DateTime::parse_from_rfc3339(row["ts"].as_str().unwrap()).ok()?;
    ts.timestamp_nanos_opt().map(|_| row)
}
