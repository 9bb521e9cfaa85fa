//! One partition of a stream: its segments, its tail in memory, and reading both as one.

mod reader;
mod snapshot;
mod state;

use arrow::array::RecordBatch;

pub use reader::PartitionReader;
pub use snapshot::{PartitionSnapshot, SegmentInfo};
pub(crate) use state::{Partition, TailRows};

/// Consecutive rows of one partition.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Offset of the first row; the others follow without a gap.
    pub start_offset: u64,
    /// The rows, with the projected columns.
    pub batch: RecordBatch,
}

impl Rows {
    /// One past the offset of the last row.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.start_offset + self.batch.num_rows() as u64
    }

    /// Without the rows before `offset`.
    pub(crate) fn skip_to(self, offset: u64) -> Self {
        let skip = usize::try_from(offset.saturating_sub(self.start_offset)).unwrap_or(usize::MAX);
        let skip = skip.min(self.batch.num_rows());
        let batch = self.batch.slice(skip, self.batch.num_rows() - skip);
        Self { start_offset: self.start_offset + skip as u64, batch }
    }
}
