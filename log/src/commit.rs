//! An atomic unit of durability.

use arrow::array::RecordBatch;

use crate::idempotency::CommitId;
use crate::stream::StreamId;

/// Rows, cursor moves and named values that become durable together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Commit {
    pub(crate) rows: Vec<(StreamId, Option<u32>, RecordBatch)>,
    pub(crate) cursors: Vec<(String, StreamId, u32, u64)>,
    pub(crate) values: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) id: Option<CommitId>,
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

    /// Makes the commit idempotent by a key of the caller's choice, 1 to 512 bytes: while the key is remembered
    /// ([`LogOptions::idempotency_window`](crate::LogOptions::idempotency_window)), a commit with it stores nothing and
    /// answers with the receipt of the first one. `fingerprint` tells what the commit holds, such as a checksum of the
    /// request: the same key with another one is refused with [`Error::KeyReused`](crate::Error::KeyReused).
    ///
    /// Keys are shared by the whole log: callers that do not know each other put a name of their own in front. A commit
    /// has one identity; this replaces an earlier key or producer.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, Float64Array, RecordBatch};
    /// # use thermocline_log::{Commit, Error, Log, LogOptions, StreamSpec};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let rows = RecordBatch::try_from_iter([("celsius", Arc::new(Float64Array::from(vec![20.5])) as ArrayRef)])?;
    /// # let log = Log::open(dir.path(), LogOptions::default())?;
    /// # let stream = log.create_stream(StreamSpec::new("readings", rows.schema())).await?;
    /// let mut commit = Commit::new();
    /// commit.append(stream.id(), rows).idempotency_key("upload/7c2f", 0x1b2c);
    /// let first = log.commit(commit.clone()).await?;
    /// let retry = log.commit(commit.clone()).await?; // the first answer may have been lost
    /// assert_eq!((retry.duplicate, retry.ranges), (true, first.ranges));
    ///
    /// commit.idempotency_key("upload/7c2f", 0x3d4e);
    /// assert!(matches!(log.commit(commit).await, Err(Error::KeyReused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotency_key(&mut self, key: impl AsRef<[u8]>, fingerprint: u64) -> &mut Self {
        self.id = Some(CommitId::Key { key: key.as_ref().into(), fingerprint });
        self
    }

    /// Makes the commit idempotent by a producer, a name of 1 to 255 bytes, and its sequence, which is one more for each
    /// of its commits. A sequence that is stored already is a duplicate: nothing is stored again, and the receipt is the
    /// first one's for the last five commits of the producer, one without ranges for older ones. A sequence that leaves
    /// out others is refused with [`Error::OutOfSequence`](crate::Error::OutOfSequence), so that commits in flight
    /// together fail together and none is taken for stored because a later one is. A producer that is not known, or not
    /// any more ([`LogOptions::producer_window`](crate::LogOptions::producer_window)), may begin with any sequence.
    ///
    /// A producer that restarts goes on behind [`Log::producer_sequence`](crate::Log::producer_sequence):
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, Float64Array, RecordBatch};
    /// # use thermocline_log::{Commit, Error, Log, LogOptions, StreamSpec};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let rows = RecordBatch::try_from_iter([("celsius", Arc::new(Float64Array::from(vec![20.5])) as ArrayRef)])?;
    /// # let log = Log::open(dir.path(), LogOptions::default())?;
    /// # let stream = log.create_stream(StreamSpec::new("readings", rows.schema())).await?;
    /// let sequence = log.producer_sequence("boiler-7").map_or(0, |last| last + 1);
    /// let mut commit = Commit::new();
    /// commit.append(stream.id(), rows).producer("boiler-7", sequence);
    /// loop {
    ///     match log.commit(commit.clone()).await {
    ///         Ok(_) => break,
    ///         Err(error) if error.is_retryable() => tokio::task::yield_now().await, // stored once, however often
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert!(log.commit(commit).await?.duplicate);
    /// assert_eq!(log.range(stream.id(), 0)?, 0..1);
    /// assert_eq!(log.producer_sequence("boiler-7"), Some(sequence));
    /// # Ok(())
    /// # }
    /// ```
    pub fn producer(&mut self, producer: &str, sequence: u64) -> &mut Self {
        self.id = Some(CommitId::Producer { producer: producer.into(), sequence });
        self
    }

    /// Whether there is nothing to commit, not even a key or a sequence to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let no_rows = self.rows.iter().all(|(_, _, rows)| rows.num_rows() == 0);
        no_rows && self.cursors.is_empty() && self.values.is_empty() && self.id.is_none()
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
    /// Whether the commit had been stored before, and this is the receipt of that time.
    pub duplicate: bool,
}

impl Receipt {
    /// The receipt of a commit that was stored before.
    pub(crate) fn duplicate(ranges: &[OffsetRange]) -> Self {
        Self { ranges: ranges.to_vec(), duplicate: true }
    }
}
