//! A partition at one instant, for a query that reads it in its own way.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::catalog::Catalog;
use crate::error::Result;
use crate::partition::{Partition, Rows};
use crate::segment::Segment;
use crate::stream::StreamId;

/// One segment file of a partition. While it is held the file stays on disk, whatever retention and merging do.
#[derive(Debug, Clone)]
pub struct SegmentInfo {
    /// The Parquet file.
    pub path: PathBuf,
    /// Offset of its first row.
    pub start_offset: u64,
    /// One past the offset of its last row.
    pub end_offset: u64,
    /// Size in bytes.
    pub bytes: u64,
    segment: Arc<Segment>,
}

impl SegmentInfo {
    pub(crate) fn new(segment: &Arc<Segment>) -> Self {
        Self {
            path: segment.path.clone(),
            start_offset: segment.name.start,
            end_offset: segment.name.end,
            bytes: segment.bytes,
            segment: Arc::clone(segment),
        }
    }

    /// Checks the file against its checksum; call it before reading the file by other means than the log's.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] when the file is not what was written, or an I/O error.
    pub fn verify(&self) -> Result<()> {
        self.segment.verify()
    }
}

/// All rows of a partition at one instant: each in exactly one segment or one batch of the tail.
#[derive(Debug, Clone)]
pub struct PartitionSnapshot {
    /// The stream's columns at this instant.
    pub schema: SchemaRef,
    /// Sealed rows, in offset order. A file keeps the columns it was written with: some of [`Self::schema`] may be missing
    /// (its rows have NULL there) or of a narrower type, and they may stand in another order.
    pub segments: Vec<SegmentInfo>,
    /// Rows after the last segment, in offset order, all columns of [`Self::schema`].
    pub tail: Vec<Rows>,
    /// Offsets of the rows. The first segment may begin before it: those rows were removed by retention.
    pub range: Range<u64>,
}

impl PartitionSnapshot {
    /// What the partition holds now.
    pub(crate) fn take(catalog: &Catalog, stream: StreamId, partition: &Partition) -> Result<Self> {
        let (segments, tail, range) = partition.at_this_instant();
        // Looked at after the rows, so that its schema is theirs or a later one.
        let stream = catalog.expect(stream)?.stream.clone();
        let tail = tail.into_iter().map(|rows| {
            let batch = rows.under(&stream)?;
            Ok(Rows { start_offset: rows.base_offset, batch })
        });
        Ok(Self { schema: Arc::clone(stream.schema()), segments, tail: tail.collect::<Result<_>>()?, range })
    }
}
