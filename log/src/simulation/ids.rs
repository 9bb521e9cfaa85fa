//! What the log has to recognise: which commits were stored under which key, and how far each producer is.
//!
//! Within the bounds that the log promises the model knows what the answer to a commit made again must be. Beyond them
//! the log may have forgotten a key or not: the answer tells.

use std::collections::BTreeMap;

use crate::commit::{Commit, OffsetRange};

pub(super) const PRODUCERS: [&str; 3] = ["north", "south", "west"];

/// What a commit is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    /// A number that no other commit has.
    Key(u64),
    Producer(&'static str, u64),
}

impl Id {
    pub(super) fn put_on(self, commit: &mut Commit) {
        match self {
            Self::Key(key) => commit.idempotency_key(key.to_le_bytes(), fingerprint(key)),
            Self::Producer(producer, sequence) => commit.producer(producer, sequence),
        };
    }
}

pub(super) fn fingerprint(key: u64) -> u64 {
    key.wrapping_mul(31)
}

/// How long the log remembers keys; producers it never forgets in a simulation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub window_ms: i64,
    pub keys: u64,
}

/// What has to become of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    New,
    /// It was stored, with these offsets.
    Duplicate(&'a [OffsetRange]),
    /// It was stored and may have been forgotten.
    Either(&'a [OffsetRange]),
    /// Sequences before it are missing.
    OutOfSequence,
}

#[derive(Debug, Clone)]
struct StoredKey {
    ranges: Vec<OffsetRange>,
    append_ms: i64,
    /// How many keys had been stored with it.
    count: u64,
}

#[derive(Debug, Clone)]
struct Producer {
    first: u64,
    ranges: Vec<Vec<OffsetRange>>,
}

impl Producer {
    fn next(&self) -> u64 {
        self.first + self.ranges.len() as u64
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    pub(super) bounds: Bounds,
    /// The latest time there ever was: a checkpoint written then left out what was past its window.
    pub(super) latest_ms: i64,
    keys: BTreeMap<u64, StoredKey>,
    stored: u64,
    producers: BTreeMap<&'static str, Producer>,
}

impl Ids {
    pub(super) fn decide(&self, id: Option<Id>) -> Verdict<'_> {
        match id {
            None => Verdict::New,
            Some(Id::Key(key)) => match self.keys.get(&key) {
                None => Verdict::New,
                Some(known) if self.is_certain(known) => Verdict::Duplicate(&known.ranges),
                Some(known) => Verdict::Either(&known.ranges),
            },
            Some(Id::Producer(producer, sequence)) => match self.producers.get(producer) {
                Some(known) if sequence == known.next() => Verdict::New,
                Some(known) => match sequence.checked_sub(known.first).map(|at| known.ranges.get(at as usize)) {
                    Some(Some(ranges)) => Verdict::Duplicate(ranges),
                    _ => Verdict::OutOfSequence,
                },
                None => Verdict::New,
            },
        }
    }

    fn is_certain(&self, key: &StoredKey) -> bool {
        self.stored - key.count < self.bounds.keys && self.latest_ms - key.append_ms < self.bounds.window_ms
    }

    pub(super) fn store(&mut self, id: Id, ranges: &[OffsetRange], append_ms: i64) {
        match id {
            Id::Key(key) => {
                self.stored += 1;
                self.keys.insert(key, StoredKey { ranges: ranges.to_vec(), append_ms, count: self.stored });
            }
            Id::Producer(producer, sequence) => {
                let new = Producer { first: sequence, ranges: Vec::new() };
                self.producers.entry(producer).or_insert(new).ranges.push(ranges.to_vec());
            }
        }
    }

    /// The keys that must be remembered, with their offsets.
    pub(super) fn certain_keys(&self) -> impl Iterator<Item = (u64, &[OffsetRange])> {
        self.keys.iter().filter(|(_, key)| self.is_certain(key)).map(|(key, known)| (*key, known.ranges.as_slice()))
    }

    /// The sequence that the producer has to go on with.
    pub(super) fn next_sequence(&self, producer: &str) -> Option<u64> {
        self.producers.get(producer).map(Producer::next)
    }
}
