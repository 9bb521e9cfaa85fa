//! PagerDuty takes about 120 events a minute and key. At most that many are sent in any minute, so that a burst goes
//! out at once and only then waits.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const EVENTS: usize = 120;
const WINDOW: Duration = Duration::from_secs(60);

/// When the last events were sent.
#[derive(Debug, Default)]
pub(super) struct RateLimit(VecDeque<Instant>);

impl RateLimit {
    /// Counts one more event; it may be sent at the time that is returned.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        let oldest = if self.0.len() == EVENTS { self.0.pop_front() } else { None };
        let at = oldest.map_or(now, |oldest| now.max(oldest + WINDOW));
        self.0.push_back(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_than_120_events() {
        let mut rate = RateLimit::default();
        let start = Instant::now();
        let mut now = start;
        let mut sent = Vec::new();
        for _ in 0..500 {
            now = rate.take(now);
            sent.push(now - start);
        }
        assert_eq!(sent[119], Duration::ZERO);
        for (earlier, later) in sent.iter().zip(&sent[120..]) {
            assert!(*later - *earlier >= WINDOW, "{earlier:?} and {later:?}");
        }
        assert_eq!(sent[499], Duration::from_secs(240));
    }

    #[test]
    fn a_slow_stream_never_waits() {
        let mut rate = RateLimit::default();
        let start = Instant::now();
        for second in 0..1000 {
            let now = start + Duration::from_secs(second);
            assert_eq!(rate.take(now), now);
        }
    }
}
