//! The state of all continuous queries, in bytes, under one limit.
//!
//! A query says what it holds after every step, before it goes on. What is over the limit is refused to the query that asks
//! for it, and to no other: those that hold less than before, or as much, always go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::in_words;

/// Queries that are named where memory is short.
const LARGEST: usize = 3;

/// The limit, and who holds what of it; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    limit_bytes: u64,
    held: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What one query holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    budget: MemoryBudget,
    query: String,
}

/// Why a query cannot have more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverLimit {
    pub(crate) bytes: u64,
    pub(crate) limit_bytes: u64,
    /// The other queries that hold most, in words; empty where no other holds any.
    pub(crate) others: String,
}

impl MemoryBudget {
    /// Of a limit for all queries: what ad-hoc queries may not have.
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes: limit_bytes - limit_bytes / 4, held: Arc::default() }
    }

    /// Bytes for the state of all continuous queries.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// The account of a query, which holds nothing yet.
    pub(crate) fn account(&self, query: &str) -> MemoryAccount {
        MemoryAccount { budget: self.clone(), query: query.to_owned() }
    }
}

impl MemoryAccount {
    /// Says what the query holds now.
    ///
    /// # Errors
    /// [`OverLimit`] when it holds more than before and all queries together more than the limit.
    pub(crate) fn set(&self, bytes: u64) -> Result<(), OverLimit> {
        let mut held = self.budget.held.lock();
        let before = held.insert(self.query.clone(), bytes).unwrap_or(0);
        let all: u64 = held.values().sum();
        let limit_bytes = self.budget.limit_bytes;
        if bytes <= before || all <= limit_bytes {
            return Ok(());
        }
        // It ends now, and gives all of it back: until then the others are not to be refused for what it was refused.
        held.insert(self.query.clone(), before);
        let mut others: Vec<(&String, u64)> =
            held.iter().filter(|(query, bytes)| **query != self.query && **bytes > 0).map(|(q, b)| (q, *b)).collect();
        others.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let others: Vec<String> =
            others.into_iter().take(LARGEST).map(|(query, bytes)| format!("{query} {}", in_words(bytes))).collect();
        Err(OverLimit { bytes, limit_bytes, others: others.join(", ") })
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        self.budget.held.lock().remove(&self.query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_that_asks_for_more_is_refused_and_the_others_go_on() {
        let budget = MemoryBudget::new(400);
        let (small, large) = (budget.account("small"), budget.account("large"));
        small.set(100).unwrap();
        large.set(200).unwrap();
        let refused = large.set(201).unwrap_err();
        assert_eq!(refused, OverLimit { bytes: 201, limit_bytes: 300, others: "small 100 B".into() });
        small.set(100).unwrap();
        small.set(99).unwrap();
        assert!(large.set(1_000).is_err());
        small.set(100).unwrap();
        drop(large);
        small.set(300).unwrap();
        assert_eq!(small.set(301).unwrap_err().others, "");
    }

    #[test]
    fn bytes_are_read_by_people() {
        let words: Vec<String> = [17, 2048, 3 << 19, 5 << 30].map(in_words).into();
        assert_eq!(words, ["17 B", "2.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}
