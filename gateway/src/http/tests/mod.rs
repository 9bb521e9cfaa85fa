//! The doors end to end: a real server on a free port of loopback, over a real log.

mod bounds;
mod idempotency;
mod influx;
mod metadata;
mod query;
mod rows;
mod slow_disk;

use std::sync::Arc;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use thermocline_log::{Log, LogOptions, Stream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{HttpOptions, HttpState, serve};
use crate::registry::StreamRegistry;
use crate::testing::{NOW_US, TestClock, all_lines, input, readings, readings_schema};

/// A server with the streams `readings` and `reading_counts`.
struct Server {
    url: String,
    client: Client,
    log: Log,
    registry: StreamRegistry,
    stream: Stream,
    rejected: Stream,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _dir: TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::with(HttpOptions::default(), LogOptions::default(), |state| state).await
    }

    async fn with(options: HttpOptions, log: LogOptions, state: impl FnOnce(HttpState) -> HttpState) -> Self {
        Self::over(tempfile::tempdir().unwrap(), options, log, state).await
    }

    async fn over(
        dir: TempDir,
        options: HttpOptions,
        log: LogOptions,
        state: impl FnOnce(HttpState) -> HttpState,
    ) -> Self {
        let log = Log::open(dir.path(), log).unwrap();
        let registry = StreamRegistry::new();
        let readings = readings(&log).await;
        let (stream, rejected) = (readings.stream.clone(), readings.rejected.clone());
        registry.register(readings);
        registry.register(input(&log, "reading_counts", readings_schema()).await);
        let clock = TestClock::at(NOW_US);
        let state = state(HttpState::new(log.clone(), registry.clone(), options).with_clock(clock));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, state, shutdown.clone()));
        Self { url, client: Client::new(), log, registry, stream, rejected, shutdown, serving, _dir: dir }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", content_type);
        request.body(body).send().await.unwrap()
    }

    async fn fetch(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    fn lines(&self) -> Vec<String> {
        all_lines(&self.log, &self.stream)
    }

    fn rejected_lines(&self) -> Vec<String> {
        all_lines(&self.log, &self.rejected)
    }

    async fn stop(self) {
        self.close().await;
    }

    /// Another server over the same log, opened again.
    async fn restart(self) -> Self {
        let dir = self.close().await;
        Self::over(dir, HttpOptions::default(), LogOptions::default(), |state| state).await
    }

    async fn close(self) -> TempDir {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.log.close().await.unwrap();
        self._dir
    }
}

async fn json(response: Response, status: StatusCode) -> Value {
    let found = response.status();
    let body = response.text().await.unwrap();
    assert_eq!(found, status, "{body}");
    serde_json::from_str(&body).unwrap()
}
