//! Connectors: sources that the server reads itself. A connector's position is committed together with its rows, so
//! that after a restart, orderly or not, it goes on with the row after the last durable one.

mod committer;
mod file;
mod options;
mod simulator;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use thermocline_log::Log;
use tokio_util::sync::CancellationToken;

use self::file::FileConnector;
pub use self::options::OptionProblem;
use self::simulator::Simulator;
use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, Result};
use crate::input::StreamInput;

const CONNECTORS: [&str; 2] = ["file", "simulator"];

/// What a connector needs from the server.
#[derive(Debug, Clone)]
pub struct ConnectorContext {
    /// The log.
    pub log: Log,
    /// The stream that it feeds.
    pub input: StreamInput,
    /// The clock that paces it.
    pub clock: SharedClock,
    /// Asks it to stop.
    pub shutdown: CancellationToken,
}

impl ConnectorContext {
    /// A context on the system's clock.
    #[must_use]
    pub fn new(log: Log, input: StreamInput, shutdown: CancellationToken) -> Self {
        Self { log, input, clock: Arc::new(SystemClock), shutdown }
    }
}

/// How a connector ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorEnd {
    /// A finite source was read to its end.
    Finished,
    /// It was asked to stop.
    Stopped,
}

/// Counters of a connector that runs. They start at 0 with each run.
#[derive(Debug, Default)]
pub struct ConnectorStatus {
    rows: AtomicU64,
    rejected: AtomicU64,
    finished: AtomicBool,
}

impl ConnectorStatus {
    /// Rows that are durable.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Malformed rows that are durable in `rejected.<stream>`.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Whether a finite source was read to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn add(&self, rows: u64, rejected: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }
}

/// A source that can be started.
#[async_trait]
pub trait Connector: Send {
    /// Its counters, also while it runs.
    fn status(&self) -> Arc<ConnectorStatus>;

    /// Whether it comes to an end by itself.
    fn is_finite(&self) -> bool;

    /// Reads until the end of the source or until it is asked to stop.
    ///
    /// # Errors
    /// The source cannot be read, or the log failed for good. Rows that were committed stay, the position with them.
    async fn run(self: Box<Self>, context: ConnectorContext) -> Result<ConnectorEnd>;
}

/// What is wrong with the options of connector `name`; nothing when it can be opened. Paths are relative to `base_dir`.
/// The option `connector` itself is left alone.
#[must_use]
pub fn check_connector(name: &str, options: &BTreeMap<String, String>, base_dir: &Path) -> Vec<OptionProblem> {
    open(name, options, base_dir).err().unwrap_or_default()
}

/// Opens a connector; nothing is read yet.
///
/// # Errors
/// [`Error::Options`] with all that [`check_connector`] finds.
pub fn open_connector(name: &str, options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Box<dyn Connector>> {
    open(name, options, base_dir).map_err(Error::Options)
}

fn open(
    name: &str,
    options: &BTreeMap<String, String>,
    base_dir: &Path,
) -> Result<Box<dyn Connector>, Vec<OptionProblem>> {
    match name {
        "file" => Ok(Box::new(FileConnector::new(options, base_dir)?)),
        "simulator" => Ok(Box::new(Simulator::new(options)?)),
        _ => Err(vec![OptionProblem {
            option: Some("connector".to_owned()),
            message: format!("no connector named {name:?}"),
            hint: Some(format!("connectors are {}", CONNECTORS.join(", "))),
        }]),
    }
}
