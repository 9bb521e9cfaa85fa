//! What the tests of doors and connectors share: a real log in a temporary folder with one stream of readings, a clock
//! of their own, and a disk that fails when asked.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::future::BoxFuture;
use thermocline_log::{DiskFile, DiskHooks, DiskOp, HookedDisk, Log, LogOptions, Stream, StreamSpec};

use crate::clock::Clock;
use crate::input::{StreamInput, TimestampUnit, rejected_schema, rejected_stream_name};

/// 2026-11-22T10:00:00Z.
pub(crate) const NOW_US: i64 = 1_795_341_600_000_000;

pub(crate) fn readings_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device_id", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("temperature", DataType::Float64, true),
        Field::new("status", DataType::Utf8, true),
    ]))
}

pub(crate) fn open_log(dir: &Path) -> Log {
    Log::open(dir, LogOptions::default()).unwrap()
}

/// A log, and the disk that makes it fail for good when its syncs run out: what is not acknowledged by then never is,
/// as after a kill.
pub(crate) fn open_doomed_log(dir: &Path) -> (Log, Arc<FailingDisk>) {
    let disk = Arc::new(FailingDisk::default());
    let log = Log::open(dir, LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() }).unwrap();
    (log, disk)
}

/// The stream `readings` of a log, created where it is not there yet.
pub(crate) async fn readings(log: &Log) -> StreamInput {
    input(log, "readings", readings_schema()).await
}

pub(crate) async fn input(log: &Log, name: &str, schema: SchemaRef) -> StreamInput {
    let event_time_column = schema.index_of("ts").ok();
    let rejected = StreamSpec::new(rejected_stream_name(name), rejected_schema());
    StreamInput {
        stream: log.create_stream(StreamSpec::new(name, schema)).await.unwrap(),
        rejected: log.create_stream(rejected).await.unwrap(),
        event_time_column,
        max_skew_us: Some(60_000_000),
        timestamp_unit: TimestampUnit::Millisecond,
        metadata: Vec::new(),
    }
}

/// All rows of a stream of one partition.
pub(crate) fn all_rows(log: &Log, stream: &Stream) -> RecordBatch {
    let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
    let mut batches = Vec::new();
    while let Some(rows) = reader.next(usize::MAX).unwrap() {
        batches.push(rows.batch);
    }
    concat_batches(stream.schema(), &batches).unwrap()
}

/// All rows of a stream as JSON lines, NULLs left out.
pub(crate) fn all_lines(log: &Log, stream: &Stream) -> Vec<String> {
    let mut json = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut json);
    writer.write(&all_rows(log, stream)).unwrap();
    writer.finish().unwrap();
    drop(writer);
    String::from_utf8(json).unwrap().lines().map(str::to_owned).collect()
}

/// A clock that goes forward only when somebody sleeps, and then at once.
#[derive(Debug)]
pub(crate) struct TestClock {
    now_us: AtomicI64,
}

impl TestClock {
    pub(crate) fn at(now_us: i64) -> Arc<Self> {
        Arc::new(Self { now_us: AtomicI64::new(now_us) })
    }
}

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.now_us.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }
}

/// The real disk, until it is told to fail.
#[derive(Debug)]
pub(crate) struct FailingDisk {
    /// Writes and allocations find no space.
    pub(crate) full: AtomicBool,
    /// Writes that found no space.
    pub(crate) refused: AtomicI64,
    /// So many syncs succeed before all others fail.
    pub(crate) syncs_left: AtomicI64,
    held: Mutex<bool>,
    released: Condvar,
}

impl Default for FailingDisk {
    fn default() -> Self {
        Self {
            full: AtomicBool::new(false),
            refused: AtomicI64::new(0),
            syncs_left: AtomicI64::new(i64::MAX),
            held: Mutex::new(false),
            released: Condvar::new(),
        }
    }
}

impl FailingDisk {
    /// Until the answer is dropped, no sync ends: the slowest disk there can be.
    pub(crate) fn hold_syncs(self: &Arc<Self>) -> HeldSyncs {
        *self.held.lock().unwrap() = true;
        HeldSyncs(Arc::clone(self))
    }

    fn wait_while_held(&self) {
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held).unwrap());
    }
}

/// Syncs that wait.
#[derive(Debug)]
pub(crate) struct HeldSyncs(Arc<FailingDisk>);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        // Not a second panic where the lock is poisoned by a first.
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.released.notify_all();
    }
}

impl DiskHooks for FailingDisk {
    fn before(&self, op: DiskOp, _: &Path) -> io::Result<()> {
        if matches!(op, DiskOp::Create | DiskOp::Write | DiskOp::Allocate) && self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self, file: &dyn DiskFile, _: &Path) -> io::Result<()> {
        self.wait_while_held();
        match self.syncs_left.fetch_sub(1, Ordering::SeqCst) {
            ..=0 => Err(io::Error::other("a broken disk")),
            _ => file.sync_data(),
        }
    }
}
