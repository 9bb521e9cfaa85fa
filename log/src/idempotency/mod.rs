//! Recognises commits that were made before: by a key that the caller chose, or by a producer and its sequence.
//!
//! Promise: a commit that is told to be a duplicate is in the log, as durable as the durability mode makes it. Within
//! the window and the bounds of [`LogOptions`](crate::LogOptions), a commit made twice is stored once, restarts and
//! trimmed journal files included: what is remembered is written in the group of the commit itself and in every
//! checkpoint.
//!
//! The journal's writer decides, group by group ([`GroupIds`]); what is remembered changes only when a group is
//! published ([`RecentCommits`]).

mod group;
mod recent;
mod state;

use std::sync::Arc;

use parking_lot::RwLock;

pub(crate) use self::group::GroupIds;
use self::state::{Bounds, State};
use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::journal::Entry;
use crate::options::LogOptions;

/// Longest idempotency key.
const MAX_KEY_BYTES: usize = 512;
/// Longest name of a producer.
const MAX_PRODUCER_BYTES: usize = 255;

/// What a retry of a commit is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommitId {
    Key { key: Arc<[u8]>, fingerprint: u64 },
    Producer { producer: Arc<str>, sequence: u64 },
}

impl CommitId {
    /// Checks the lengths.
    pub(crate) fn check(&self) -> Result<()> {
        let (what, found, max) = match self {
            Self::Key { key, .. } => ("idempotency key", key.len(), MAX_KEY_BYTES),
            Self::Producer { producer, .. } => ("producer's name", producer.len(), MAX_PRODUCER_BYTES),
        };
        if (1..=max).contains(&found) { Ok(()) } else { Err(Error::InvalidCommitId { what, max, found }) }
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let name = match self {
            Self::Key { key, .. } => key.len(),
            Self::Producer { producer, .. } => producer.len(),
        };
        name as u64 + 32
    }
}

/// The commits that are remembered: only published ones.
#[derive(Debug)]
pub(crate) struct RecentCommits {
    bounds: Bounds,
    state: RwLock<State>,
}

impl RecentCommits {
    pub(crate) fn new(options: &LogOptions) -> Self {
        Self { bounds: Bounds::new(options), state: RwLock::default() }
    }

    /// The receipt of a commit if it is remembered.
    ///
    /// # Errors
    /// [`Error::KeyReused`] or [`Error::OutOfSequence`]: the commit can be neither that one nor a new one.
    pub(crate) fn check(&self, id: &CommitId, now_ms: i64) -> Result<Option<Receipt>> {
        self.state.read().check(&self.bounds, id, now_ms)
    }

    /// What can be answered at once, before the commits that are still queued are known.
    pub(crate) fn answer(&self, id: &CommitId, now_ms: i64) -> Result<Option<Receipt>> {
        match self.check(id, now_ms) {
            // The missing sequences may be on their way.
            Err(Error::OutOfSequence { .. }) => Ok(None),
            checked => checked,
        }
    }

    /// The last sequence of a producer, if it is remembered.
    pub(crate) fn last_sequence(&self, producer: &str, now_ms: i64) -> Option<u64> {
        self.state.read().producer(&self.bounds, producer, now_ms).map(|known| known.last)
    }

    /// Remembers what the entries of a published group or of a checkpoint tell.
    pub(crate) fn apply(&self, entries: &[Entry]) {
        let mut remembered = entries.iter().filter(|entry| matches!(entry, Entry::Key(_) | Entry::Producer(_)));
        let Some(first) = remembered.next() else { return };
        let mut state = self.state.write();
        for entry in std::iter::once(first).chain(remembered) {
            state.apply(&self.bounds, entry);
        }
    }

    /// Forgets everything, before a checkpoint that holds all of it is applied.
    pub(crate) fn clear(&self) {
        *self.state.write() = State::default();
    }

    /// Everything that is within its window, the oldest first.
    pub(crate) fn entries(&self, now_ms: i64) -> Vec<Entry> {
        self.state.read().entries(&self.bounds, now_ms)
    }

    /// How many keys and how many producers are held; some may be past their window.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.state.read().counts()
    }
}

#[cfg(test)]
mod tests;
