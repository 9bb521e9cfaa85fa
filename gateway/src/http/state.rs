//! What the doors share, handed in by the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thermocline_log::Log;
use tokio::sync::Semaphore;

use super::budget::Budget;
use super::query::QueryService;
use crate::clock::{SharedClock, SystemClock};
use crate::registry::StreamRegistry;

/// Bounds of the HTTP doors.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// A body may have this many bytes, also when decompressed.
    pub max_body_bytes: u64,
    /// All bodies in flight together may have this many bytes; more is answered with 429.
    pub max_bytes_in_flight: u64,
    /// A body with more malformed rows than this is refused whole.
    pub max_rejected_rows: usize,
    /// Queries that run at a time; more are answered with 429.
    pub max_queries: usize,
    /// Open connections; further ones wait to be accepted.
    pub max_connections: usize,
    /// A client that neither sends nor takes a byte for this long in the middle of a request is given up.
    pub idle_timeout: Duration,
    /// A request's head must be here this long after its first byte, and a connection may be idle between requests
    /// this long.
    pub head_timeout: Duration,
    /// A whole body must be here after this.
    pub body_timeout: Duration,
    /// On shutdown, requests in flight may take this long to finish.
    pub shutdown_grace: Duration,
    /// Threads that decode one large body together.
    pub decode_threads: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_bytes_in_flight: 256 << 20,
            max_rejected_rows: 100_000,
            max_queries: 32,
            max_connections: 16_384,
            idle_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(10),
            decode_threads: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        }
    }
}

/// Why the server is not ready; nothing when it is.
pub(crate) type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;
/// The metrics in Prometheus' text format.
pub(crate) type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the doors share; cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    pub(crate) log: Log,
    pub(crate) streams: StreamRegistry,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) clock: SharedClock,
    pub(crate) queries: Option<Arc<dyn QueryService>>,
    pub(crate) query_slots: Arc<Semaphore>,
    pub(crate) readiness: Readiness,
    pub(crate) render_metrics: RenderMetrics,
    pub(crate) budget: Budget,
}

impl HttpState {
    /// Doors to the streams of `streams`, all of them in `log`; ready at once, without queries and metrics.
    #[must_use]
    pub fn new(log: Log, streams: StreamRegistry, options: HttpOptions) -> Self {
        Self {
            log,
            streams,
            budget: Budget::new(options.max_bytes_in_flight),
            query_slots: Arc::new(Semaphore::new(options.max_queries)),
            options: Arc::new(options),
            clock: Arc::new(SystemClock),
            queries: None,
            readiness: Arc::new(Vec::new),
            render_metrics: Arc::new(String::new),
        }
    }

    /// Answers `POST /v1/sql`.
    #[must_use]
    pub fn with_queries(mut self, queries: Arc<dyn QueryService>) -> Self {
        self.queries = Some(queries);
        self
    }

    /// Tells why the server is not ready; asked on every `GET /readyz`.
    #[must_use]
    pub fn with_readiness(mut self, reasons: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.readiness = Arc::new(reasons);
        self
    }

    /// Renders `GET /metrics` in Prometheus' text format.
    #[must_use]
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.render_metrics = Arc::new(render);
        self
    }

    /// The clock that event times are held against.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState")
            .field("streams", &self.streams)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
