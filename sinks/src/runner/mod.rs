//! Drives one sink: gathers rows of its feeds, writes them, stores how far it came, and tries again when something
//! fails.
//!
//! Invariants:
//! - the ledger moves on only after `write` returned, and moves on together with the rows that were rejected;
//! - rows are never dropped: after an error the same rows are tried again, for ever;
//! - an error of one sink holds back nothing but this sink.

mod backoff;
mod gather;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use self::backoff::Backoff;
use self::gather::Gathered;
pub use self::status::{SinkState, SinkStatus};
use crate::error::{Error, Result};
use crate::json;
use crate::sink::{Delivery, Feed, FeedId, Ledger, Outcome, RejectedRow, Sink};

/// A sink that lingers sleeps this share of its linger between reads, so that it takes rows in larger pieces.
const READS_PER_LINGER: u32 = 20;
const READ_PAUSE_MAX: Duration = Duration::from_millis(250);

/// While a sink waits to try again, its lag is measured this often.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// What the owner of a runner wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Deliver what there is and what comes.
    #[default]
    Run,
    /// Deliver all that is there without linger, then return.
    Drain,
    /// Finish the write under way, then return; what was gathered is read again after a restart.
    Stop,
}

/// Drives one sink.
pub struct Runner {
    sink: Box<dyn Sink>,
    feeds: Vec<FeedCursor>,
    ledger: Arc<dyn Ledger>,
    status: Arc<SinkStatus>,
    backoff: Backoff,
    next_feed: usize,
}

struct FeedCursor {
    feed: Box<dyn Feed>,
    /// Next offset that is not delivered, as the ledger has it.
    cursor: u64,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("status", &self.status).field("feeds", &self.feeds.len()).finish_non_exhaustive()
    }
}

/// The runner is to stop.
struct Stopped;

impl Runner {
    /// A runner for the sink `name`; its feeds stand at their durable cursors.
    #[must_use]
    pub fn new(name: impl AsRef<str>, sink: Box<dyn Sink>, feeds: Vec<Box<dyn Feed>>, ledger: Arc<dyn Ledger>) -> Self {
        let feeds = feeds.into_iter().map(|feed| FeedCursor { cursor: feed.position(), feed }).collect();
        let status = Arc::new(SinkStatus::new(name.as_ref()));
        Self { sink, feeds, ledger, status, backoff: Backoff::default(), next_feed: 0 }
    }

    /// Retries with other delays.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Counters and state, for as long as somebody wants to look at them.
    #[must_use]
    pub fn status(&self) -> Arc<SinkStatus> {
        Arc::clone(&self.status)
    }

