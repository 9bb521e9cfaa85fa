//! One partition of an ordered query: reads rows, runs the stage over them, finds the late ones, sorts the others.

use std::collections::VecDeque;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use thermocline_log::{Log, Stream, StreamId};

use super::failed::FailedOffset;
use super::progress::Decision;
use super::reader::{StageReader, StageRows};
use crate::error::Result;
use crate::late::LateOffset;
use crate::ordered::{PartitionPlace, PartitionPosition, Run};
use crate::stage::Stage;
use crate::watermark::Watermark;

/// Rows that are processed at once, at most, and their bytes: what a step adds to the memory of a query before it is asked. A
/// result does not depend on it.
const STEP_ROWS: u64 = 65_536;
const STEP_BYTES: u64 = 8 << 20;

/// A partition of one input.
#[derive(Debug)]
pub(crate) struct OrderedPartition {
    stream: StreamId,
    partition: u32,
    reader: StageReader,
    stage: Stage,
    time_column: usize,
    watermark: Watermark,
    next_offset: u64,
    /// Event time of the first row that was read.
    first_us: Option<i64>,
    /// Decisions of an earlier life that are still ahead.
    decisions: VecDeque<Decision>,
    /// Rows that wait for the combined watermark, in offset order.
    runs: Vec<Run>,
    /// Rows of the next step, by the width of those of the last.
    step_rows: u64,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct OrderedStep {
    pub(crate) rows: u64,
    pub(crate) late: Vec<LateOffset>,
    pub(crate) failed: Vec<FailedOffset>,
}

/// Which rows of a partition are read.
pub(crate) struct PartitionSource<'a> {
    pub(crate) log: &'a Log,
    pub(crate) stream: &'a Stream,
    pub(crate) partition: u32,
    /// Index of the event time among the stream's columns.
    pub(crate) time_column: usize,
    /// How far the watermark stays behind the latest time.
    pub(crate) delay_us: i64,
}

impl OrderedPartition {
    /// Goes on from a position.
    pub(crate) fn new(
        source: &PartitionSource<'_>,
        stage: Stage,
        position: PartitionPosition,
        decisions: Vec<Decision>,
    ) -> Result<Self> {
        let PartitionSource { log, stream, partition, time_column, delay_us } = *source;
        let PartitionPosition { place: PartitionPlace { next_offset, watermark_us }, runs } = position;
        let reader = StageReader::new(log, stream, partition, next_offset, &stage, &[time_column])?;
        let mut watermark = Watermark::new(delay_us);
        watermark.advance_to(watermark_us);
        let decisions = decisions.into_iter().filter(|d| d.offset >= next_offset).collect();
        Ok(Self {
            stream: stream.id(),
            partition,
            reader,
            stage,
            time_column,
            watermark,
            next_offset,
            first_us: None,
            decisions,
            runs,
            step_rows: STEP_ROWS / 16,
        })
    }

    /// Where it stands.
    pub(crate) fn place(&self) -> PartitionPlace {
        PartitionPlace { next_offset: self.next_offset, watermark_us: self.watermark.current_us() }
    }

    /// Which partition.
    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// First offset that was not read.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// How far event time has got.
    pub(crate) fn watermark_us(&self) -> i64 {
        self.watermark.current_us()
    }

    /// Event time of the first row that was read since it was opened.
    pub(crate) fn first_us(&self) -> Option<i64> {
        self.first_us
    }

    /// The next row that is read is the first.
    pub(crate) fn forget_first(&mut self) {
        self.first_us = None;
    }

    /// Columns of the rows that wait.
    pub(crate) fn schema(&self) -> SchemaRef {
        without_row(&self.stage.schema())
    }

    /// Rows between its position and the durable end.
    pub(crate) fn lag(&self, log: &Log) -> u64 {
        let range = log.range(self.stream, self.partition).expect("the partition of an open reader exists");
        range.end.saturating_sub(self.next_offset)
    }

    /// Resolves when there are rows to read.
    pub(crate) async fn wait(&mut self) {
        self.reader.wait().await;
    }

    /// The rows that wait.
    pub(crate) fn runs(&mut self) -> &mut Vec<Run> {
        &mut self.runs
    }

    /// The same, to look at.
    pub(crate) fn waiting_runs(&self) -> &[Run] {
        &self.runs
    }

    /// Time of the last row that waits.
    pub(crate) fn last_us(&self) -> Option<i64> {
        self.runs.iter().filter(|run| run.len() > 0).map(Run::last_us).max()
    }

    /// Number of rows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// Bytes of rows that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Moves the watermark by a decision made now, before the next row.
    pub(crate) fn decide(&mut self, watermark_us: i64) -> Decision {
        self.watermark.advance_to(watermark_us);
        Decision { offset: self.next_offset, watermark_us }
    }

