//! Decides the commits of one group, one after the other, before any of them is durable.

use std::sync::Arc;

use super::state::State;
use super::{CommitId, RecentCommits};
use crate::commit::Receipt;
use crate::error::Result;
use crate::journal::{Entry, KeyEntry, ProducerEntry};

/// What is remembered together with the commits that the group holds so far. Gone with a group that fails.
#[derive(Debug)]
pub(crate) struct GroupIds<'a> {
    published: &'a RecentCommits,
    /// The ids of the group's own commits.
    group: State,
    append_ms: i64,
}

impl<'a> GroupIds<'a> {
    pub(crate) fn new(published: &'a RecentCommits, append_ms: i64) -> Self {
        Self { published, group: State::default(), append_ms }
    }

    /// The receipt of an earlier commit of that id, for the time when this group is durable; `None` for a new commit.
    ///
    /// # Errors
    /// As [`RecentCommits::check`].
    pub(crate) fn check(&self, id: &CommitId) -> Result<Option<Receipt>> {
        let bounds = &self.published.bounds;
        let in_group = match id {
            CommitId::Key { key, .. } => self.group.key(bounds, key, self.append_ms).is_some(),
            CommitId::Producer { producer, .. } => self.group.producer(bounds, producer, self.append_ms).is_some(),
        };
        if in_group { self.group.check(bounds, id, self.append_ms) } else { self.published.check(id, self.append_ms) }
    }

    /// Takes a new commit into the group; the entry that remembers it.
    pub(crate) fn add(&mut self, id: CommitId, receipt: &Receipt) -> Entry {
        let (bounds, append_ms) = (&self.published.bounds, self.append_ms);
        let ranges = receipt.ranges.as_slice().into();
        let entry = match id {
            CommitId::Key { key, fingerprint } => Entry::Key(KeyEntry { key, fingerprint, append_ms, ranges }),
            CommitId::Producer { producer, sequence } => {
                let first = self.first_sequence(&producer).unwrap_or(sequence);
                Entry::Producer(ProducerEntry { producer, first, last: sequence, append_ms, receipts: vec![ranges] })
            }
        };
        self.group.apply(bounds, &entry);
        entry
    }

    /// The first of the producer's stored sequences. What is published of it is taken into the group's own state, so
    /// that its older receipts are found there too.
    fn first_sequence(&mut self, producer: &Arc<str>) -> Option<u64> {
        let (bounds, now_ms) = (&self.published.bounds, self.append_ms);
        if self.group.producer(bounds, producer, now_ms).is_none() {
            let published = self.published.state.read().producer(bounds, producer, now_ms).cloned()?;
            self.group.apply(bounds, &Entry::Producer(published));
        }
        self.group.producer(bounds, producer, now_ms).map(|known| known.first)
    }
}
