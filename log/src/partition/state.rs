//! What a partition holds at the moment: segments, then the tail, without gap or overlap.
//!
//! Invariant: `start` ≤ first segment's start or the tail's; each segment begins where the one before ends; the tail
//! begins where the last segment ends; `end` is one past the tail's last row. Every row in it is acknowledged.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::adapt::Adapter;
use crate::error::Result;
use crate::partition::SegmentInfo;
use crate::segment::Segment;
use crate::stream::{Stream, StreamId};

/// What counts as a small batch, one pass after the other.
const COALESCE_SMALL_ROWS: [usize; 3] = [64, 512, 1024];
/// Fewer neighbours than this are not worth joining.
const COALESCE_BATCHES: usize = 8;
/// Batches are joined up to this many rows.
const COALESCED_ROWS: usize = 8192;

/// Rows in memory, shared by all readers.
#[derive(Debug, Clone)]
pub(crate) struct TailRows {
    pub base_offset: u64,
    /// Version of the stream's schema that the batch has.
    pub schema_version: u32,
    pub batch: RecordBatch,
    /// Size as encoded in the journal; what the memory cap counts.
    pub bytes: u64,
    pub append_ms: i64,
}

impl TailRows {
    pub(crate) fn end_offset(&self) -> u64 {
        self.base_offset + self.batch.num_rows() as u64
    }

    /// The batch under the schema of `stream`.
    pub(crate) fn under(&self, stream: &Stream) -> Result<RecordBatch> {
        if self.schema_version == stream.schema_version() {
            return Ok(self.batch.clone());
        }
        Adapter::new(stream.name(), self.batch.schema_ref(), stream.schema())?.adapt(&self.batch)
    }
}

/// What readers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Published {
    pub end: u64,
    pub closed: bool,
}

/// Where the row at an offset is found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Retention removed it; the oldest row that is left.
    Removed {
        oldest: u64,
    },
    Segment(Arc<Segment>),
    Tail(TailRows),
    /// It has not been appended yet.
    NotYet,
}

/// A partition of an open log.
pub(crate) struct Partition {
    pub stream: StreamId,
    pub number: u32,
    state: RwLock<State>,
    published: watch::Sender<Published>,
}

#[derive(Debug, Default)]
struct State {
    start: u64,
    segments: Vec<Arc<Segment>>,
    tail: VecDeque<TailRows>,
    tail_bytes: u64,
    end: u64,
}

impl State {
    fn sealed(&self) -> u64 {
        self.segments.last().map_or(self.start, |segment| segment.name.end)
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stream, number) = (self.stream, self.number);
        f.debug_struct("Partition").field("stream", &stream).field("number", &number).finish_non_exhaustive()
    }
}

impl Partition {
    /// A partition whose rows from `start` on are in `segments`, if any; nothing in the tail.
    pub(crate) fn new(stream: StreamId, number: u32, start: u64, segments: Vec<Arc<Segment>>) -> Self {
        let mut state = State { start, segments, ..State::default() };
        state.end = state.sealed();
        let (published, _) = watch::channel(Published { end: state.end, closed: false });
        Self { stream, number, state: RwLock::new(state), published }
    }

    /// Offsets that can be read.
    pub(crate) fn range(&self) -> Range<u64> {
        let state = self.state.read();
        state.start..state.end
    }

    /// Rows before this are in segments.
    pub(crate) fn sealed(&self) -> u64 {
        self.state.read().sealed()
    }

