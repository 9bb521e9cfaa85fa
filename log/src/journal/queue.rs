//! The bounded queue from committing threads to the journal's writer. Order of entry is order of offsets.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::idempotency::CommitId;
use crate::ipc::EncodedBatch;
use crate::journal::entry::Entry;
use crate::stream::StreamId;

/// Rows of one commit for one partition.
#[derive(Debug)]
pub(crate) struct Piece {
    pub stream: StreamId,
    pub partition: u32,
    /// Version of the stream's schema that the rows have.
    pub schema_version: u32,
    pub rows: PieceRows,
    /// Whether this continues the piece before it: the same append, cut because it was long.
    pub continues: bool,
}

/// How far the committing thread has prepared the rows.
#[derive(Debug)]
pub(crate) enum PieceRows {
    /// A few rows: the writer joins them with others before it encodes them.
    Small(RecordBatch),
    /// Encoded already.
    Encoded(RecordBatch, EncodedBatch),
}

impl PieceRows {
    pub(crate) fn num_rows(&self) -> usize {
        match self {
            Self::Small(batch) | Self::Encoded(batch, _) => batch.num_rows(),
        }
    }
}

/// A commit on its way to the writer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub pieces: Vec<Piece>,
    /// Everything that is not rows.
    pub entries: Vec<Entry>,
    /// What a retry of it is recognised by.
    pub id: Option<CommitId>,
    /// Memory that the commit takes while it waits.
    pub bytes: u64,
    /// Whether the group has to be synced whatever the durability mode.
    pub must_sync: bool,
    pub reply: oneshot::Sender<Result<Receipt>>,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Commits to write as one group.
    Group(Vec<Pending>),
    /// Nothing came until the deadline.
    Idle,
    /// Closing, and everything queued has been handed out.
    Closed,
}

/// So long the writer looks for the next commit before it sleeps. Waking it takes a third of what a sync takes.
const SPIN: Duration = Duration::from_micros(60);
/// It does so only where the last commit came as soon as this: then a writer seems to answer each acknowledgement with
/// its next commit.
const SPIN_AFTER: Duration = Duration::from_micros(200);
/// On a single processor nobody could commit meanwhile.
static SPINS: LazyLock<bool> = LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1));

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
    /// Whether the writer, which looks for a commit without holding the lock, will find one.
    has_commits: AtomicBool,
}

#[derive(Debug, Default)]
struct QueueState {
    pending: VecDeque<Pending>,
    closing: bool,
    /// How long the writer waited for its last group, when it waited.
    waited: Option<Duration>,
}

impl Queue {
    /// Adds a commit at the end.
    pub(crate) fn push(&self, pending: Pending) -> Result<()> {
        let mut state = self.state.lock();
        if state.closing {
            return Err(Error::Closed);
        }
        state.pending.push_back(pending);
        self.has_commits.store(true, Ordering::Relaxed);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Refuses further commits.
    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.filled.notify_all();
    }

    /// Whether further commits are refused.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Takes everything, for the end.
    pub(crate) fn drain(&self) -> VecDeque<Pending> {
        std::mem::take(&mut self.state.lock().pending)
    }

    /// Waits for work, at most until `deadline`. A group holds at least one commit and otherwise at most
    /// `max_bytes`.
    pub(crate) fn take(&self, max_bytes: u64, deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        let idle_since = state.pending.is_empty().then(Instant::now);
        if let Some(idle_since) = idle_since
            && state.waited.is_some_and(|waited| waited < SPIN_AFTER)
            && *SPINS
        {
            drop(state);
            while !self.has_commits.load(Ordering::Relaxed) && idle_since.elapsed() < SPIN {
                std::hint::spin_loop();
            }
            state = self.state.lock();
        }
        while state.pending.is_empty() {
            if state.closing {
                return Work::Closed;
            }
            match deadline {
                None => self.filled.wait(&mut state),
                Some(deadline) => {
                    if self.filled.wait_until(&mut state, deadline).timed_out() && state.pending.is_empty() {
                        return if state.closing { Work::Closed } else { Work::Idle };
                    }
                }
            }
        }
        state.waited = idle_since.map(|since| since.elapsed()).or(state.waited);
        let mut bytes = 0;
        let mut count = 0;
        while let Some(pending) = state.pending.get(count)
            && (count == 0 || bytes + pending.bytes <= max_bytes)
        {
            bytes += pending.bytes;
            count += 1;
        }
        if count == state.pending.len() {
            self.has_commits.store(false, Ordering::Relaxed);
            return Work::Group(std::mem::take(&mut state.pending).into());
        }
        Work::Group(state.pending.drain(..count).collect())
    }
}
