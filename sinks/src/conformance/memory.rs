//! A log, its feeds and a ledger in memory. The ledger checks on the way that positions never go back, and never past
//! what was written.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::Result;
use crate::sink::{Delivery, Feed, FeedId, FeedRows, Ledger, Limits, Outcome, RejectedRow, Sink};

/// Rows of one partition, one an offset.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    id: FeedId,
    schema: SchemaRef,
    rows: Arc<Mutex<Vec<RecordBatch>>>,
    end: watch::Sender<u64>,
}

impl MemoryLog {
    /// An empty partition.
    #[must_use]
    pub fn new(name: &str, partition: u32, schema: SchemaRef) -> Self {
        let id = FeedId { name: name.to_owned(), partition };
        Self { id, schema, rows: Arc::default(), end: watch::Sender::new(0) }
    }

    /// Appends rows.
    pub fn append(&self, rows: &RecordBatch) {
        let mut stored = self.rows.lock();
        stored.extend((0..rows.num_rows()).map(|row| rows.slice(row, 1)));
        self.end.send_replace(stored.len() as u64);
    }

    /// A feed that starts where the ledger is.
    #[must_use]
    pub fn feed(&self, ledger: &MemoryLedger) -> Box<dyn Feed> {
        Box::new(MemoryFeed { log: self.clone(), position: ledger.position(&self.id) })
    }

    /// The identity of its feed.
    #[must_use]
    pub fn id(&self) -> &FeedId {
        &self.id
    }

    /// Rows of some offsets as a delivery.
    #[must_use]
    pub fn delivery(&self, offsets: std::ops::Range<u64>) -> Delivery {
        let stored = self.rows.lock();
        let batches: Vec<&RecordBatch> =
            offsets.clone().filter_map(|at| stored.get(usize::try_from(at).ok()?)).collect();
        let rows = arrow::compute::concat_batches(&self.schema, batches).expect("all rows have the log's schema");
        Delivery {
            feed: self.id.clone(),
            start_offset: offsets.start,
            end_offset: offsets.end,
            rows,
            offsets: offsets.collect(),
        }
    }
}

/// A feed of a [`MemoryLog`].
#[derive(Debug)]
pub struct MemoryFeed {
    log: MemoryLog,
    position: u64,
}

#[async_trait]
impl Feed for MemoryFeed {
    fn id(&self) -> &FeedId {
        &self.log.id
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.log.schema)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn seek(&mut self, offset: u64) {
        self.position = offset;
    }

    async fn next(&mut self, max_rows: usize) -> Result<Option<FeedRows>> {
        let end = (*self.log.end.borrow()).min(self.position + max_rows as u64);
        if end <= self.position {
            return Ok(None);
        }
        let Delivery { start_offset, end_offset, rows, offsets, .. } = self.log.delivery(self.position..end);
        self.position = end;
        Ok(Some(FeedRows { start_offset, end_offset, rows, offsets }))
    }

    async fn wait(&mut self) {
        let position = self.position;
        let mut end = self.log.end.subscribe();
        // The sender lives in the log that this feed holds.
        let _ = end.wait_for(|end| *end > position).await;
    }

    fn lag(&self) -> u64 {
        self.log.end.borrow().saturating_sub(self.position)
    }
}

/// Positions and rejected rows in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    state: Arc<watch::Sender<LedgerState>>,
    written: Arc<Mutex<HashMap<FeedId, u64>>>,
}

#[derive(Debug, Default)]
struct LedgerState {
    positions: HashMap<FeedId, u64>,
    rejected: Vec<RejectedRow>,
}

impl MemoryLedger {
    /// Where a feed is.
    #[must_use]
    pub fn position(&self, feed: &FeedId) -> u64 {
        self.state.borrow().positions.get(feed).copied().unwrap_or(0)
    }

    /// Rejected rows so far.
    #[must_use]
    pub fn rejected(&self) -> Vec<RejectedRow> {
        self.state.borrow().rejected.clone()
    }

    /// Waits until a feed has come this far.
    pub async fn reached(&self, feed: &FeedId, offset: u64) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.positions.get(feed).is_some_and(|at| *at >= offset)).await;
    }

    /// The sink, with its successful writes and its own positions made known to this ledger, which then refuses to go
    /// past them.
    #[must_use]
    pub fn watch(&self, sink: Box<dyn Sink>) -> Box<dyn Sink> {
        Box::new(WatchedSink { sink, written: Arc::clone(&self.written) })
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn advance(&self, positions: &[(FeedId, u64)], rejected: Vec<RejectedRow>) -> Result<()> {
        let written = self.written.lock();
        self.state.send_modify(|state| {
            for (feed, offset) in positions {
                let before = state.positions.insert(feed.clone(), *offset).unwrap_or(0);
                assert!(*offset >= before, "{feed:?} went back from {before} to {offset}");
                let written = written.get(feed).copied().unwrap_or(u64::MAX);
                assert!(*offset <= written, "{feed:?} moved to {offset}, but only {written} were written");
            }
            state.rejected.extend(rejected);
        });
        Ok(())
    }
}

struct WatchedSink {
    sink: Box<dyn Sink>,
    written: Arc<Mutex<HashMap<FeedId, u64>>>,
}

#[async_trait]
impl Sink for WatchedSink {
    fn limits(&self) -> Limits {
        self.sink.limits()
    }

    fn extends_on_retry(&self) -> bool {
        self.sink.extends_on_retry()
    }

    async fn position(&mut self, feed: &FeedId) -> Result<Option<u64>> {
        let position = self.sink.position(feed).await?;
        let mut written = self.written.lock();
        let known = written.entry(feed.clone()).or_default();
        *known = (*known).max(position.unwrap_or(0));
        Ok(position)
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let outcome = self.sink.write(deliveries).await?;
        let mut written = self.written.lock();
        for delivery in deliveries {
            written.insert(delivery.feed.clone(), delivery.end_offset);
        }
        Ok(outcome)
    }
}
