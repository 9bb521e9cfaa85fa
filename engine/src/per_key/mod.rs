//! Queries over a stream with a watermark `PER` key: each key has its own event time, and closes its own windows.
//!
//! ```text
//!  rows of a partition ─▶ stamp: key, its watermark before and after the row ─┬─▶ aligned windows ────────────────────▶ rows
//!                                                                            └─▶ rows that wait by key ─▶ operator ─▶ rows
//! ```
//!
//! A key's watermark is the highest event time of its own rows at a fixed distance; no other key moves it or waits for it. All
//! rows of a key are in one partition, so partitions know nothing of each other.
//!
//! What is emitted is a function of the partition's rows: a result comes with the row that moved its key's watermark past it, and
//! stands in the order of those rows. So it is known, without any note, what a row has led to; a replay leaves that out.
//!
//! Of every key its watermark is kept, for ever; the rest ends with its windows.

mod aligned;
mod in_order;
mod row_driven;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod waiting;
mod watermarks;

use std::fmt::Debug;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};

use crate::error::Result;
use crate::keyed::KeyTable;
use crate::ordered::OrderedRows;
use crate::query::FailedRow;
use crate::snapshot::{TableShape, TableState};

pub(crate) use aligned::{AlignedWindows, Lateness};
pub(crate) use in_order::in_order;
pub(crate) use snapshot::{PerKeyPlace, PerKeyState};
pub(crate) use watermarks::KeyWatermarks;

/// Rows of a partition with their keys and watermarks.
#[derive(Debug)]
pub(crate) struct StampedRows<'a> {
    /// What the query's stage made of the rows; the last column is the index of the row.
    pub(crate) output: &'a RecordBatch,
    /// Event time of each row.
    pub(crate) times: &'a TimestampMicrosecondArray,
    /// Key and watermarks of each row.
    pub(crate) stamps: &'a [Stamp],
}

/// A row's key, and what the row did to its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Number of the key.
    pub(crate) key: u32,
    /// Watermark that the key's earlier rows had made.
    pub(crate) before_us: i64,
    /// Watermark with this row.
    pub(crate) after_us: i64,
}

/// What came of rows.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What is emitted, in its order.
    pub(crate) emitted: Vec<Emitted>,
    /// Late rows, as indices into the stamped rows, ascending.
    pub(crate) late: Vec<u32>,
    /// Rows that an expression failed on.
    pub(crate) failed: Vec<FailedRow>,
}

/// Rows that are emitted.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) rows: RecordBatch,
    /// Whether they take the place of earlier ones.
    pub(crate) is_correction: bool,
}

/// Makes results of one partition's rows, key by key.
///
/// Contract: what all calls emit, one after the other, is the same however the rows are cut into calls.
pub(crate) trait PerKeyOperator: Debug + Send {
    /// Takes the next rows of the partition.
    fn update(&mut self, rows: &StampedRows<'_>) -> Result<Outcome>;

    /// Nothing more will come: completes everything of every key, and moves its watermark there.
    fn finish(&mut self, watermarks: &mut KeyWatermarks) -> Result<Vec<Emitted>>;

    /// The tables of its state.
    fn state_shapes(&self) -> &[TableShape];

    /// Its state as tables; of keys that are [tracked](Self::tracked), those that were taken, and of rows that wait, those of
    /// the keys of watermarks that were.
    fn state(&mut self, watermarks: &KeyWatermarks) -> Result<Vec<TableState>>;

    /// Tables of keys that know which of them have changed.
    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        Vec::new()
    }

    /// Goes on from a whole state, as if it had never been stored; called before any row.
    fn restore(&mut self, state: &[RecordBatch]) -> Result<()>;

    /// Bytes held.
    fn bytes(&self) -> usize;
}

/// A key's watermark has moved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advance {
    /// After so many of the rows that are given with it; all rows of the key before the watermark are among those, or came before.
    pub(crate) rows: usize,
    pub(crate) key: u32,
    pub(crate) watermark_us: i64,
}

/// Takes the rows of each key in event-time order; keys stand in any order.
///
/// Contract: what all calls of [`update`](Self::update) return, one after the other, is the same however rows and advances are cut
/// into calls.
pub(crate) trait ByKeyOperator: Debug + Send {
    /// Takes the next rows, with the number of each one's key, and advances in their order: what comes of them.
    fn update(&mut self, rows: &OrderedRows, keys: &[u32], advances: &[Advance]) -> Result<Vec<RecordBatch>>;

    /// For keys that hold something that time completes, the watermark that would complete all of it.
    fn horizons_us(&self) -> Vec<(u32, i64)>;

    /// The tables of its state.
    fn state_shapes(&self) -> &[TableShape];

    /// Its state as tables; of keys that are [tracked](Self::tracked), those that were taken.
    fn state(&mut self) -> Result<Vec<TableState>>;

    /// Tables of keys that know which of them have changed.
    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        Vec::new()
    }

    /// Goes on from a whole state, as if it had never been stored; called before any row.
    fn restore(&mut self, state: &[RecordBatch]) -> Result<()>;

    /// Bytes held.
    fn bytes(&self) -> usize;
}