    /// Bytes of the tail.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.state.read().tail_bytes
    }

    /// When the oldest row of the tail was appended.
    pub(crate) fn oldest_tail_ms(&self) -> Option<i64> {
        self.state.read().tail.front().map(|rows| rows.append_ms)
    }

    /// Adds durable rows, which begin at the partition's end, and wakes who waits for them.
    pub(crate) fn publish(&self, rows: TailRows) {
        let end = rows.end_offset();
        {
            let mut state = self.state.write();
            debug_assert_eq!(state.end, rows.base_offset, "offsets are contiguous");
            state.tail_bytes += rows.bytes;
            state.end = end;
            state.tail.push_back(rows);
        }
        self.published.send_modify(|published| published.end = end);
    }

    /// Tells readers that nothing will come any more.
    pub(crate) fn close(&self) {
        self.published.send_modify(|published| published.closed = true);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Finds the row at `offset`.
    pub(crate) fn find(&self, offset: u64) -> Found {
        let state = self.state.read();
        if offset < state.start {
            return Found::Removed { oldest: state.start };
        }
        if offset >= state.end {
            return Found::NotYet;
        }
        if offset < state.sealed() {
            let at = state.segments.partition_point(|segment| segment.name.end <= offset);
            return Found::Segment(Arc::clone(&state.segments[at]));
        }
        let at = state.tail.partition_point(|rows| rows.end_offset() <= offset);
        Found::Tail(state.tail[at].clone())
    }

    /// Segments and tail of one instant, and the offsets of the rows.
    pub(crate) fn at_this_instant(&self) -> (Vec<SegmentInfo>, Vec<TailRows>, Range<u64>) {
        let state = self.state.read();
        let kept = state.segments.iter().filter(|segment| segment.name.end > state.start);
        (kept.map(SegmentInfo::new).collect(), state.tail.iter().cloned().collect(), state.start..state.end)
    }

    /// The segments.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.state.read().segments.clone()
    }

    /// The oldest rows of the tail, up to about `max_bytes` and at least one batch if there is any.
    pub(crate) fn oldest_tail(&self, max_bytes: u64) -> Vec<TailRows> {
        let state = self.state.read();
        let mut bytes = 0;
        let within = |rows: &&TailRows| {
            let fits = bytes == 0 || bytes + rows.bytes <= max_bytes;
            bytes += rows.bytes;
            fits
        };
        state.tail.iter().take_while(within).cloned().collect()
    }

    /// A sealed segment takes the place of the tail's oldest rows. Returns the bytes of memory that became free.
    pub(crate) fn seal(&self, segment: Segment) -> u64 {
        let mut state = self.state.write();
        debug_assert_eq!(state.sealed(), segment.name.start, "segments are contiguous");
        let mut freed = 0;
        while let Some(rows) = state.tail.pop_front_if(|rows| rows.end_offset() <= segment.name.end) {
            freed += rows.bytes;
        }
        state.tail_bytes -= freed;
        state.segments.push(Arc::new(segment));
        freed
    }

    /// One segment takes the place of several that hold the same rows; those leave the disk with their last reader.
    pub(crate) fn merge(&self, merged: Segment) {
        let replaced: Vec<Arc<Segment>> = {
            let mut state = self.state.write();
            let from = state.segments.partition_point(|segment| segment.name.start < merged.name.start);
            let to = state.segments.partition_point(|segment| segment.name.end <= merged.name.end);
            state.segments.splice(from..to, [Arc::new(merged)]).collect()
        };
        // Out of the lock: the last one to let go removes the file.
        for segment in replaced {
            segment.doom();
        }
    }

    /// Rows before `start` are not read any more.
    pub(crate) fn move_start(&self, start: u64) {
        let mut state = self.state.write();
        state.start = state.start.max(start);
    }

    /// Segments that hold only rows before the start leave the disk with their last reader.
    pub(crate) fn remove_old_segments(&self) {
        let removed: Vec<Arc<Segment>> = {
            let mut state = self.state.write();
            let kept = state.segments.partition_point(|segment| segment.name.end <= state.start);
            state.segments.drain(..kept).collect()
        };
        for segment in removed {
            segment.doom();
        }
    }

    /// Joins runs of small neighbouring batches of the tail. Readers go on meanwhile: the copying is done outside of
    /// the lock. Small means a few sizes, one after the other, so that a row is copied only a few times.
    pub(crate) fn coalesce(&self) -> Result<(), arrow::error::ArrowError> {
        for small_rows in COALESCE_SMALL_ROWS {
            let mut from = 0;
            while let Some(run) = self.run_of_small(from, small_rows) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { break };
                from = last.end_offset();
                let batches = run.iter().map(|rows| &rows.batch);
                let joined = TailRows {
                    base_offset: first.base_offset,
                    schema_version: first.schema_version,
                    batch: arrow::compute::concat_batches(first.batch.schema_ref(), batches)?,
                    bytes: run.iter().map(|rows| rows.bytes).sum(),
                    // The newest, also where the clock was set back: none of the rows may go before its time.
                    append_ms: run.iter().map(|rows| rows.append_ms).max().unwrap_or(last.append_ms),
                };
                self.replace_run(&run, joined);
            }
        }
        Ok(())
    }

    /// The first run of enough batches with at most `small_rows` rows each, at or after offset `from`.
    fn run_of_small(&self, from: u64, small_rows: usize) -> Option<Vec<TailRows>> {
        let state = self.state.read();
        let mut at = state.tail.partition_point(|rows| rows.base_offset < from);
        while at < state.tail.len() {
            let mut rows_in_run = 0;
            let fits = |rows: &&TailRows| {
                rows_in_run += rows.batch.num_rows();
                rows.batch.num_rows() <= small_rows
                    && rows_in_run <= COALESCED_ROWS
                    && rows.schema_version == state.tail[at].schema_version
            };
            let run = state.tail.range(at..).take_while(fits).count();
            if run >= COALESCE_BATCHES {
                return Some(state.tail.range(at..at + run).cloned().collect());
            }
            at += run + 1;
        }
        None
    }

    /// Puts `joined` in the place of `run`, unless sealing has taken a part of it.
    fn replace_run(&self, run: &[TailRows], joined: TailRows) {
        let mut state = self.state.write();
        let at = state.tail.partition_point(|rows| rows.base_offset < joined.base_offset);
        let untouched = state.tail.len() >= at + run.len()
            && state.tail.range(at..at + run.len()).zip(run).all(|(found, ours)| found.base_offset == ours.base_offset);
        if untouched {
            state.tail.drain(at + 1..at + run.len());
            state.tail[at] = joined;
        }
    }
}
