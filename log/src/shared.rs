//! What the handles, the writer and the sealer of one open log share.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::backup::BackupGate;
use crate::catalog::Catalog;
use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::idempotency::RecentCommits;
use crate::intake::Reply;
use crate::journal::{JournalIndex, Queue};
use crate::metadata::Metadata;
use crate::options::LogOptions;
use crate::space::Space;

/// Shared by all threads of a log.
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub options: LogOptions,
    pub log_id: u64,
    pub catalog: Catalog,
    pub metadata: Metadata,
    pub recent_commits: RecentCommits,
    pub queue: Queue,
    pub journal: JournalIndex,
    pub memory: Memory,
    pub poison: Poison,
    pub sealer: SealerSignal,
    pub backup: BackupGate,
    pub space: Space,
    /// True once the writer has ended.
    pub writer_ended: watch::Sender<bool>,
    /// How the sealer waits for the writer's answer.
    pub wait: fn(Reply) -> Result<Receipt>,
}

impl Shared {
    /// Looks at the disk; returns the bytes that appends may still take.
    pub(crate) fn look_at_space(&self) -> u64 {
        self.space.look(&self.dir, &self.options)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Bytes of rows in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// On their way to the writer.
    pub queued: AtomicU64,
    /// Durable and not sealed.
    pub tail: AtomicU64,
}

impl Memory {
    pub(crate) fn total(&self) -> u64 {
        self.queued.load(Ordering::Relaxed) + self.tail.load(Ordering::Relaxed)
    }

    /// Shows the tail's size as a metric.
    pub(crate) fn report(&self) {
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        metrics::gauge!("thermocline_log_tail_bytes").set(self.tail.load(Ordering::Relaxed) as f64);
    }
}

/// Set once by a failed write or sync; then nothing is acknowledged any more.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    reason: RwLock<Option<Arc<str>>>,
}

impl Poison {
    pub(crate) fn set(&self, cause: &Error) {
        let reason = with_causes(cause);
        tracing::error!(%reason, "log poisoned: it has to be reopened");
        self.reason.write().get_or_insert_with(|| reason.into());
    }

    /// The error to answer with, if poisoned.
    pub(crate) fn error(&self) -> Option<Error> {
        self.reason.read().as_ref().map(|reason| Error::Poisoned { reason: reason.to_string() })
    }
}

/// An error with its causes on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Wakes the sealer.
#[derive(Debug, Default)]
pub(crate) struct SealerSignal {
    state: Mutex<SealerState>,
    wake: Condvar,
    closing: AtomicBool,
    /// Whether the last attempt failed because the disk is full.
    pub disk_full: AtomicBool,
}

#[derive(Debug, Default)]
struct SealerState {
    wanted: bool,
    requests: VecDeque<SealRequest>,
    ended: bool,
}

/// Answered once everything that was durable is sealed.
pub(crate) type SealRequest = oneshot::Sender<Result<()>>;

impl SealerSignal {
    /// There may be something to seal.
    pub(crate) fn notify(&self) {
        self.state.lock().wanted = true;
        self.wake.notify_one();
    }

    /// Everything is to be sealed now. Dropped unanswered when the sealer has ended.
    pub(crate) fn request(&self, request: SealRequest) {
        let mut state = self.state.lock();
        if !state.ended {
            state.requests.push_back(request);
            self.wake.notify_one();
        }
    }

    /// The sealer is to end as soon as it can.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.notify();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The sealer has ended: who still waits gets no answer.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.requests.clear();
    }

    /// Waits for a signal, at most for `timeout`. Returns who wants everything sealed, one at a time.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<SealRequest> {
        let mut state = self.state.lock();
        if !state.wanted && state.requests.is_empty() {
            self.wake.wait_for(&mut state, timeout);
        }
        state.wanted = false;
        state.requests.pop_front()
    }
}
