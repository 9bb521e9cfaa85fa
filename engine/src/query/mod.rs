//! Continuous queries at run time: each reads its stream from a durable position, and commits what it emits together
//! with how far it has read.

mod chain;
mod committing;
mod emit;
mod failed;
mod failed_results;
mod member;
mod ordered;
mod ordered_partition;
mod partition;
mod parts;
mod per_key;
mod per_key_partition;
mod progress;
mod reader;
mod sharing;
mod side_by_side;
mod snapshots;
mod stateless;
mod windowed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use thermocline_log::{Commit, Log, Stream};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::memory::{MemoryAccount, OverLimit};

pub(crate) use emit::Emitter;
pub(crate) use failed::{FailedRow, evaluate_output, failed_schema, failed_stream_name};
pub(crate) use failed_results::{FailedResults, evaluate_rows};
pub(crate) use member::{Member, ResumePoint};
pub(crate) use ordered::{InputStreams, OrderedQuery, OrderedSettings, compile_inputs};
pub(crate) use ordered_partition::without_row;
pub(crate) use per_key::{PerKeyQuery, PerKeySettings, PerKeyShape};
pub(crate) use reader::StageReader;
pub(crate) use sharing::{SharedInput, union};
pub(crate) use stateless::{StatelessQuery, StatelessSettings};
pub(crate) use windowed::{WindowedQuery, WindowedSettings};

/// What a query is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Go on.
    Run,
    /// Read to the durable end, close all windows, commit, end.
    Finish,
    /// Commit, if the log takes it, and end at once; everything goes on after a restart.
    Stop,
}

/// What a query has done since it started, for metrics and displays.
#[derive(Debug, Default)]
pub struct QueryStatus {
    rows_in: AtomicU64,
    position: AtomicU64,
    rows_out: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    lag: AtomicU64,
    state_bytes: AtomicU64,
    error: Mutex<Option<String>>,
}

impl QueryStatus {
    /// Rows read.
    #[must_use]
    pub fn rows_in(&self) -> u64 {
        self.rows_in.load(Ordering::Relaxed)
    }

    /// Rows of the stream that it has behind it, in this life and earlier ones: the sum of its partitions' offsets.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Rows (or alert events) emitted.
    #[must_use]
    pub fn rows_out(&self) -> u64 {
        self.rows_out.load(Ordering::Relaxed)
    }

    /// Late rows.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Rows that an expression failed on.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Rows between its position and the durable end.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }

    /// Bytes of window state.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.state_bytes.load(Ordering::Relaxed)
    }

    /// Why it stopped, if it failed.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    pub(crate) fn fail(&self, query: &str, error: &Error) {
        *self.error.lock() = Some(error.to_string());
        metrics::gauge!("thermocline_query_stopped", "query" => query.to_owned()).set(1.0);
    }
}

/// Counts into the status and the metrics of one query, and its state into the memory of all.
#[derive(Debug, Clone)]
pub(crate) struct Counters(Arc<Counted>);

/// What a query's counters share, wherever they are used.
#[derive(Debug)]
struct Counted {
    query: String,
    status: Arc<QueryStatus>,
    memory: MemoryAccount,
}

impl Counters {
    pub(crate) fn new(query: &str, status: Arc<QueryStatus>, memory: MemoryAccount) -> Self {
        Self(Arc::new(Counted { query: query.to_owned(), status, memory }))
    }

    fn add_in(&self, rows: u64) {
        self.0.status.rows_in.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("thermocline_query_rows_in_total", "query" => self.0.query.clone()).increment(rows);
    }

    fn set_position(&self, rows: u64) {
        self.0.status.position.store(rows, Ordering::Relaxed);
    }

    fn add_out(&self, rows: u64) {
        self.0.status.rows_out.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("thermocline_query_rows_out_total", "query" => self.0.query.clone()).increment(rows);
    }

    fn add_late(&self, rows: u64) {
        self.0.status.late.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("thermocline_query_late_rows_total", "query" => self.0.query.clone()).increment(rows);
    }

    fn add_failed(&self, rows: u64) {
        self.0.status.failed.fetch_add(rows, Ordering::Relaxed);
        metrics::counter!("thermocline_query_failed_rows_total", "query" => self.0.query.clone()).increment(rows);
    }

    fn set_lag(&self, rows: u64) {
        self.0.status.lag.store(rows, Ordering::Relaxed);
        metrics::gauge!("thermocline_query_lag_rows", "query" => self.0.query.clone()).set(rows as f64);
    }

    /// Says what the query holds.
    ///
    /// # Errors
    /// [`Error::Memory`] when that is over the limit: the query must stop.
    fn set_state_bytes(&self, bytes: u64) -> Result<()> {
        self.0.status.state_bytes.store(bytes, Ordering::Relaxed);
        metrics::gauge!("thermocline_query_state_bytes", "query" => self.0.query.clone()).set(bytes as f64);
        self.0.memory.set(bytes).map_err(|OverLimit { bytes, limit_bytes, others }| Error::Memory {
            query: self.0.query.clone(),
            bytes,
            limit_bytes,
            others: if others.is_empty() { others } else { format!(", of which the largest others are {others}") },
        })
    }
}

impl Drop for Counted {
    /// A query that has ended holds nothing.
    fn drop(&mut self) {
        self.status.state_bytes.store(0, Ordering::Relaxed);
        metrics::gauge!("thermocline_query_state_bytes", "query" => self.query.clone()).set(0.0);
    }
}

/// How long a query waits before it tries again when the log is full or at its memory cap.
const COMMIT_RETRY: std::time::Duration = std::time::Duration::from_millis(20);

/// Whether what a query has gathered is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Stored {
    Yes,
    /// The query was told to stop while the log could not take more. It must end and commit nothing else: what came of
    /// these rows comes of them again after a restart.
    Abandoned,
}

/// Commits, waiting while the log cannot take more: a query never drops what it emits, unless it is told to stop, or its
/// engine is gone.
pub(crate) async fn commit_when_possible(
    log: &Log,
    commit: Commit,
    control: &mut watch::Receiver<Control>,
) -> Result<Stored> {
    loop {
        match log.commit(commit.clone()).await {
            Ok(_) => return Ok(Stored::Yes),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error.into()),
        }
        let stopped = control.wait_for(|wanted| *wanted == Control::Stop);
        if tokio::time::timeout(COMMIT_RETRY, stopped).await.is_ok() {
            return Ok(Stored::Abandoned);
        }
    }
}

/// A query's name as part of a file name.
fn file_name(query: &str) -> String {
    query.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '+' }).collect()
}

/// Removes the snapshots whose names begin with `prefix`, and end with an offset before that of the last committed one, but
/// for those that are committed: `committed` are the files that recovery would read now, oldest first.
fn remove_older_snapshots(log: &Log, prefix: &str, committed: &[String]) {
    let Some(newest) = committed.last().and_then(|name| name.rsplit('-').next()) else { return };
    for name in log.state_files().unwrap_or_default() {
        if name.strip_prefix(prefix).is_some_and(|offset| offset < newest) && !committed.contains(&name) {
            // A file that stays, for a backup or because of an error, is only space; the next snapshot tries again.
            let _ = log.remove_state_file(&name);
        }
    }
}

/// Whether no row of a stream was removed yet. A snapshot that cannot be read can be made again of all rows; of a part of
/// them, windows would be wrong.
fn holds_every_row(log: &Log, stream: &Stream) -> bool {
    (0..stream.partitions()).all(|n| log.range(stream.id(), n).is_ok_and(|range| range.start == 0))
}
