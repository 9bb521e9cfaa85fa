//! The log itself: one data directory, one journal, many streams.

use std::any::Any;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::backup::{self, BackupGate, BackupReport, CopyProgress};
use crate::catalog::{check_existing, check_spec};
use crate::commit::{Commit, Receipt};
use crate::error::{Error, Result, io_error};
use crate::idempotency::CommitId;
use crate::intake::{self, Reply};
use crate::journal::{Entry, JournalIndex, Queue, Writer};
use crate::options::LogOptions;
use crate::partition::{PartitionReader, PartitionSnapshot, Rows, SegmentInfo};
use crate::sealer;
use crate::shared::{Memory, Poison, SealerSignal, Shared};
use crate::space::Space;
use crate::stream::{FIRST_SCHEMA_VERSION, Stream, StreamId, StreamSpec};
use crate::surroundings::Surroundings;

/// Taken by who has the directory open.
pub(crate) const LOCK_FILE: &str = "LOCK";
/// Folder for files that named values refer to.
pub(crate) const STATE_FOLDER: &str = "state";
/// Ends the name of a file in it that is still being written.
pub(crate) const PARTIAL_SUFFIX: &str = ".partial";

/// Counters of an open log, for `/metrics` and `inspect`.
#[derive(Debug, Clone, Default)]
pub struct LogStats {
    /// Bytes of journal files on disk.
    pub journal_bytes: u64,
    /// Bytes of segment files on disk.
    pub segment_bytes: u64,
    /// Number of segment files.
    pub segments: u64,
    /// Bytes of rows held in memory.
    pub tail_bytes: u64,
}

/// An open log; cheap to clone, shared by all threads. Dropping the last clone closes it.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    /// Streams are defined one after the other: here is the answer that is waited for, also when who asked has gone.
    defining: tokio::sync::Mutex<Option<Reply>>,
    running: Mutex<Option<Running>>,
}

/// What ends when the log is closed.
struct Running {
    threads: Vec<JoinHandle<()>>,
    _lock: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Log {
    /// Opens or creates the log in `dir`, recovering what an earlier process left.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Corrupt`], [`Error::Version`] or an I/O error.
    pub fn open(dir: impl AsRef<Path>, options: LogOptions) -> Result<Self> {
        let (log, writer) = Self::open_stopped(dir.as_ref(), options, &Surroundings::default())?;
        log.start(writer)?;
        Ok(log)
    }

    /// A log in which nothing happens by itself: whoever has the writer steps it.
    pub(crate) fn open_stopped(dir: &Path, options: LogOptions, surroundings: &Surroundings) -> Result<(Self, Writer)> {
        let dir = dir.to_owned();
        let disk = Arc::clone(&options.disk);
        let state_dir = dir.join(STATE_FOLDER);
        disk.create_dir_all(&state_dir).map_err(io_error("create directory", &state_dir))?;
        let lock_path = dir.join(LOCK_FILE);
        let lock = disk.lock(&lock_path).map_err(io_error("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: dir.clone() })?;
        let opened = crate::open::open(&dir, &options, surroundings.draw_log_id)?;

        let journal = JournalIndex::default();
        for file in opened.journal.files {
            journal.push(file);
        }
        let memory = Memory::default();
        memory.tail.store(opened.tail_bytes, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            dir,
            options,
            log_id: opened.log_id,
            catalog: opened.catalog,
            metadata: opened.metadata,
            recent_commits: opened.recent_commits,
            queue: Queue::default(),
            journal,
            memory,
            poison: Poison::default(),
            sealer: SealerSignal::default(),
            backup: BackupGate::default(),
            space: Space::default(),
            writer_ended: watch::Sender::new(false),
            wait: surroundings.wait,
        });
        let writer = Writer::start(Arc::clone(&shared), opened.journal.next_sequence, opened.journal.next_group)?;
        let running = Mutex::new(Some(Running { threads: Vec::new(), _lock: lock }));
        let log = Self { inner: Arc::new(Inner { shared, defining: tokio::sync::Mutex::default(), running }) };
        Ok((log, writer))
    }

    fn start(&self, writer: Writer) -> Result<()> {
        let for_sealer = Arc::clone(&self.inner.shared);
        let writer = spawn(self.shared(), "thermocline-journal", move || writer.run())?;
        self.inner.keep(writer);
        let sealer = spawn(self.shared(), "thermocline-sealer", move || sealer::run(&for_sealer))?;
        self.inner.keep(sealer);
        Ok(())
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.shared().dir.clone()
    }

    /// Folder for files that named values refer to; it exists. A file in it gets its name when it is complete and
    /// durable (before, its name ends in `.partial`), does not change afterwards, and is removed with
    /// [`Self::remove_state_file`]; [`Self::write_state_file`] does it so.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.shared().dir.join(STATE_FOLDER)
    }

    /// Removes a file of [`Self::state_dir`]. Returns false, and leaves the file, while a backup may still need it: ask
    /// again later.
    ///
    /// # Errors
    /// An I/O error; a file that is gone already is none.
    pub fn remove_state_file(&self, name: &str) -> Result<bool> {
        backup::remove_state_file(self.shared(), name)
    }

    /// Creates the stream, or returns it when it exists with the same partitions and key; retention and columns become
    /// what is asked for.
    ///
    /// Of an existing stream's columns, told by their names, each has to be asked for, in any order, with its type or one
    /// that holds all values of it: whole numbers and decimals of more digits, whole numbers as a float that holds them
    /// exactly, text or bytes in a larger representation. A column may become nullable; new columns are nullable. A column of
    /// the partition key keeps the text of its values. Rows that are there already stay as they are, and are read with the
    /// new columns from then on: NULL where they had none.
    ///
    /// # Errors
    /// [`Error::InvalidStream`]; [`Error::StreamMismatch`] or [`Error::ColumnMismatch`] when it exists and cannot become what
    /// is asked for.
    pub async fn create_stream(&self, spec: StreamSpec) -> Result<Stream> {
        let mut defining = self.inner.defining.lock().await;
        if let Some(earlier) = defining.as_mut() {
            // Whatever came of it, the catalog tells.
            let _ = earlier.await;
            *defining = None;
        }
        let catalog = &self.shared().catalog;
        let name = spec.name.clone();
        let (id, schema_version) = match catalog.named(&name) {
            Some(existing) => {
                check_existing(existing.spec(), &spec)?;
                if *existing.spec() == spec {
                    return Ok(existing);
                }
                let newest = existing.schema_version();
                (existing.id(), if *existing.schema() == spec.schema { newest } else { newest + 1 })
            }
            None => {
                check_spec(&spec)?;
                (catalog.next_id(), FIRST_SCHEMA_VERSION)
            }
        };
        let entry = Entry::Stream { id, spec, schema_version };
        let answered = defining.insert(intake::queue_entries(self.shared(), vec![entry], true)?).await;
        *defining = None;
        answered.unwrap_or(Err(Error::Closed))?;
        self.stream(&name).ok_or(Error::Closed)
    }

    /// The stream of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<Stream> {
        self.shared().catalog.named(name)
    }

