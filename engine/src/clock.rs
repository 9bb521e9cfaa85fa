//! The clock the engine is handed: it never reads the wall clock by itself.

use std::time::{Duration, Instant, SystemTime};

/// Elapsed time, for decisions that the rows alone cannot make (an idle partition, a table's refresh). Every decision
/// that changes a result is journaled, so that a replay repeats it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since some fixed moment.
    fn elapsed(&self) -> Duration;

    /// Time since 1970, where the clock knows it; elapsed time where it does not. It stands on alerts about a stream that
    /// never had a row, and with it an event time.
    fn since_epoch(&self) -> Duration {
        self.elapsed()
    }
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct MonotonicClock(Instant);

impl Default for MonotonicClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn since_epoch(&self) -> Duration {
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }
}
