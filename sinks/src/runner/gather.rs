//! What a runner has read and not yet delivered.

use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use tokio::time::Instant;

use crate::error::Result;
use crate::sink::{Delivery, FeedId, FeedRows, Limits};

/// Rows are gathered up to this many bytes, however many a sink wants.
const GATHER_BYTES_MAX: usize = 256 << 20;

/// How long a position may wait to be stored where no row came of it: a filter that lets little through would
/// otherwise cost a journal entry a read.
const EMPTY_LINGER: Duration = Duration::from_secs(1);

/// Rows read and not delivered, one run of offsets a feed.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    runs: Vec<Run>,
    rows: usize,
    bytes: usize,
    first_row: Option<Instant>,
    first_read: Option<Instant>,
}

/// What was read of one feed, without a gap.
#[derive(Debug)]
struct Run {
    feed: FeedId,
    start_offset: u64,
    end_offset: u64,
    batches: Vec<RecordBatch>,
    offsets: Vec<u64>,
}

impl Gathered {
    pub(super) fn push(&mut self, feed: &FeedId, read: FeedRows) {
        let now = Instant::now();
        self.first_read.get_or_insert(now);
        if read.rows.num_rows() > 0 {
            self.first_row.get_or_insert(now);
        }
        self.rows += read.rows.num_rows();
        self.bytes += batch_bytes(&read.rows);
        let index = self.runs.iter().position(|run| run.feed == *feed).unwrap_or_else(|| {
            self.runs.push(Run {
                feed: feed.clone(),
                start_offset: read.start_offset,
                end_offset: read.start_offset,
                batches: Vec::new(),
                offsets: Vec::new(),
            });
            self.runs.len() - 1
        });
        let run = &mut self.runs[index];
        run.end_offset = read.end_offset;
        if read.rows.num_rows() > 0 {
            run.batches.push(read.rows);
            run.offsets.extend(read.offsets);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn has_room(&self, limits: Limits) -> bool {
        self.rows < limits.max_rows.max(1) && self.bytes < GATHER_BYTES_MAX
    }

    /// When it has to be delivered; `None` while nothing was read.
    pub(super) fn deadline(&self, limits: Limits) -> Option<Instant> {
        match self.first_row {
            Some(first) => Some(first + limits.linger),
            None => self.first_read.map(|first| first + EMPTY_LINGER),
        }
    }

    /// Since when its oldest row has waited.
    pub(super) fn since(&self) -> Option<Instant> {
        self.first_row
    }

    /// Where each feed goes on once this is delivered.
    pub(super) fn positions(&self) -> Vec<(FeedId, u64)> {
        self.runs.iter().map(|run| (run.feed.clone(), run.end_offset)).collect()
    }

    /// One delivery for each feed that has rows.
    pub(super) fn deliveries(&mut self) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::with_capacity(self.runs.len());
        for run in &mut self.runs {
            if run.batches.len() > 1 {
                let schema = run.batches[0].schema();
                run.batches = vec![concat_batches(&schema, &run.batches)?];
            }
            if let Some(rows) = run.batches.first() {
                deliveries.push(Delivery {
                    feed: run.feed.clone(),
                    start_offset: run.start_offset,
                    end_offset: run.end_offset,
                    rows: rows.clone(),
                    offsets: run.offsets.clone(),
                });
            }
        }
        Ok(deliveries)
    }
}

/// Bytes of the rows themselves; a slice of a large batch counts what it shows.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let column =
        |array: &dyn Array| array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
    batch.columns().iter().map(|array| column(array.as_ref())).sum()
}