    /// All streams, by name.
    #[must_use]
    pub fn streams(&self) -> Vec<Stream> {
        self.shared().catalog.entries().iter().map(|entry| entry.stream.clone()).collect()
    }

    /// Queues a commit now, in call order; the future resolves once it is durable. Dropping the future does not
    /// undo the commit.
    pub fn commit(&self, commit: Commit) -> impl Future<Output = Result<Receipt>> + Send + use<> + 'static {
        answer(intake::queue(self.shared(), commit))
    }

    /// A reader of one partition from `offset`, with the columns of `projection` (indices into the schema that the stream
    /// has now; all when `None`).
    ///
    /// # Errors
    /// [`Error::UnknownStream`], [`Error::UnknownPartition`], or a column that does not exist.
    pub fn reader(
        &self,
        stream: StreamId,
        partition: u32,
        offset: u64,
        projection: Option<Vec<usize>>,
    ) -> Result<PartitionReader> {
        let entry = self.shared().catalog.expect(stream)?;
        let partition = Arc::clone(entry.partition(partition)?);
        if let Some(columns) = &projection {
            entry.stream.schema().project(columns)?;
        }
        Ok(PartitionReader::new(entry.stream.clone(), partition, offset, projection))
    }

    /// Offsets of a partition that can be read now: oldest kept to the durable end.
    ///
    /// # Errors
    /// [`Error::UnknownStream`] or [`Error::UnknownPartition`].
    pub fn range(&self, stream: StreamId, partition: u32) -> Result<Range<u64>> {
        Ok(self.shared().catalog.expect(stream)?.partition(partition)?.range())
    }

    /// All rows of a partition at this instant, each in exactly one segment file or one batch in memory.
    ///
    /// # Errors
    /// [`Error::UnknownStream`] or [`Error::UnknownPartition`].
    pub fn snapshot(&self, stream: StreamId, partition: u32) -> Result<PartitionSnapshot> {
        let catalog = &self.shared().catalog;
        PartitionSnapshot::take(catalog, stream, catalog.expect(stream)?.partition(partition)?)
    }

    /// The segment files of a partition, in offset order.
    ///
    /// # Errors
    /// [`Error::UnknownStream`] or [`Error::UnknownPartition`].
    pub fn segments(&self, stream: StreamId, partition: u32) -> Result<Vec<SegmentInfo>> {
        let (segments, _, _) = self.shared().catalog.expect(stream)?.partition(partition)?.at_this_instant();
        Ok(segments)
    }

    /// The rows of a partition that are in no segment yet, from `from_offset` on.
    ///
    /// # Errors
    /// [`Error::UnknownStream`] or [`Error::UnknownPartition`].
    pub fn tail_rows(&self, stream: StreamId, partition: u32, from_offset: u64) -> Result<Vec<Rows>> {
        let tail = self.snapshot(stream, partition)?.tail;
        let after = tail.into_iter().filter(|rows| rows.end_offset() > from_offset);
        Ok(after.map(|rows| rows.skip_to(from_offset)).collect())
    }

    /// Where the named cursor of a partition stands; `None` when it never moved.
    #[must_use]
    pub fn cursor(&self, cursor: &str, stream: StreamId, partition: u32) -> Option<u64> {
        self.shared().metadata.cursor(cursor, stream, partition)
    }

    /// A named value.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.shared().metadata.value(key)
    }

    /// All named values whose key starts with `prefix`, in key order.
    #[must_use]
    pub fn values(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        self.shared().metadata.values(prefix)
    }

    /// The receipt of the commit that was made under an idempotency key, if the key is remembered: for who can spare
    /// itself preparing the commit again.
    ///
    /// # Errors
    /// [`Error::KeyReused`] when the commit had another fingerprint, or [`Error::InvalidCommitId`].
    pub fn receipt(&self, key: impl AsRef<[u8]>, fingerprint: u64) -> Result<Option<Receipt>> {
        let id = CommitId::Key { key: key.as_ref().into(), fingerprint };
        id.check()?;
        self.shared().recent_commits.check(&id, self.shared().options.clock.now_ms())
    }

    /// The last sequence that a producer has stored; `None` when it is not known, or not any more.
    #[must_use]
    pub fn producer_sequence(&self, producer: &str) -> Option<u64> {
        self.shared().recent_commits.last_sequence(producer, self.shared().options.clock.now_ms())
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let shared = self.shared();
        let segments: Vec<_> = shared.catalog.partitions().iter().flat_map(|partition| partition.segments()).collect();
        LogStats {
            journal_bytes: shared.journal.bytes(),
            segment_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments: segments.len() as u64,
            tail_bytes: shared.memory.tail.load(Ordering::Relaxed),
        }
    }

    /// Whether rows are refused because the disk is nearly full. Looked at when the journal grows and once a second.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.shared().space.is_low()
    }

    /// Seals everything that is durable now into segments, whatever its size and age. Happens by itself; this is for
    /// who wants the journal short or the segments complete at a certain moment.
    ///
    /// # Errors
    /// [`Error::Full`] or another failure to write segments; the rows stay readable and will be sealed later.
    pub async fn seal(&self) -> Result<()> {
        let (request, answer) = oneshot::channel();
        self.shared().sealer.request(request);
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Copies the log into the directory `dest`, which must be empty or not exist, while everything goes on. The copy is
    /// the log at one durable instant, and holds all that was acknowledged before the call; [`restore`](crate::restore)
    /// makes a data directory of it. `progress` is called from the copying thread, now and then. Dropping the future
    /// ends the backup; a backup that does not come to its end removes what it has copied.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::BackupRunning`], [`Error::Full`] when `dest` has not enough space,
    /// [`Error::Corrupt`] when a segment is damaged, [`Error::Poisoned`], [`Error::Closed`], or an I/O error.
    pub async fn backup(
        &self,
        dest: impl AsRef<Path>,
        progress: impl FnMut(CopyProgress) + Send + 'static,
    ) -> Result<BackupReport> {
        let (reply, answer) = oneshot::channel();
        let (shared, dest) = (Arc::clone(&self.inner.shared), dest.as_ref().to_owned());
        let run = move || backup::run(&shared, &dest, progress, reply);
        let _thread = spawn(self.shared(), "thermocline-backup", run)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Stops intake, syncs what is queued, and releases the directory. Later commits get [`Error::Closed`].
    ///
    /// # Errors
    /// The failure that poisoned the log, if any.
    pub async fn close(&self) -> Result<()> {
        let shared = self.shared();
        shared.queue.close();
        shared.sealer.close();
        // An error means that the writer is gone, which is what is waited for.
        let _ = shared.writer_ended.subscribe().wait_for(|ended| *ended).await;
        self.inner.end();
        shared.poison.error().map_or(Ok(()), Err)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

impl Inner {
    fn keep(&self, thread: JoinHandle<()>) {
        if let Some(running) = self.running.lock().as_mut() {
            running.threads.push(thread);
        }
    }

    /// Ends the threads and releases the directory.
    fn end(&self) {
        self.shared.queue.close();
        self.shared.sealer.close();
        // What it copies must not be taken away by the directory's next owner.
        self.shared.backup.close();
        let Some(running) = self.running.lock().take() else { return };
        for thread in running.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

async fn answer(reply: Result<Reply>) -> Result<Receipt> {
    reply?.await.unwrap_or(Err(Error::Closed))
}

fn spawn(shared: &Shared, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(io_error("start a thread for", &shared.dir))
}
