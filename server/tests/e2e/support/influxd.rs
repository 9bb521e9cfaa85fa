//! A real InfluxDB, started for a test in a temporary folder on free ports of loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::process::free_port;
use super::wait::eventually;

const BINARY: &str = "/usr/bin/influxd";

/// Debian's InfluxDB 1 on loopback, ended with the test.
pub struct Influxd {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Influxd {
    /// The address of a server on a port.
    pub fn url(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    /// Starts it and waits until it answers.
    pub async fn start(port: u16) -> Self {
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
        let server = Self { child: command.spawn().unwrap(), url: Self::url(port), _folder: folder };
        let ping = format!("{}/ping", server.url);
        eventually("InfluxDB to be up", || async {
            reqwest::get(&ping).await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        })
        .await;
        server
    }

    /// Rows of an InfluxQL query's only series, times in microseconds; none where there is no series yet.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let request = reqwest::Client::new().post(format!("{}/query?db=plant&epoch=u", self.url));
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