    /// Reads and sorts the next rows, not past `until` where one is given.
    pub(crate) async fn step(&mut self, until: Option<u64>) -> Result<OrderedStep> {
        let rows = loop {
            self.apply_decisions();
            let mut limit = self.step_rows;
            for stop in until.into_iter().chain(self.decisions.front().map(|d| d.offset)) {
                limit = limit.min(stop.saturating_sub(self.next_offset));
            }
            let rows = match limit {
                0 => None,
                limit => self.reader.next(limit as usize, &mut self.stage).await?,
            };
            match rows {
                None => return Ok(OrderedStep::default()),
                Some(rows) if rows.start_offset == self.next_offset => break rows,
                // Retention removed rows. What was read may reach past a stop: it is read again, up to there.
                Some(rows) => {
                    self.next_offset = rows.start_offset;
                    self.reader.seek(rows.start_offset);
                }
            }
        };
        let count = rows.input.num_rows() as u64;
        let late = self.take(&rows)?;
        let row_bytes = rows.output.get_array_memory_size() as u64 / count.max(1) + 1;
        self.step_rows = (STEP_BYTES / row_bytes).clamp(1, STEP_ROWS);
        self.next_offset += count;
        self.apply_decisions();
        let failed = rows.failed.into_iter().map(|row| row.at(self.partition, rows.start_offset)).collect();
        Ok(OrderedStep { rows: count, late, failed })
    }

    /// Keeps the rows that are not late.
    fn take(&mut self, rows: &StageRows) -> Result<Vec<LateOffset>> {
        let times = self.reader.column(&rows.input, self.time_column).as_primitive::<TimestampMicrosecondType>();
        self.first_us = self.first_us.or_else(|| times.iter().flatten().next());
        let watermarks = self.watermark.observe(times);
        let (kept, times_us, late) = sift(times, &watermarks, rows.row_of());
        let mut output = rows.rows();
        if kept.len() < output.num_rows() {
            output = take_record_batch(&output, &UInt32Array::from(kept))?;
        }
        self.runs.extend(Run::sorted(times_us, output)?);
        let at = |(row, watermark_us)| LateOffset {
            partition: self.partition,
            offset: rows.start_offset + u64::from(row),
            watermark_us,
        };
        Ok(late.into_iter().map(at).collect())
    }

    fn apply_decisions(&mut self) {
        while let Some(decision) = self.decisions.front().filter(|d| d.offset <= self.next_offset) {
            self.watermark.advance_to(decision.watermark_us);
            self.decisions.pop_front();
        }
    }
}

/// The rows of the stage's output that are kept, with their times; and the late rows of its input with the watermark that
/// they came behind. A row is late when its time is before the watermark of the rows before it, or when it has none.
fn sift(
    times: &TimestampMicrosecondArray,
    watermarks: &[i64],
    row_of: &UInt32Array,
) -> (Vec<u32>, Vec<i64>, Vec<(u32, i64)>) {
    let (mut kept, mut times_us) = (Vec::with_capacity(row_of.len()), Vec::with_capacity(row_of.len()));
    let mut late: Vec<(u32, i64)> = Vec::new();
    for (index, row) in row_of.values().iter().enumerate() {
        let (at, watermark_us) = (*row as usize, watermarks[*row as usize]);
        if times.is_valid(at) && times.value(at) >= watermark_us {
            kept.push(index as u32);
            times_us.push(times.value(at));
        } else if late.last().is_none_or(|(last, _)| last != row) {
            // A join may have made several rows of a late one; it is late once.
            late.push((*row, watermark_us));
        }
    }
    (kept, times_us, late)
}

/// The stage's columns without the index of the row.
pub(crate) fn without_row(schema: &SchemaRef) -> SchemaRef {
    let columns: Vec<usize> = (0..schema.fields().len() - 1).collect();
    std::sync::Arc::new(schema.project(&columns).expect("indices are below the number of columns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_late_when_the_rows_before_it_moved_the_watermark_past_it() {
        let times: TimestampMicrosecondArray = vec![Some(10), Some(4), Some(5), None, Some(20), Some(12)].into();
        let watermarks = Watermark::new(5).observe(&times);
        let row_of = UInt32Array::from(vec![0, 1, 1, 2, 3, 4, 5]);
        let (kept, times_us, late) = sift(&times, &watermarks, &row_of);
        assert_eq!(kept, [0, 3, 5]);
        assert_eq!(times_us, [10, 5, 20]);
        assert_eq!(late, [(1, 5), (3, 5), (5, 15)]);
    }
}