    /// Delivers until the phase says to return. A phase whose sender is gone counts as [`Phase::Stop`].
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) {
        let sink = self.status.name().to_owned();
        tracing::debug!(%sink, feeds = self.feeds.len(), "sink started");
        if self.deliver(&mut phase).await.is_ok() {
            tracing::debug!(%sink, "sink drained");
        } else {
            tracing::debug!(%sink, "sink stopped");
        }
    }

    /// `Ok` when everything is delivered and the phase is to drain.
    async fn deliver(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Stopped> {
        self.locate(phase).await?;
        let mut gathered = Gathered::default();
        let mut is_retry = false;
        let mut read = Ok(());
        loop {
            if !is_retry {
                read = self.gather(&mut gathered, phase).await?;
                if let (Err(error), true) = (&read, gathered.is_empty()) {
                    self.pause(error, phase).await?;
                    continue;
                }
                if gathered.is_empty() {
                    return Ok(());
                }
            }
            match self.write(&mut gathered).await {
                Ok((deliveries, outcome)) => {
                    self.advance(&deliveries, &outcome, &gathered, phase).await?;
                    gathered = Gathered::default();
                    is_retry = false;
                    // One feed could not be read; the others go on, but it shows.
                    if let Err(error) = &read {
                        self.report(error);
                    }
                }
                Err(error @ Error::Conflict { .. }) => {
                    self.pause(&error, phase).await?;
                    self.locate(phase).await?;
                    gathered = Gathered::default();
                    is_retry = false;
                }
                Err(error) => {
                    self.pause(&error, phase).await?;
                    is_retry = true;
                    if self.sink.extends_on_retry() && gathered.has_room(self.sink.limits()) {
                        // An error shows again at the next gathering.
                        let _ = self.read_all(&mut gathered).await;
                    }
                }
            }
        }
    }

    /// Sets every feed to where the destination or the ledger is, whichever is further.
    async fn locate(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Stopped> {
        loop {
            match self.try_locate().await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause(&error, phase).await?,
            }
        }
    }

    async fn try_locate(&mut self) -> Result<()> {
        let mut ahead = Vec::new();
        for cursor in &mut self.feeds {
            let stored = self.sink.position(cursor.feed.id()).await?.unwrap_or(0);
            let end = cursor.feed.position() + cursor.feed.lag();
            if stored > end {
                // Going on from there would leave out the rows until the log reaches it.
                let FeedId { name, partition } = cursor.feed.id();
                return Err(Error::Refused {
                    destination: self.status.name().to_owned(),
                    reason: format!(
                        "it holds rows of {name}/{partition} up to offset {stored}, but the log ends at {end}: \
                         another data directory wrote it, so this one needs another location or another sink name"
                    ),
                });
            }
            let position = stored.max(cursor.cursor);
            if position > cursor.cursor {
                ahead.push((cursor.feed.id().clone(), position));
            }
            cursor.feed.seek(position);
        }
        if !ahead.is_empty() {
            tracing::info!(sink = self.status.name(), positions = ?ahead, "the destination is ahead of the cursor");
            self.ledger.advance(&ahead, Vec::new()).await?;
            self.moved(&ahead);
        }
        self.record_lag();
        Ok(())
    }

    /// Reads until there is enough to write, time is up, or (when draining) there is no more. The inner error is one
    /// of reading.
    async fn gather(
        &mut self,
        gathered: &mut Gathered,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<Result<()>, Stopped> {
        let limits = self.sink.limits();
        loop {
            let now = current(phase);
            if now == Phase::Stop {
                return Err(Stopped);
            }
            let more = match self.read_round(gathered).await {
                Ok(more) => more,
                Err(error) => return Ok(Err(error)),
            };
            self.record_lag();
            let deadline = gathered.deadline(limits);
            let is_due = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if !gathered.has_room(limits) || (is_due && (!more || gathered.rows() > 0)) {
                return Ok(Ok(()));
            }
            if more {
                continue;
            }
            if now == Phase::Drain {
                return Ok(Ok(()));
            }
            tokio::select! {
                () = wait_any(&mut self.feeds) => {
                    let pause = (limits.linger / READS_PER_LINGER).min(READ_PAUSE_MAX);
                    let until = deadline.map_or_else(|| Instant::now() + pause, |at| at.min(Instant::now() + pause));
                    if !pause.is_zero() {
                        tokio::select! {
                            () = sleep_until(until) => {}
                            _ = phase.changed() => {}
                        }
                    }
                }
                () = sleep_until_some(deadline) => {}
                changed = phase.changed() => if changed.is_err() { return Err(Stopped) }
            }
        }
    }

    /// Asks every feed once, a fair share each; whether any had something. A feed that fails does not keep the others
    /// from being read.
    async fn read_round(&mut self, gathered: &mut Gathered) -> Result<bool> {
        let limits = self.sink.limits();
        let share = (limits.max_rows / self.feeds.len().max(1)).max(1);
        let mut more = Ok(false);
        for _ in 0..self.feeds.len() {
            if !gathered.has_room(limits) {
                break;
            }
            let index = self.next_feed % self.feeds.len();
            self.next_feed = index + 1;
            let feed = &mut self.feeds[index].feed;
            let room = limits.max_rows.saturating_sub(gathered.rows()).max(1);
            match feed.next(share.min(room)).await {
                Ok(Some(read)) => {
                    more = more.map(|_| true);
                    gathered.push(feed.id(), read);
                }
                Ok(None) => {}
                Err(error) => more = Err(error),
            }
        }
        more
    }

    async fn read_all(&mut self, gathered: &mut Gathered) -> Result<()> {
        while gathered.has_room(self.sink.limits()) && self.read_round(gathered).await? {}
        Ok(())
    }

    async fn write(&mut self, gathered: &mut Gathered) -> Result<(Vec<Delivery>, Outcome)> {
        let deliveries = gathered.deliveries()?;
        if deliveries.is_empty() {
            return Ok((deliveries, Outcome::default()));
        }
        let outcome = self.sink.write(&deliveries).await?;
        Ok((deliveries, outcome))
    }

    /// Stores positions and rejected rows. The rows are at the destination: only this step is tried again.
    async fn advance(
        &mut self,
        deliveries: &[Delivery],
        outcome: &Outcome,
        gathered: &Gathered,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), Stopped> {
        let positions = gathered.positions();
        let rejected = loop {
            match rejected_rows(deliveries, outcome) {
                Ok(rejected) => break rejected,
                Err(error) => self.pause(&error, phase).await?,
            }
        };
        for row in &rejected {
            let (sink, feed, offset) = (self.status.name(), &row.feed.name, row.offset);
            tracing::warn!(sink, feed, partition = row.feed.partition, offset, reason = row.reason, "row rejected");
        }
        while let Err(error) = self.ledger.advance(&positions, rejected.clone()).await {
            self.pause(&error, phase).await?;
        }
        self.moved(&positions);
        if !deliveries.is_empty() {
            let rows: usize = deliveries.iter().map(|delivery| delivery.rows.num_rows()).sum();
            let waited = gathered.since().map_or(Duration::ZERO, |since| since.elapsed());
            let rejected = rejected.len();
            self.status.record_delivery((rows - rejected.min(rows)) as u64, rejected as u64, waited.as_secs_f64());
        }
        self.status.record_ok();
        self.backoff.reset();
        self.record_lag();
        Ok(())
    }

    /// Makes an error known.
    fn report(&self, error: &Error) {
        let needs_person = !error.is_retryable() || matches!(error, Error::Refused { .. });
        let (sink, class) = (self.status.name(), error.class());
        if needs_person {
            tracing::error!(sink, %error, ?class, "delivery failed");
        } else {
            tracing::warn!(sink, %error, ?class, "delivery failed, will be tried again");
        }
        let state = if needs_person { SinkState::Failed } else { SinkState::Retrying };
        self.status.record_error(error.to_string(), state);
    }

    /// Makes an error known and waits before the next attempt.
    async fn pause(&mut self, error: &Error, phase: &mut watch::Receiver<Phase>) -> Result<(), Stopped> {
        self.report(error);
        let delay = match error {
            Error::Unavailable { retry_after, .. } => self.backoff.next(*retry_after),
            _ if error.is_retryable() => self.backoff.next(None),
            _ => self.backoff.longest(),
        };
        let until = Instant::now() + delay;
        loop {
            self.record_lag();
            if current(phase) == Phase::Stop {
                return Err(Stopped);
            }
            if Instant::now() >= until {
                return Ok(());
            }
            tokio::select! {
                () = sleep_until(until.min(Instant::now() + LAG_INTERVAL)) => {}
                changed = phase.changed() => if changed.is_err() { return Err(Stopped) }
            }
        }
    }

    fn moved(&mut self, positions: &[(FeedId, u64)]) {
        for (feed, offset) in positions {
            if let Some(cursor) = self.feeds.iter_mut().find(|cursor| cursor.feed.id() == feed) {
                cursor.cursor = *offset;
            }
        }
    }

    fn record_lag(&self) {
        let lag = |cursor: &FeedCursor| cursor.feed.lag() + cursor.feed.position().saturating_sub(cursor.cursor);
        self.status.record_lag(self.feeds.iter().map(lag).sum());
    }
}

fn current(phase: &watch::Receiver<Phase>) -> Phase {
    if phase.has_changed().is_err() { Phase::Stop } else { *phase.borrow() }
}

async fn wait_any(feeds: &mut [FeedCursor]) {
    if feeds.is_empty() {
        return std::future::pending().await;
    }
    select_all(feeds.iter_mut().map(|cursor| cursor.feed.wait())).await;
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn rejected_rows(deliveries: &[Delivery], outcome: &Outcome) -> Result<Vec<RejectedRow>> {
    let mut rows = Vec::with_capacity(outcome.rejected.len());
    for rejected in &outcome.rejected {
        let delivery = &deliveries[rejected.delivery];
        rows.push(RejectedRow {
            feed: delivery.feed.clone(),
            offset: delivery.offsets[rejected.row],
            reason: rejected.reason.clone(),
            row: json::row(&delivery.rows, rejected.row)?,
        });
    }
    Ok(rows)
}
