//! One partition of a query by key: reads rows, runs the stage over them, stamps them with their keys' watermarks, hands
//! them to the operator.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use thermocline_log::{Log, Stream, StreamId};
use thermocline_sql::EventTime;

use super::failed::FailedOffset;
use super::reader::{StageReader, StageRows};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::late::LateOffset;
use crate::per_key::{Emitted, KeyWatermarks, Outcome, PerKeyOperator, PerKeyPlace, PerKeyState, StampedRows};
use crate::snapshot::{StoredTables, TableShape, Tracking};
use crate::stage::Stage;

/// Rows that are processed at once. A result does not depend on it.
const STEP_ROWS: u64 = 16_384;

/// A partition.
#[derive(Debug)]
pub(crate) struct PerKeyPartition {
    stream: StreamId,
    partition: u32,
    reader: StageReader,
    stage: Stage,
    time_column: usize,
    key_columns: Vec<usize>,
    watermarks: KeyWatermarks,
    operator: Box<dyn PerKeyOperator>,
    next_offset: u64,
    /// Offsets, still ahead, before which an earlier life had finished.
    finishes: VecDeque<u64>,
    tracking: Tracking,
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct PerKeyStep {
    pub(crate) rows: u64,
    pub(crate) emitted: Vec<Emitted>,
    pub(crate) late: Vec<LateOffset>,
    pub(crate) failed: Vec<FailedOffset>,
}

/// Which rows of a partition are read, and what becomes of them.
pub(crate) struct PerKeySource<'a> {
    pub(crate) log: &'a Log,
    pub(crate) stream: &'a Stream,
    pub(crate) partition: u32,
    pub(crate) event_time: &'a EventTime,
    pub(crate) stage: Stage,
    pub(crate) operator: Box<dyn PerKeyOperator>,
    /// Rows between snapshots; the default when `None`.
    pub(crate) snapshot_rows: Option<u64>,
}

impl PerKeyPartition {
    /// Goes on from a state, or from an offset.
    pub(crate) fn new(
        source: PerKeySource<'_>,
        start: u64,
        state: Option<PerKeyState>,
        finishes: Vec<u64>,
    ) -> Result<Self> {
        let PerKeySource { log, stream, partition, event_time, stage, mut operator, snapshot_rows } = source;
        let mut watermarks = KeyWatermarks::new(&key_schema(stream, event_time), event_time.delay_us)?;
        let (mut next_offset, mut tracking) = (start, Tracking::new(snapshot_rows));
        if let Some(state) = state {
            let (of_keys, of_operator) = state.tables.split_first().expect("the watermarks come first");
            watermarks.restore(of_keys)?;
            operator.restore(of_operator)?;
            next_offset = state.next_offset;
            tracking.restored(next_offset, tracked(&mut watermarks, operator.as_mut()));
        }
        let mut extra = event_time.key.clone();
        extra.push(event_time.column);
        let reader = StageReader::new(log, stream, partition, next_offset, &stage, &extra)?;
        Ok(Self {
            stream: stream.id(),
            partition,
            reader,
            stage,
            time_column: event_time.column,
            key_columns: event_time.key.clone(),
            watermarks,
            operator,
            next_offset,
            finishes: finishes.into_iter().filter(|offset| *offset >= next_offset).collect(),
            tracking,
        })
    }

    /// Which partition.
    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// First offset that was not read.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The watermark of the key that is furthest.
    pub(crate) fn latest_us(&self) -> i64 {
        self.watermarks.latest_us()
    }

    /// Whether its state should be taken now.
    pub(crate) fn is_due(&mut self) -> bool {
        self.tracking.is_due(&tracked(&mut self.watermarks, self.operator.as_mut()))
    }

    /// Rows between its position and the durable end.
    pub(crate) fn lag(&self, log: &Log) -> u64 {
        let range = log.range(self.stream, self.partition).expect("the partition of an open reader exists");
        range.end.saturating_sub(self.next_offset)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.watermarks.bytes() + self.operator.bytes()
    }

    /// Resolves when there are rows to read.
    pub(crate) async fn wait(&mut self) {
        self.reader.wait().await;
    }

