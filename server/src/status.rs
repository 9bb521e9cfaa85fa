//! What a running server has done, for displays.

use std::time::Duration;

/// A connector's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorReport {
    /// The stream it feeds.
    pub stream: String,
    /// Rows that are durable.
    pub rows: u64,
    /// Malformed rows.
    pub rejected: u64,
    /// Whether it has come to its end.
    pub finished: bool,
}

/// A query's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryReport {
    /// Name.
    pub name: String,
    /// Rows read.
    pub rows_in: u64,
    /// Rows or alert events emitted.
    pub rows_out: u64,
    /// Late rows.
    pub late: u64,
    /// Rows that wait for it.
    pub lag: u64,
    /// Why it stopped, if it failed.
    pub error: Option<String>,
}

/// A sink's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkReport {
    /// Name.
    pub name: String,
    /// `starting`, `ok`, `retrying` or `failed`.
    pub state: &'static str,
    /// Rows delivered.
    pub delivered: u64,
    /// Rows rejected for good.
    pub rejected: u64,
    /// Rows that wait for it.
    pub lag: u64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Since the start.
    pub uptime: Duration,
    /// Rows of all declared streams.
    pub rows: u64,
    /// Connectors.
    pub connectors: Vec<ConnectorReport>,
    /// Continuous queries.
    pub queries: Vec<QueryReport>,
    /// Sinks, once per query into them.
    pub sinks: Vec<SinkReport>,
}

impl StatusReport {
    /// Why the server is not ready; nothing when it is.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let failed = |query: &QueryReport| query.error.as_ref().map(|error| format!("query {}: {error}", query.name));
        self.queries.iter().filter_map(failed).collect()
    }
}
