//! The contract between the log and a destination.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::error::Result;

/// One partition of one stream (or of a stateless query over it) that feeds a sink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId {
    /// Name of the feed, stable across restarts.
    pub name: String,
    /// Partition.
    pub partition: u32,
}

/// Rows to deliver: what came of the source offsets `start_offset..end_offset` of one feed.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where they come from.
    pub feed: FeedId,
    /// First source offset.
    pub start_offset: u64,
    /// One past the last source offset; the feed's position once this is delivered.
    pub end_offset: u64,
    /// The rows; fewer than the offsets where the feed filters.
    pub rows: RecordBatch,
    /// Source offset of each row, ascending; (feed, partition, offset) identifies a row for ever.
    pub offsets: Vec<u64>,
}

/// How much a sink wants at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most this many rows in one `write`.
    pub max_rows: usize,
    /// How long the runner gathers rows before a smaller `write`; zero delivers at once.
    pub linger: Duration,
}

/// A row that the destination rejects for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the delivery in the `write`.
    pub delivery: usize,
    /// Index of the row in it.
    pub row: usize,
    /// Why, in the destination's words.
    pub reason: String,
}

/// What became of a `write`: everything was taken, but for these rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that will never be taken.
    pub rejected: Vec<Rejected>,
}

/// A destination.
///
/// `write` returns only when the destination holds the rows as durably as it promises to. It is called again with
/// the same rows after an error or a crash, so each sink says what a repeated delivery does there: nothing
/// (exactly once), the same again (idempotent), or a duplicate with the same identity (at least once).
#[async_trait]
pub trait Sink: Send {
    /// How much it wants at once.
    fn limits(&self) -> Limits;

    /// The position that the destination itself stores for a feed (exactly-once sinks): the next offset it needs.
    async fn position(&mut self, feed: &FeedId) -> Result<Option<u64>> {
        let _ = feed;
        Ok(None)
    }

    /// Whether rows that came meanwhile may follow the same rows when a write is tried again (a sink that leaves out
    /// superseded rows wants to see them); otherwise a repeated write has exactly the same rows.
    fn extends_on_retry(&self) -> bool {
        false
    }

    /// Delivers rows of one or more feeds, all with the same schema; at most one delivery a feed.
    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome>;
}

/// Rows read from a feed.
#[derive(Debug, Clone)]
pub struct FeedRows {
    /// First source offset that was read.
    pub start_offset: u64,
    /// One past the last source offset that was read.
    pub end_offset: u64,
    /// What came of it, perhaps nothing.
    pub rows: RecordBatch,
    /// Source offset of each row.
    pub offsets: Vec<u64>,
}

/// A readable feed; the server makes it of the log.
#[async_trait]
pub trait Feed: Send {
    /// Which one.
    fn id(&self) -> &FeedId;

    /// Columns of its rows.
    fn schema(&self) -> SchemaRef;

    /// Offset of the next row; starts at the durable cursor.
    fn position(&self) -> u64;

    /// Goes on from another offset.
    fn seek(&mut self, offset: u64);

    /// The next rows, at most `max_rows` source rows; `None` at the durable end.
    async fn next(&mut self, max_rows: usize) -> Result<Option<FeedRows>>;

    /// Resolves when there may be rows.
    async fn wait(&mut self);

    /// Source rows between the position and the durable end.
    fn lag(&self) -> u64;
}

/// A rejected row with its identity and content, for `rejected.<sink>`.
#[derive(Debug, Clone, PartialEq)]
pub struct RejectedRow {
    /// Where it came from.
    pub feed: FeedId,
    /// Its source offset.
    pub offset: u64,
    /// Why.
    pub reason: String,
    /// The row as a JSON object.
    pub row: String,
}

/// Where positions and rejected rows are stored, in one durable step; the server makes it of the log.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Stores the feeds' next offsets together with the rejected rows.
    async fn advance(&self, positions: &[(FeedId, u64)], rejected: Vec<RejectedRow>) -> Result<()>;
}
