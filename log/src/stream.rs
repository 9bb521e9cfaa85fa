//! A stream's definition: name, schema, partitions, key and retention.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

/// Number of a stream in its log; assigned at creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// How long rows are kept. Unlimited where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Rows older than this (by the time they were appended) may go once every registered cursor has passed them.
    pub max_age: Option<Duration>,
    /// The oldest rows go, cursors or not, once the stream's segments hold more bytes than this.
    pub max_bytes: Option<u64>,
}

/// What a stream is asked to be.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// Unique name; ASCII letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Columns of every row.
    pub schema: SchemaRef,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Columns hashed (Kafka's murmur2) to place a row; empty places whole batches round-robin.
    pub partition_key: Vec<String>,
    /// How long rows are kept.
    pub retention: Retention,
}

impl StreamSpec {
    /// A stream of one partition without a key, kept for ever.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self { name: name.into(), schema, partitions: 1, partition_key: Vec::new(), retention: Retention::default() }
    }
}

/// A stream of an open log; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stream {
    pub(crate) id: StreamId,
    pub(crate) spec: Arc<StreamSpec>,
}

impl Stream {
    /// The stream's number.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The columns of every row.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.spec.schema
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.spec.partitions
    }

    /// The whole definition.
    #[must_use]
    pub fn spec(&self) -> &StreamSpec {
        &self.spec
    }
}
