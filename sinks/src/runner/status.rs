//! What a running sink tells about itself: counters, state and the last error, shared with whoever watches.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use metrics::{Counter, Gauge, Histogram};
use parking_lot::Mutex;

/// State of a running sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkState {
    /// Nothing was delivered yet.
    Starting,
    /// The last delivery succeeded.
    Ok,
    /// The last delivery failed and is tried again.
    Retrying,
    /// The last delivery failed in a way that needs a person; it is still tried again.
    Failed,
}

impl SinkState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
        }
    }
}

/// Counters and state of a running sink.
pub struct SinkStatus {
    name: String,
    state: AtomicU8,
    delivered_rows: AtomicU64,
    rejected_rows: AtomicU64,
    writes: AtomicU64,
    retries: AtomicU64,
    lag_rows: AtomicU64,
    last_error: Mutex<Option<String>>,
    metrics: Metrics,
}

impl std::fmt::Debug for SinkStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkStatus")
            .field("name", &self.name)
            .field("state", &self.state())
            .field("delivered_rows", &self.delivered_rows())
            .field("lag_rows", &self.lag_rows())
            .finish_non_exhaustive()
    }
}

struct Metrics {
    rows: Counter,
    rejected: Counter,
    retries: Counter,
    lag_rows: Gauge,
    delivery_seconds: Histogram,
}

impl SinkStatus {
    pub(super) fn new(name: &str) -> Self {
        let label = || metrics::SharedString::from(name.to_owned());
        Self {
            name: name.to_owned(),
            state: AtomicU8::new(SinkState::Starting as u8),
            delivered_rows: AtomicU64::new(0),
            rejected_rows: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            lag_rows: AtomicU64::new(0),
            last_error: Mutex::new(None),
            metrics: Metrics {
                rows: metrics::counter!("thermocline_sink_rows_total", "sink" => label()),
                rejected: metrics::counter!("thermocline_sink_rejected_total", "sink" => label()),
                retries: metrics::counter!("thermocline_sink_retries_total", "sink" => label()),
                lag_rows: metrics::gauge!("thermocline_sink_lag_rows", "sink" => label()),
                delivery_seconds: metrics::histogram!("thermocline_sink_delivery_seconds", "sink" => label()),
            },
        }
    }

    /// Name of the sink.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// State.
    #[must_use]
    pub fn state(&self) -> SinkState {
        match self.state.load(Relaxed) {
            1 => SinkState::Ok,
            2 => SinkState::Retrying,
            3 => SinkState::Failed,
            _ => SinkState::Starting,
        }
    }

    /// Rows that the destination took.
    #[must_use]
    pub fn delivered_rows(&self) -> u64 {
        self.delivered_rows.load(Relaxed)
    }

    /// Rows that the destination rejected for good.
    #[must_use]
    pub fn rejected_rows(&self) -> u64 {
        self.rejected_rows.load(Relaxed)
    }

    /// Successful writes.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Times that something was tried again.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// Source rows that are durable in the log and not delivered.
    #[must_use]
    pub fn lag_rows(&self) -> u64 {
        self.lag_rows.load(Relaxed)
    }

    /// The last error, until a delivery succeeds.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    pub(super) fn record_lag(&self, rows: u64) {
        self.lag_rows.store(rows, Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a float; no lag reaches 2^53 rows")]
        self.metrics.lag_rows.set(rows as f64);
    }

    pub(super) fn record_delivery(&self, delivered: u64, rejected: u64, seconds: f64) {
        self.writes.fetch_add(1, Relaxed);
        self.delivered_rows.fetch_add(delivered, Relaxed);
        self.rejected_rows.fetch_add(rejected, Relaxed);
        self.metrics.rows.increment(delivered);
        self.metrics.rejected.increment(rejected);
        self.metrics.delivery_seconds.record(seconds);
    }

    pub(super) fn record_ok(&self) {
        self.state.store(SinkState::Ok as u8, Relaxed);
        *self.last_error.lock() = None;
    }

    pub(super) fn record_error(&self, error: String, state: SinkState) {
        self.retries.fetch_add(1, Relaxed);
        self.metrics.retries.increment(1);
        *self.last_error.lock() = Some(error);
        self.state.store(state as u8, Relaxed);
    }
}
