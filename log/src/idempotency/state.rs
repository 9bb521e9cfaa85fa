//! What is remembered, bounded by count, bytes and age.
//!
//! Count and bytes decide what is held: the oldest goes first. Age decides only what is answered and what goes into a
//! checkpoint. So nothing is lost to a clock that is ahead for a moment, unless a checkpoint is written in that moment.

use std::sync::Arc;
use std::time::Duration;

use super::CommitId;
use super::recent::Recent;
use crate::commit::{OffsetRange, Receipt};
use crate::error::{Error, Result};
use crate::journal::{Entry, KeyEntry, ProducerEntry};
use crate::options::LogOptions;

/// Bound on the bytes of all keys in a checkpoint: their receipts may be of any length.
const MAX_KEYS_BYTES: u64 = 16 << 20;
/// So many receipts of a producer are kept, as in Kafka …
const PRODUCER_RECEIPTS: usize = 5;
/// … and so many ranges in them.
const PRODUCER_RANGES: usize = 64;

/// How much is remembered, and for how long.
#[derive(Debug)]
pub(super) struct Bounds {
    key_window_ms: i64,
    keys: usize,
    producer_window_ms: i64,
    producers: usize,
}

impl Bounds {
    pub(super) fn new(options: &LogOptions) -> Self {
        let ms = |window: Duration| i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self {
            key_window_ms: ms(options.idempotency_window),
            keys: options.idempotency_keys,
            producer_window_ms: ms(options.producer_window),
            producers: options.producers,
        }
    }

    fn holds_key(&self, key: &KeyEntry, now_ms: i64) -> bool {
        now_ms.saturating_sub(key.append_ms) < self.key_window_ms
    }

    fn holds_producer(&self, producer: &ProducerEntry, now_ms: i64) -> bool {
        now_ms.saturating_sub(producer.append_ms) < self.producer_window_ms
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct State {
    keys: Recent<[u8], KeyEntry>,
    keys_bytes: u64,
    producers: Recent<str, ProducerEntry>,
}

impl State {
    /// The receipt of a commit if it is remembered; an error if it can be neither that commit nor a new one.
    pub(super) fn check(&self, bounds: &Bounds, id: &CommitId, now_ms: i64) -> Result<Option<Receipt>> {
        match id {
            CommitId::Key { key, fingerprint } => match self.key(bounds, key, now_ms) {
                None => Ok(None),
                Some(known) if known.fingerprint == *fingerprint => Ok(Some(Receipt::duplicate(&known.ranges))),
                Some(_) => Err(Error::KeyReused { key: String::from_utf8_lossy(key).into_owned() }),
            },
            CommitId::Producer { producer, sequence } => match self.producer(bounds, producer, now_ms) {
                None => Ok(None),
                Some(known) => known.check(*sequence),
            },
        }
    }

    pub(super) fn key(&self, bounds: &Bounds, key: &[u8], now_ms: i64) -> Option<&KeyEntry> {
        self.keys.find(key).filter(|known| bounds.holds_key(known, now_ms))
    }

    pub(super) fn producer(&self, bounds: &Bounds, producer: &str, now_ms: i64) -> Option<&ProducerEntry> {
        self.producers.find(producer).filter(|known| bounds.holds_producer(known, now_ms))
    }

    /// Remembers what an entry tells; others are left to the caller.
    pub(super) fn apply(&mut self, bounds: &Bounds, entry: &Entry) {
        match entry {
            Entry::Key(key) => self.remember_key(bounds, key.clone()),
            Entry::Producer(producer) => self.remember_producer(bounds, producer.clone()),
            _ => {}
        }
    }

    fn remember_key(&mut self, bounds: &Bounds, key: KeyEntry) {
        self.keys_bytes += key.bytes();
        let replaced = self.keys.set(Arc::clone(&key.key), key);
        self.keys_bytes -= replaced.map_or(0, |replaced| replaced.bytes());
        while (self.keys.len() > bounds.keys || self.keys_bytes > MAX_KEYS_BYTES)
            && let Some(oldest) = self.keys.remove_oldest()
        {
            self.keys_bytes -= oldest.bytes();
        }
    }

    fn remember_producer(&mut self, bounds: &Bounds, mut producer: ProducerEntry) {
        if let Some(known) = self.producers.find(&producer.producer)
            && producer.follows(known)
        {
            producer.receipts.splice(..0, known.receipts.iter().cloned());
        }
        producer.trim();
        self.producers.set(Arc::clone(&producer.producer), producer);
        while self.producers.len() > bounds.producers {
            self.producers.remove_oldest();
        }
    }

    pub(super) fn entries(&self, bounds: &Bounds, now_ms: i64) -> Vec<Entry> {
        let keys = self.keys.oldest_first().filter(|key| bounds.holds_key(key, now_ms));
        let producers = self.producers.oldest_first().filter(|producer| bounds.holds_producer(producer, now_ms));
        keys.cloned().map(Entry::Key).chain(producers.cloned().map(Entry::Producer)).collect()
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.keys.len() as u64, self.producers.len() as u64)
    }
}

impl ProducerEntry {
    /// Whether this is about the sequence right behind those of `known`. It is not when `known` had been forgotten.
    fn follows(&self, known: &Self) -> bool {
        self.first == known.first && known.last.checked_add(1) == Some(self.last)
    }

    /// Keeps the newest receipts only.
    fn trim(&mut self) {
        let mut ranges = 0;
        let fits = |receipt: &&Arc<[OffsetRange]>| {
            ranges += receipt.len();
            ranges <= PRODUCER_RANGES
        };
        let kept = self.receipts.iter().rev().take(PRODUCER_RECEIPTS).take_while(fits).count();
        self.receipts.drain(..self.receipts.len() - kept);
    }

    fn check(&self, sequence: u64) -> Result<Option<Receipt>> {
        if (self.first..=self.last).contains(&sequence) {
            let back = usize::try_from(self.last - sequence).unwrap_or(usize::MAX);
            let ranges = self.receipts.iter().rev().nth(back);
            return Ok(Some(Receipt::duplicate(ranges.map_or(&[], |ranges| ranges))));
        }
        let expected = self.last.saturating_add(1);
        if sequence == expected {
            return Ok(None);
        }
        Err(Error::OutOfSequence { producer: self.producer.to_string(), expected, found: sequence })
    }
}
