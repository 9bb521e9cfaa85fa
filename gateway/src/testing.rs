//! What the tests of doors and connectors share: a real log in a temporary folder with one stream of readings, a clock
//! of their own, and a disk that fails when asked.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::future::BoxFuture;
use thermocline_log::{DirEntry, Disk, DiskFile, Log, LogOptions, OsDisk, Stream, StreamSpec};

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
pub(crate) fn open_doomed_log(dir: &Path) -> (Log, FailingDisk) {
    let disk = FailingDisk::default();
    let log = Log::open(dir, LogOptions { disk: Arc::new(disk.clone()), ..LogOptions::default() }).unwrap();
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
#[derive(Debug, Clone)]
pub(crate) struct FailingDisk {
    /// Writes and allocations find no space.
    pub(crate) full: Arc<AtomicBool>,
    /// Writes that found no space.
    pub(crate) refused: Arc<AtomicI64>,
    /// So many syncs succeed before all others fail.
    pub(crate) syncs_left: Arc<AtomicI64>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Default for FailingDisk {
    fn default() -> Self {
        let syncs_left = Arc::new(AtomicI64::new(i64::MAX));
        Self { full: Arc::default(), refused: Arc::default(), syncs_left, held: Arc::default() }
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    disk: FailingDisk,
}

impl FailingDisk {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FailingFile { file, disk: self.clone() })
    }

    /// Until the answer is dropped, no sync ends: the slowest disk there can be.
    pub(crate) fn hold_syncs(&self) -> HeldSyncs {
        *self.held.0.lock().unwrap() = true;
        HeldSyncs(self.clone())
    }

    fn wait_while_held(&self) {
        let held = self.held.0.lock().unwrap();
        drop(self.held.1.wait_while(held, |held| *held).unwrap());
    }

    fn check_space(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// Syncs that wait.
#[derive(Debug)]
pub(crate) struct HeldSyncs(FailingDisk);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        // Not a second panic where the lock is poisoned by a first.
        *self.0.held.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.held.1.notify_all();
    }
}

impl Disk for FailingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        OsDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.check_space()?;
        Ok(self.wrap(OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(OsDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        OsDisk.lock(path)
    }
}

impl DiskFile for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.disk.check_space()?;
        self.file.write_all_at(parts, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.disk.check_space()?;
        self.file.allocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.wait_while_held();
        match self.disk.syncs_left.fetch_sub(1, Ordering::SeqCst) {
            ..=0 => Err(io::Error::other("a broken disk")),
            _ => self.file.sync_data(),
        }
    }
}
