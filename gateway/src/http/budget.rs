//! A bound on the bytes of all bodies in flight together. Nobody waits for it: over the bound is an answer (429).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The bound and what is taken of it.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    taken: Arc<AtomicU64>,
    limit_bytes: u64,
}

/// Bytes taken by one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { taken: Arc::default(), limit_bytes }
    }

    /// A reservation of nothing yet.
    pub(crate) fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }
}

impl Reservation {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Error::Busy`] when all requests together would be over the bound; nothing was taken then.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<()> {
        let limit_bytes = self.budget.limit_bytes;
        let take = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= limit_bytes);
        match self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Error::Busy { limit_bytes }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new(100);
        let mut first = budget.reserve();
        first.grow(60).unwrap();
        first.grow(30).unwrap();
        let mut second = budget.reserve();
        assert!(matches!(second.grow(11), Err(Error::Busy { limit_bytes: 100 })));
        second.grow(10).unwrap();
        drop(first);
        second.grow(90).unwrap();
        assert!(budget.reserve().grow(u64::MAX).is_err());
    }
}
