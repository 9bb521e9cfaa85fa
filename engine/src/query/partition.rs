//! One partition of a windowed query: reads rows, runs the stage over them, hands them to the panes.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use thermocline_log::{Log, Stream, StreamId};

use super::failed::{FailedOffset, evaluate};
use super::progress::Decision;
use super::reader::{StageReader, StageRows};
use crate::error::Result;
use crate::late::LateOffset;
use crate::stage::Stage;
use crate::window::{GivenKeys, PartitionState, PartitionWindows};

/// Rows of a partition that are processed at once, at first, at least and at most. A result does not depend on it; the
/// memory of panes that a slow series opens in one step does.
const STEP_ROWS: u64 = 4_096;
const STEP_ROWS_MIN: u64 = 1_024;
const STEP_ROWS_MAX: u64 = 131_072;

/// Steps get shorter when more panes than this are open, and longer again when a quarter of it are.
const OPEN_PANES: usize = 1_024;

/// A partition of a windowed query.
#[derive(Debug)]
pub(crate) struct PartitionTask {
    stream: StreamId,
    partition: u32,
    /// The open panes.
    pub(crate) windows: PartitionWindows,
    input: Input,
    reader: StageReader,
    step_rows: u64,
    /// Decisions of an earlier life that are still ahead.
    decisions: VecDeque<Decision>,
}

/// What comes before the panes.
#[derive(Debug)]
pub(crate) struct Input {
    /// Filters, projections, joins with tables.
    pub(crate) stage: Stage,
    /// Keys that go past it.
    pub(crate) keys: Arc<GivenKeys>,
    /// Column of the stream's event time.
    pub(crate) time_column: usize,
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
        input: Input,
        windows: PartitionWindows,
        decisions: Vec<Decision>,
    ) -> Result<Self> {
        let extra: Vec<usize> = input.keys.columns().chain([input.time_column]).collect();
        let reader = StageReader::new(log, stream, partition, windows.next_offset(), &input.stage, &extra)?;
        let next = windows.next_offset();
        let decisions = decisions.into_iter().filter(|d| d.offset >= next).collect();
        Ok(Self { stream: stream.id(), partition, windows, input, reader, step_rows: STEP_ROWS, decisions })
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
    pub(crate) async fn step(&mut self, until: Option<u64>) -> Result<Step> {
        let mut step = Step::default();
        while step.rows < self.step_rows {
            let Some(rows) = self.read(&mut step, until).await? else { break };
            self.process(rows, &mut step)?;
            self.apply_decisions();
        }
        self.adapt_step();
        Ok(step)
    }

    /// The next rows of a step, up to where something is due.
    async fn read(&mut self, step: &mut Step, until: Option<u64>) -> Result<Option<StageRows>> {
        loop {
            self.apply_decisions();
            if self.windows.rows_to_checkpoint() == 0 {
                // Before the rows that follow it, not after those that lead to it: the windows that these closed are gone
                // by then.
                if step.rows > 0 {
                    return Ok(None);
                }
                step.checkpoint = self.windows.checkpoint()?;
            }
            let next = self.next_offset();
            let mut limit = (self.step_rows - step.rows).min(self.windows.rows_to_checkpoint());
            for stop in until.into_iter().chain(self.decisions.front().map(|d| d.offset)) {
                limit = limit.min(stop.saturating_sub(next));
            }
            if limit == 0 {
                return Ok(None);
            }
            match self.reader.next(limit as usize, &mut self.input.stage).await? {
                None => return Ok(None),
                Some(rows) if rows.start_offset == next => return Ok(Some(rows)),
                // Retention removed rows. What was read may reach past a stop: it is read again, up to there.
                Some(rows) => {
                    self.windows.skip_to(rows.start_offset);
                    self.reader.seek(rows.start_offset);
                }
            }
        }
    }

    fn process(&mut self, rows: StageRows, step: &mut Step) -> Result<()> {
        let times = self.reader.column(&rows.input, self.input.time_column).as_primitive::<TimestampMicrosecondType>();
        let (mut evaluated, row_of, unevaluated) = evaluate(self.windows.aggregate(), &rows.output)?;
        let column = |column: usize| self.reader.column(&rows.input, column);
        self.input.keys.put_in(&mut evaluated, &row_of, rows.input.num_rows(), column)?;
        let late = self.windows.update(times, &evaluated, &row_of)?;
        step.late.extend(late.into_iter().map(|row| LateOffset {
            partition: self.partition,
            offset: rows.start_offset + u64::from(row.row),
            watermark_us: row.watermark_us,
        }));
        let failed = rows.failed.into_iter().chain(unevaluated);
        step.failed.extend(failed.map(|row| row.at(self.partition, rows.start_offset)));
        step.rows += rows.input.num_rows() as u64;
        Ok(())
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
