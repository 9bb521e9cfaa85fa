//! The keys that are watched: one small state each, found by key, and in the order in which their silence ends.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// The bytes of a key, in the order of keys.
pub(super) type Key = Arc<[u8]>;

/// What is known of a key.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Its silence counts from here: its last row, or when it was first expected; `None` before event time began.
    pub(super) since_us: Option<i64>,
    /// When its alert was raised.
    pub(super) raised_us: Option<i64>,
    /// Whether `row` is a row of the stream, not only what a table says.
    pub(super) heard: bool,
    /// Whether an earlier text of the query may have raised its alert.
    pub(super) doubtful: bool,
    /// Its last row, or what is known of it, as bytes.
    pub(super) row: Vec<u8>,
    /// Whether it stands in `due`.
    pub(super) is_due: bool,
}

/// How long a key may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Silent for longer than this, it is raised.
    pub(super) raise_us: i64,
    /// Silent for longer than this, it is forgotten.
    pub(super) forget_us: Option<i64>,
}

impl Limits {
    /// The last moment at which nothing happens to a key that is not heard.
    pub(super) fn deadline_us(self, watched: &Watched) -> Option<i64> {
        let limit_us = if watched.raised_us.is_some() { self.forget_us? } else { self.raise_us };
        Some(watched.since_us?.saturating_add(limit_us))
    }
}

/// The keys.
#[derive(Debug)]
pub(super) struct Keys {
    limits: Limits,
    by_key: HashMap<Key, Watched>,
    /// For each key with a deadline, once, a moment at or before it.
    due: BinaryHeap<Reverse<(i64, Key)>>,
    row_bytes: usize,
}

impl Keys {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, by_key: HashMap::new(), due: BinaryHeap::new(), row_bytes: 0 }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Watched> {
        self.by_key.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Watched)> {
        self.by_key.iter()
    }

    /// All keys in their order.
    pub(super) fn in_order(&self) -> Vec<(&Key, &Watched)> {
        let mut keys: Vec<_> = self.by_key.iter().collect();
        keys.sort_unstable_by(|a, b| a.0.cmp(b.0));
        keys
    }

    pub(super) fn insert(&mut self, key: &[u8], watched: Watched) {
        let key: Key = key.into();
        self.row_bytes += watched.row.len();
        self.by_key.insert(Arc::clone(&key), watched);
        self.await_deadline(&key);
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Watched> {
        let removed = self.by_key.remove(key)?;
        self.row_bytes -= removed.row.len();
        Some(removed)
    }

    /// Changes what is known of a key; `None` where it is not watched.
    pub(super) fn change<T>(&mut self, key: &[u8], change: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        let watched = self.by_key.get_mut(key)?;
        let (row_bytes, was_due) = (watched.row.len(), watched.is_due);
        let answer = change(watched);
        self.row_bytes = self.row_bytes + watched.row.len() - row_bytes;
        if !was_due {
            let (key, _) = self.by_key.get_key_value(key).expect("it was changed");
            let key = Arc::clone(key);
            self.await_deadline(&key);
        }
        Some(answer)
    }

    /// Changes every key, in no order.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&mut Watched)) {
        let keys: Vec<Key> = self.by_key.keys().map(Arc::clone).collect();
        for key in keys {
            self.change(&key, &mut change);
        }
    }

    fn await_deadline(&mut self, key: &Key) {
        let Some(watched) = self.by_key.get_mut(key) else { return };
        if let Some(deadline_us) = self.limits.deadline_us(watched) {
            watched.is_due = true;
            self.due.push(Reverse((deadline_us, Arc::clone(key))));
        }
    }

    /// The next key whose deadline is before `now_us`, by (deadline, key), and that deadline. What is done about it must
    /// move the deadline or remove the key; then it [waits](Self::change) for the next one.
    pub(super) fn next_due(&mut self, now_us: i64) -> Option<(i64, Key)> {
        while let Some(Reverse((due_us, _))) = self.due.peek()
            && *due_us < now_us
        {
            let Reverse((due_us, key)) = self.due.pop().expect("just seen");
            let Some(watched) = self.by_key.get_mut(&key) else { continue };
            watched.is_due = false;
            match self.limits.deadline_us(watched) {
                Some(deadline_us) if deadline_us == due_us => return Some((deadline_us, key)),
                // It was heard meanwhile.
                _ => self.await_deadline(&key),
            }
        }
        None
    }

    /// The first moment after which a key is to be raised; the beginning of time where event time has not begun.
    pub(super) fn first_silent_us(&self) -> Option<i64> {
        let quiet = self.by_key.values().filter(|watched| watched.raised_us.is_none());
        quiet.map(|watched| self.limits.deadline_us(watched).unwrap_or(i64::MIN)).min()
    }

    pub(super) fn bytes(&self) -> usize {
        let per_key = size_of::<Watched>() + size_of::<Key>() + size_of::<(i64, Key)>();
        let key_bytes = self.by_key.keys().next().map_or(0, |key| key.len());
        self.row_bytes + self.by_key.len() * (per_key + key_bytes)
    }
}
