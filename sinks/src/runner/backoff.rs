//! How long to wait before a delivery is tried again: exponential with jitter, between a base and a cap.

use std::time::Duration;

/// A destination's wish to wait is honoured up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Exponential backoff. The delay doubles from `base` to `cap`; jitter takes up to half of it away, so that sinks
/// which failed together do not come back together.
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
    jitter: Box<dyn FnMut() -> f64 + Send>,
}

impl std::fmt::Debug for Backoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backoff").field("base", &self.base).field("cap", &self.cap).finish_non_exhaustive()
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(300))
    }
}

impl Backoff {
    /// Delays from `base` to `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0, jitter: Box::new(rand::random::<f64>) }
    }

    /// Takes the jitter from another source of numbers in `[0, 1)`.
    #[must_use]
    pub fn with_jitter(mut self, jitter: impl FnMut() -> f64 + Send + 'static) -> Self {
        self.jitter = Box::new(jitter);
        self
    }

    /// The next delay.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let full = self.base.saturating_mul(2_u32.saturating_pow(self.attempt)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        match retry_after {
            Some(wish) => wish.min(RETRY_AFTER_MAX),
            None => self.jittered(full),
        }
    }

    /// The longest delay, for what will not heal by itself.
    pub(super) fn longest(&mut self) -> Duration {
        self.jittered(self.cap)
    }

    pub(super) fn reset(&mut self) {
        self.attempt = 0;
    }

    fn jittered(&mut self, full: Duration) -> Duration {
        full.mul_f64(1.0 - 0.5 * (self.jitter)().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_base_to_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10)).with_jitter(|| 0.0);
        let delays: Vec<u64> = (0..6).map(|_| backoff.next(None).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        backoff.reset();
        assert_eq!(backoff.next(None), Duration::from_secs(1));
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8)).with_jitter(|| 1.0);
        assert_eq!(backoff.next(None), Duration::from_secs(4));
        assert_eq!(backoff.longest(), Duration::from_secs(4));
    }

    #[test]
    fn the_destinations_wish_is_honoured_within_reason() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::from_secs(1_000_000))), RETRY_AFTER_MAX);
    }

    #[test]
    fn a_thousand_attempts_do_not_overflow() {
        let mut backoff = Backoff::default().with_jitter(|| 0.0);
        let last = (0..1000).map(|_| backoff.next(None)).last();
        assert_eq!(last, Some(Duration::from_secs(300)));
    }
}