    /// What has changed of its state, of which a snapshot is made. It is [stored](Self::stored) after that, or
    /// [not](Self::not_stored).
    pub(crate) fn take_state(&mut self, shapes: &[TableShape]) -> Result<StoredTables<PerKeyPlace>> {
        let after = self.tracking.take(tracked(&mut self.watermarks, self.operator.as_mut()));
        let mut tables = vec![self.watermarks.state()?];
        tables.extend(self.operator.state(&self.watermarks)?);
        self.tracking.taken(&tables, shapes);
        Ok(StoredTables { position: self.next_offset, after, place: PerKeyPlace {}, tables })
    }

    /// The state up to an offset, which was taken, is stored.
    pub(crate) fn stored(&mut self, next_offset: u64) {
        self.tracking.stored(next_offset, tracked(&mut self.watermarks, self.operator.as_mut()));
    }

    /// What was taken could not be stored; `all`: nor can what is stored be added to.
    pub(crate) fn not_stored(&mut self, all: bool) {
        self.tracking.not_stored(tracked(&mut self.watermarks, self.operator.as_mut()));
        if all {
            self.tracking.store_all();
        }
    }

    /// Completes everything that is held, before the next row.
    pub(crate) fn finish(&mut self) -> Result<Vec<Emitted>> {
        self.operator.finish(&mut self.watermarks)
    }

    /// Reads and processes the next rows, not past `until` where one is given.
    pub(crate) async fn step(&mut self, until: Option<u64>) -> Result<PerKeyStep> {
        let rows = loop {
            self.repeat_finishes()?;
            let mut limit = STEP_ROWS;
            for stop in until.into_iter().chain(self.finishes.front().copied()) {
                limit = limit.min(stop.saturating_sub(self.next_offset));
            }
            let rows = match limit {
                0 => None,
                limit => self.reader.next(limit as usize, &mut self.stage).await?,
            };
            match rows {
                None => return Ok(PerKeyStep::default()),
                Some(rows) if rows.start_offset == self.next_offset => break rows,
                // Retention removed rows. What was read may reach past a stop: it is read again, up to there.
                Some(rows) => {
                    self.next_offset = rows.start_offset;
                    self.reader.seek(rows.start_offset);
                }
            }
        };
        let count = rows.input.num_rows() as u64;
        let step = self.take(rows)?;
        self.next_offset += count;
        self.tracking.read(count);
        self.repeat_finishes()?;
        Ok(step)
    }

    fn take(&mut self, rows: StageRows) -> Result<PerKeyStep> {
        let times = self.reader.column(&rows.input, self.time_column).as_primitive::<TimestampMicrosecondType>();
        let key = self.key_columns.iter().map(|column| Arc::clone(self.reader.column(&rows.input, *column)));
        let key: Vec<ArrayRef> = key.collect();
        let stamps = self.watermarks.observe(&key, times)?;
        let stamped = StampedRows { output: &rows.output, times, stamps: &stamps };
        let Outcome { emitted, late, failed } = self.operator.update(&stamped)?;
        let late = late.into_iter().map(|row| LateOffset {
            partition: self.partition,
            offset: rows.start_offset + u64::from(row),
            watermark_us: stamps[row as usize].before_us,
        });
        let failed = rows.failed.into_iter().chain(failed).map(|row| row.at(self.partition, rows.start_offset));
        let rows = rows.input.num_rows() as u64;
        Ok(PerKeyStep { rows, emitted, late: late.collect(), failed: failed.collect() })
    }

    /// Finishes as an earlier life did; what that emitted was committed with it.
    fn repeat_finishes(&mut self) -> Result<()> {
        while self.finishes.front().is_some_and(|offset| *offset <= self.next_offset) {
            self.finish()?;
            self.finishes.pop_front();
        }
        Ok(())
    }
}

/// Keys of which those are stored that have changed.
fn tracked<'a>(watermarks: &'a mut KeyWatermarks, operator: &'a mut dyn PerKeyOperator) -> Vec<&'a mut KeyTable> {
    std::iter::once(watermarks.tracked()).chain(operator.tracked()).collect()
}

/// The columns of the watermarks' key.
pub(crate) fn key_schema(stream: &Stream, event_time: &EventTime) -> SchemaRef {
    Arc::new(stream.schema().project(&event_time.key).expect("the checker resolved the columns"))
}
