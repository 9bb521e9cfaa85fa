//! An atomic unit of durability.

use arrow::array::RecordBatch;

use crate::stream::StreamId;

/// Rows, cursor moves and named values that become durable together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Commit {
    pub(crate) rows: Vec<(StreamId, Option<u32>, RecordBatch)>,
    pub(crate) cursors: Vec<(String, StreamId, u32, u64)>,
    pub(crate) values: Vec<(String, Option<Vec<u8>>)>,
}

impl Commit {
    /// An empty commit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends rows, each placed in a partition by the stream's key.
    pub fn append(&mut self, stream: StreamId, rows: RecordBatch) -> &mut Self {
        self.rows.push((stream, None, rows));
        self
    }

    /// Appends rows to one partition, whatever the key.
    pub fn append_to(&mut self, stream: StreamId, partition: u32, rows: RecordBatch) -> &mut Self {
        self.rows.push((stream, Some(partition), rows));
        self
    }

    /// Moves the named cursor of a partition: `next_offset` is the first offset it has not read.
    pub fn move_cursor(&mut self, cursor: &str, stream: StreamId, partition: u32, next_offset: u64) -> &mut Self {
        self.cursors.push((cursor.to_owned(), stream, partition, next_offset));
        self
    }

    /// Sets a named value (query progress, a connector's position, a reference to a state file).
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.values.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a named value.
    pub fn delete(&mut self, key: impl Into<String>) -> &mut Self {
        self.values.push((key.into(), None));
        self
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|(_, _, rows)| rows.num_rows() == 0) && self.cursors.is_empty() && self.values.is_empty()
    }
}

/// Offsets that rows of a commit got: `start..end` of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetRange {
    /// The stream.
    pub stream: StreamId,
    /// The partition.
    pub partition: u32,
    /// First offset.
    pub start: u64,
    /// One past the last offset.
    pub end: u64,
}

/// Proof that a commit is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Where its rows are, in the order they were appended.
    pub ranges: Vec<OffsetRange>,
}
