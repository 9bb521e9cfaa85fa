//! Cursors and named values: what a commit can hold besides rows.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::journal::Entry;
use crate::stream::StreamId;

/// All cursors and named values; only durable ones.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By partition, so that retention finds the slowest.
    cursors: BTreeMap<(StreamId, u32), BTreeMap<String, u64>>,
    values: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// Applies the entries that are cursors or values; others are left to the caller.
    pub(crate) fn apply(&self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let mut state = self.state.write();
        for entry in entries {
            match entry {
                Entry::Cursor { name, stream, partition, next_offset } => {
                    state.cursors.entry((*stream, *partition)).or_default().insert(name.clone(), *next_offset);
                }
                Entry::Put { key, value } => {
                    state.values.insert(key.clone(), value.clone());
                }
                Entry::Delete { key } => {
                    state.values.remove(key);
                }
                Entry::Rows(_)
                | Entry::Stream { .. }
                | Entry::Partition { .. }
                | Entry::Start { .. }
                | Entry::Key(_)
                | Entry::Producer(_) => {}
            }
        }
    }

    /// Forgets everything, before a checkpoint that holds all of it is applied.
    pub(crate) fn clear(&self) {
        *self.state.write() = State::default();
    }

    /// Everything, as entries.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let state = self.state.read();
        let cursors = state.cursors.iter().flat_map(|((stream, partition), cursors)| {
            cursors.iter().map(|(name, next_offset)| Entry::Cursor {
                name: name.clone(),
                stream: *stream,
                partition: *partition,
                next_offset: *next_offset,
            })
        });
        let values = state.values.iter().map(|(key, value)| Entry::Put { key: key.clone(), value: value.clone() });
        cursors.chain(values).collect()
    }

    /// Where a cursor stands.
    pub(crate) fn cursor(&self, name: &str, stream: StreamId, partition: u32) -> Option<u64> {
        self.state.read().cursors.get(&(stream, partition))?.get(name).copied()
    }

    /// The lowest cursor of a partition; `None` when it has none.
    pub(crate) fn slowest_cursor(&self, stream: StreamId, partition: u32) -> Option<u64> {
        self.state.read().cursors.get(&(stream, partition))?.values().min().copied()
    }

    /// A named value.
    pub(crate) fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.state.read().values.get(key).cloned()
    }

    /// All named values whose key starts with `prefix`, in key order.
    pub(crate) fn values(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let state = self.state.read();
        state
            .values
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}
