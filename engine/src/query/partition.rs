//! One partition of a windowed query: reads rows, runs the stage over them, hands them to the panes.

use std::collections::VecDeque;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use thermocline_log::{Log, Stream, StreamId};

use super::failed::{FailedOffset, evaluate};
use super::progress::Decision;
use super::reader::StageReader;
use crate::error::Result;
use crate::late::LateOffset;
use crate::stage::Stage;
use crate::window::{PartitionState, PartitionWindows};

/// Rows of a partition that are processed at once, at first, at least and at most. A result does not depend on it; the
/// memory of panes that a slow series opens in one step does.
const STEP_ROWS: u64 = 4_096;
const STEP_ROWS_MIN: u64 = 1_024;
const STEP_ROWS_MAX: u64 = 65_536;

/// Steps get shorter when more panes than this are open, and longer again when a quarter of it are.
const OPEN_PANES: usize = 1_024;

/// A partition of a windowed query.
#[derive(Debug)]
pub(crate) struct PartitionTask {
    stream: StreamId,
    partition: u32,
    /// The open panes.
    pub(crate) windows: PartitionWindows,
    stage: Stage,
    reader: StageReader,
    time_column: usize,
    step_rows: u64,
    /// Decisions of an earlier life that are still ahead.
    decisions: VecDeque<Decision>,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) rows: u64,
    pub(crate) late: Vec<LateOffset>,
    pub(crate) failed: Vec<FailedOffset>,
    pub(crate) checkpoint: Option<PartitionState>,
}

impl PartitionTask {
    /// Starts at the position of `windows`.
    pub(crate) fn new(
        log: &Log,
        stream: &Stream,
        partition: u32,
        time_column: usize,
        windows: PartitionWindows,
        stage: Stage,
        decisions: Vec<Decision>,
    ) -> Result<Self> {
        let reader = StageReader::new(log, stream, partition, windows.next_offset(), &stage, &[time_column])?;
        let next = windows.next_offset();
        let decisions = decisions.into_iter().filter(|d| d.offset >= next).collect();
        Ok(Self {
            stream: stream.id(),
            partition,
            windows,
            stage,
            reader,
            time_column,
            step_rows: STEP_ROWS,
            decisions,
        })
    }

    /// Which partition.
    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// Rows between its position and the durable end.
    pub(crate) fn lag(&self, log: &Log) -> u64 {
        let range = log.range(self.stream, self.partition).expect("the partition of an open reader exists");
        range.end.saturating_sub(self.next_offset())
    }

    /// Resolves when there are rows to read.
    pub(crate) async fn wait(&mut self) {
        self.reader.wait().await;
    }

    /// First offset that was not read.
    pub(crate) fn next_offset(&self) -> u64 {
        self.windows.next_offset()
    }

    /// Moves the watermark by a decision made now, before the next row.
    pub(crate) fn decide(&mut self, watermark_us: i64) -> Decision {
        self.windows.watermark.advance_to(watermark_us);
        Decision { offset: self.next_offset(), watermark_us }
    }

    /// Reads and processes the next rows, not past `until` where one is given.
    ///
    /// A checkpoint is taken before the rows that follow it, not after those that lead to it: the windows that these
    /// closed are gone by then, so that what is cut does not depend on how the rows were cut into steps.
    pub(crate) async fn step(&mut self, until: Option<u64>) -> Result<Step> {
        let mut checkpoint = None;
        let rows = loop {
            self.apply_decisions();
            checkpoint = self.windows.checkpoint()?.or(checkpoint);
            let next = self.next_offset();
            let mut limit = self.step_rows.min(self.windows.rows_to_checkpoint());
            for stop in until.into_iter().chain(self.decisions.front().map(|d| d.offset)) {
                limit = limit.min(stop.saturating_sub(next));
            }
            let rows = match limit {
                0 => None,
                limit => self.reader.next(limit as usize, &mut self.stage).await?,
            };
            match rows {
                None => return Ok(Step { checkpoint, ..Step::default() }),
                Some(rows) if rows.start_offset == next => break rows,
                // Retention removed rows. What was read may reach past a stop: it is read again, up to there.
                Some(rows) => {
                    self.windows.skip_to(rows.start_offset);
                    self.reader.seek(rows.start_offset);
                }
            }
        };
        let times = self.reader.column(&rows.input, self.time_column).as_primitive::<TimestampMicrosecondType>();
        let (evaluated, row_of, unevaluated) = evaluate(self.windows.aggregate(), &rows.output)?;
        let late = self.windows.update(times, &evaluated, &row_of)?;
        let late = late
            .into_iter()
            .map(|row| LateOffset {
                partition: self.partition,
                offset: rows.start_offset + u64::from(row.row),
                watermark_us: row.watermark_us,
            })
            .collect();
        let count = rows.input.num_rows() as u64;
        let failed = rows.failed.into_iter().chain(unevaluated);
        let failed = failed.map(|row| row.at(self.partition, rows.start_offset)).collect();
        self.apply_decisions();
        self.adapt_step();
        Ok(Step { rows: count, late, failed, checkpoint })
    }

    fn adapt_step(&mut self) {
        match self.windows.open_panes() {
            panes if panes > OPEN_PANES => self.step_rows = (self.step_rows / 2).max(STEP_ROWS_MIN),
            panes if panes < OPEN_PANES / 4 => self.step_rows = (self.step_rows * 2).min(STEP_ROWS_MAX),
            _ => {}
        }
    }

    fn apply_decisions(&mut self) {
        while let Some(decision) = self.decisions.front().filter(|d| d.offset <= self.windows.next_offset()) {
            self.windows.watermark.advance_to(decision.watermark_us);
            self.decisions.pop_front();
        }
    }
}
