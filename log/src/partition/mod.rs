//! One partition of a stream: its segments, its tail in memory, and reading both as one.

mod ahead;
mod reader;
mod segments;
mod snapshot;
mod state;

use arrow::array::{RecordBatch, UInt32Array};

pub use reader::{PartitionReader, SelectiveReader};
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

/// Consecutive rows of one partition, without those that a reader's condition was not true for.
#[derive(Debug, Clone)]
pub struct SelectedRows {
    /// Offset of the first row that was looked at.
    pub start_offset: u64,
    /// How many rows were looked at; their offsets follow each other without a gap.
    pub rows: u64,
    /// Those that are left, with the projected columns.
    pub batch: RecordBatch,
    /// Which these are, as distances from `start_offset`, ascending; `None` where all are left.
    pub selected: Option<UInt32Array>,
}

impl SelectedRows {
    pub(crate) fn all(start_offset: u64, batch: RecordBatch) -> Self {
        Self { start_offset, rows: batch.num_rows() as u64, batch, selected: None }
    }

    /// One past the offset of the last row that was looked at.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.start_offset + self.rows
    }

    /// Takes the first rows off, `len` of those that are left; `None` when there are no more than these.
    fn split_off(&mut self, len: usize) -> Option<Self> {
        let left = self.batch.num_rows();
        if left <= len {
            return None;
        }
        // What was looked at after the last of them belongs to the others.
        let looked_at = self.selected.as_ref().map_or(len as u64, |selected| u64::from(selected.value(len - 1)) + 1);
        let rest = Self {
            start_offset: self.start_offset + looked_at,
            rows: self.rows - looked_at,
            batch: self.batch.slice(len, left - len),
            selected: self.selected.as_ref().map(|selected| {
                let nearer = |distance: &u32| distance - looked_at as u32;
                selected.values()[len..].iter().map(nearer).collect::<Vec<u32>>().into()
            }),
        };
        self.rows = looked_at;
        self.batch = self.batch.slice(0, len);
        self.selected = self.selected.as_ref().map(|selected| selected.slice(0, len));
        Some(rest)
    }
}
