//! The journal's writer thread: takes what is queued, writes it as one frame, syncs once, publishes, acknowledges.
//!
//! Order that holds for every group: written, synced, visible to readers, acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::buffer::Buffer;

use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::idempotency::GroupIds;
use crate::journal::file::JournalFile;
use crate::journal::format::{FRAME_HEADER_BYTES, FileHeader, FrameHeader, Position};
use crate::journal::group::{self, Group, NewRows};
use crate::journal::index::JournalFileInfo;
use crate::journal::queue::{Pending, Work};
use crate::journal::{Entry, FOLDER};
use crate::options::Durability;
use crate::partition::{Partition, TailRows};
use crate::shared::Shared;
use crate::space::MIN_ROOM_BYTES;
use crate::stream::{Stream, StreamId, StreamSpec};

/// Bound on the bytes of one group, beyond its first commit.
const GROUP_BYTES: u64 = 8 << 20;
/// After this time without commits, the journal notes in a mark that its last group was synced, so that later damage
/// of that group is told from a torn write.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// The sealer is woken when a partition has gained this many batches.
const COALESCE_BATCHES: u32 = 64;

/// Bytes written between two looks at the disk's space.
const LOOK_AT_SPACE_BYTES: u64 = 8 << 20;

/// State of the writer thread.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    folder: PathBuf,
    file: JournalFile,
    /// Sequence of the next group.
    group: u64,
    /// Next offset of each partition, as far as this thread has given them out.
    next: HashMap<(StreamId, u32), u64>,
    /// Everything before this is synced.
    synced: Position,
    /// Whether a group was written after the last sync.
    unsynced: bool,
    /// Whether something was synced that no frame says was.
    unmarked: bool,
    last_sync: Instant,
    batches_since_signal: u32,
    /// Bytes written since the last look at the disk's space.
    unlooked_bytes: u64,
}

impl Writer {
    /// Starts a new journal file after recovery. Everything in older files is synced.
    pub(crate) fn start(shared: Arc<Shared>, sequence: u64, group: u64) -> Result<Self> {
        let folder = shared.dir.join(FOLDER);
        let next = shared.catalog.partitions().iter().map(|p| ((p.stream, p.number), p.range().end)).collect();
        let planned = shared.options.journal_file_bytes;
        let prepared = match prepare_file(&shared, &folder, sequence, group, &next, planned, 0) {
            // What the log holds can be read on a full disk too, and sealing may free some of it.
            Err(Error::Full { .. }) => prepare_file(&shared, &folder, sequence, group, &next, 0, 0)?,
            prepared => prepared?,
        };
        let (file, synced) = begin_file(&shared, &folder, prepared)?;
        Ok(Self {
            shared,
            folder,
            file,
            group: group + 1,
            next,
            synced,
            unsynced: false,
            unmarked: true,
            last_sync: Instant::now(),
            batches_since_signal: 0,
            unlooked_bytes: 0,
        })
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        while self.step(self.deadline()) {}
        if let Err(error) = self.finish() {
            self.shared.poison.set(&error);
        }
    }

    /// Waits for commits, at most until `deadline`, and writes them, or does what is due without. False once the queue
    /// is closed and empty.
    pub(crate) fn step(&mut self, deadline: Option<Instant>) -> bool {
        match self.shared.queue.take(GROUP_BYTES, deadline) {
            Work::Group(commits) => self.handle(commits),
            Work::Idle => self.idle(),
            Work::Closed => return false,
        }
        true
    }

    /// When there is something to do without a commit.
    fn deadline(&self) -> Option<Instant> {
        if self.shared.poison.error().is_some() {
            return None;
        }
        let sync_at = match self.shared.options.durability {
            Durability::Interval(interval) if self.unsynced => Some(self.last_sync + interval),
            _ => None,
        };
        let mark_at = (self.unmarked && !self.unsynced).then(|| Instant::now() + MARK_AFTER);
        match (sync_at, mark_at) {
            (Some(sync), Some(mark)) => Some(sync.min(mark)),
            (sync, mark) => sync.or(mark),
        }
    }

    fn idle(&mut self) {
        if self.shared.poison.error().is_some() {
            return;
        }
        let done = match (self.unsynced, self.unmarked) {
            (true, _) => self.sync(),
            (false, true) => self.mark(),
            (false, false) => Ok(()),
        };
        if let Err(error) = done {
            self.fail(&error);
        }
    }

    /// Writes a group and answers its commits.
    fn handle(&mut self, mut commits: Vec<Pending>) {
        let queued: u64 = commits.iter().map(|commit| commit.bytes).sum();
        let written = match self.shared.poison.error() {
            Some(error) => Err(error),
            None => self.write(&mut commits),
        };
        self.shared.memory.queued.fetch_sub(queued, Ordering::Relaxed);
        match written {
            Ok(answers) => {
                for (commit, answer) in commits.into_iter().zip(answers) {
                    // A caller that dropped its future does not want to know.
                    let _ = commit.reply.send(answer);
                }
            }
            Err(error) => {
                for commit in commits {
                    let _ = commit.reply.send(Err(self.answer(&error)));
                }
            }
        }
    }

    /// The error for one of the commits of a failed group.
    fn answer(&self, error: &Error) -> Error {
        match (error, self.shared.poison.error()) {
            // Also where a sync found too late that there is no space: what is on the disk then nobody knows.
            (_, Some(poisoned)) => poisoned,
            (Error::Full { path }, None) => Error::Full { path: path.clone() },
            (other, None) => Error::Poisoned { reason: other.to_string() },
        }
    }

    fn write(&mut self, commits: &mut [Pending]) -> Result<Vec<Result<Receipt>>> {
        let append_ms = self.shared.options.clock.now_ms();
        let next = |stream, partition| self.next.get(&(stream, partition)).copied().unwrap_or(0);
        let group = group::build(commits, &mut GroupIds::new(&self.shared.recent_commits, append_ms), next);
        let mut group = group.inspect_err(|error| self.fail(error))?;
        let must_sync = self.shared.options.durability == Durability::Sync || commits.iter().any(|c| c.must_sync);
        if !group.is_empty() {
            self.append(&group, append_ms)?;
            self.next.extend(group.next.iter().map(|(partition, next)| (*partition, *next)));
        }
        // Without anything new, a commit is a duplicate of what was synced as its durability asks for.
        if self.unsynced && (must_sync || self.interval_is_over()) {
            self.sync()?;
        }
        let answers = std::mem::take(&mut group.answers);
        self.publish(group, append_ms)?;
        Ok(answers)
    }

    fn interval_is_over(&self) -> bool {
        matches!(self.shared.options.durability, Durability::Interval(interval) if self.last_sync.elapsed() >= interval)
    }

    /// Writes the group's frame, into a new file when it does not fit the present one. After a full disk the journal
    /// is as it was before.
    fn append(&mut self, group: &Group, append_ms: i64) -> Result<()> {
        let bytes = FRAME_HEADER_BYTES as u64 + group.body_bytes;
        if !self.file.has_room(bytes) {
            self.roll(bytes, !group.rows.is_empty())?;
        }
        self.look_at_space(bytes);
        let header = FrameHeader {
            checkpoint: false,
            group: self.group,
            append_ms,
            synced_upto: self.synced,
            body_bytes: group.body_bytes,
            body_crc: group.body_crc,
            entries: group.entries,
        };
        self.append_frame(&header, &group.parts)?;
        self.unsynced = true;
        let ends = group.next.iter().map(|(partition, next)| (*partition, *next));
        self.shared.journal.grow(self.file.bytes(), ends);
        metrics::counter!("thermocline_log_groups_total").increment(1);
        metrics::counter!("thermocline_log_commits_total").increment(group.stored);
        metrics::counter!("thermocline_log_journal_bytes_total").increment(bytes);
        Ok(())
    }

    fn append_frame(&mut self, header: &FrameHeader, body: &[Buffer]) -> Result<()> {
        let encoded = header.encode(self.shared.log_id);
        let parts: Vec<&[u8]> = std::iter::once(encoded.as_slice()).chain(body.iter().map(Buffer::as_slice)).collect();
        if let Err(error) = self.file.append(&parts) {
            if !matches!(error, Error::Full { .. }) {
                self.fail(&error);
                return Err(error);
            }
            // What was written of the frame must not be there when the next one is shorter.
            self.file.cut().and_then(|()| self.file.sync()).inspect_err(|error| self.fail(error))?;
            return Err(error);
        }
        self.group += 1;
        Ok(())
    }

    /// Where files are not preallocated they grow with every group: a look at the disk now and then.
    fn look_at_space(&mut self, bytes: u64) {
        self.unlooked_bytes += bytes;
        if self.unlooked_bytes >= LOOK_AT_SPACE_BYTES {
            self.unlooked_bytes = 0;
            self.shared.look_at_space();
        }
    }

    /// Ends the present file and begins the next one with a checkpoint. Rows are refused where they would take of the
    /// reserve.
    fn roll(&mut self, bytes: u64, has_rows: bool) -> Result<()> {
        if has_rows && self.shared.look_at_space() < bytes {
            return Err(Error::Full { path: self.shared.dir.clone() });
        }
        if self.synced < self.file.position() {
            self.sync()?;
        }
        let sequence = self.file.sequence + 1;
        let planned = self.shared.options.journal_file_bytes;
        let prepared = prepare_file(&self.shared, &self.folder, sequence, self.group, &self.next, planned, bytes)
            .inspect_err(|error| self.fail_unless_full(error))?;
        // What the file held in a former life must not be found behind its last frame once there is a next one.
        self.file.cut().and_then(|()| self.file.sync()).inspect_err(|error| self.fail(error))?;
        let (file, synced) =
            begin_file(&self.shared, &self.folder, prepared).inspect_err(|error| self.fail_unless_full(error))?;
        self.file = file;
        self.group += 1;
        self.synced = synced;
        self.unmarked = true;
        self.shared.sealer.notify();
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let started = Instant::now();
        self.file.sync().inspect_err(|error| self.fail(error))?;
        self.last_sync = Instant::now();
        self.synced = self.file.position();
        self.shared.journal.note_synced(self.file.bytes());
        self.unmarked |= self.unsynced;
        self.unsynced = false;
        metrics::histogram!("thermocline_log_sync_seconds").record(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Appends an empty frame that says how far the journal is synced, behind the planned end of a full file too. It
    /// needs no sync itself: lost, it costs nothing but what it would have told.
    fn mark(&mut self) -> Result<()> {
        self.unmarked = false;
        let header = FrameHeader {
            checkpoint: false,
            group: self.group,
            append_ms: self.shared.options.clock.now_ms(),
            synced_upto: self.synced,
            body_bytes: 0,
            body_crc: 0,
            entries: 0,
        };
        match self.append_frame(&header, &[]) {
            // It can be done without.
            Err(Error::Full { .. }) => return Ok(()),
            written => written?,
        }
        self.shared.journal.grow(self.file.bytes(), std::iter::empty());
        Ok(())
    }

    /// Makes the group visible. Everything that a checkpoint holds is up to date afterwards.
    fn publish(&mut self, group: Group, append_ms: i64) -> Result<()> {
        for change in &group.changes {
            match change {
                Entry::Stream { id, spec, schema_version } => {
                    let stream = match self.shared.catalog.entry(*id) {
                        None => Stream::new(*id, spec.clone()),
                        Some(known) => {
                            let redefined = known.stream.redefined(spec.clone(), *schema_version);
                            redefined.expect("streams are changed one after the other")
                        }
                    };
                    self.shared.catalog.define(stream, |stream| {
                        (0..stream.partitions()).map(|number| new_partition(stream.id(), number)).collect()
                    });
                }
                Entry::Start { stream, partition, start } => {
                    if let Some(partition) = self.shared.catalog.partition(*stream, *partition) {
                        partition.move_start(*start);
                    }
                }
                _ => {}
            }
        }
        let mut rows_total = 0;
        for NewRows { stream, partition, base_offset, schema_version, batch, bytes } in group.rows {
            rows_total += batch.num_rows() as u64;
            let partition =
                self.shared.catalog.partition(stream, partition).expect("commits to unknown partitions are refused");
            self.shared.memory.tail.fetch_add(bytes, Ordering::Relaxed);
            partition.publish(TailRows { base_offset, schema_version, batch, bytes, append_ms });
            self.batches_since_signal += 1;
            if partition.tail_bytes() >= self.shared.options.seal_bytes || self.batches_since_signal >= COALESCE_BATCHES
            {
                self.batches_since_signal = 0;
                self.shared.sealer.notify();
            }
        }
        self.shared.metadata.apply(&group.changes);
        self.shared.recent_commits.apply(&group.changes);
        if rows_total > 0 {
            metrics::counter!("thermocline_log_rows_total").increment(rows_total);
            self.shared.memory.report();
            if self.shared.memory.total() >= self.shared.options.tail_bytes / 2 {
                self.shared.sealer.notify();
            }
        }
        Ok(())
    }

    /// A last sync, and a mark that says so.
    fn finish(&mut self) -> Result<()> {
        if self.shared.poison.error().is_some() {
            return Ok(());
        }
        if self.synced < self.file.position() {
            self.sync()?;
        }
        if self.unmarked {
            self.mark()?;
        }
        self.file.cut()?;
        self.file.sync()
    }

    fn fail(&self, error: &Error) {
        self.shared.poison.set(error);
    }

    fn fail_unless_full(&self, error: &Error) {
        if !matches!(error, Error::Full { .. }) {
            self.fail(error);
        }
    }
}

/// Tells everybody that the writer has ended, in whatever way it did.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.queue.close();
        // Left in the queue only after a panic: dropping a commit answers it with `Closed`.
        drop(self.0.queue.drain());
        for partition in self.0.catalog.partitions() {
            partition.close();
        }
        self.0.writer_ended.send_replace(true);
    }
}

fn new_partition(stream: StreamId, number: u32) -> Arc<Partition> {
    Arc::new(Partition::new(stream, number, 0, Vec::new()))
}

/// Prepares the journal file `sequence` of `planned` bytes with a checkpoint of all metadata, larger when that and `bytes`
/// more need it.
fn prepare_file(
    shared: &Shared,
    folder: &std::path::Path,
    sequence: u64,
    group: u64,
    next: &HashMap<(StreamId, u32), u64>,
    planned: u64,
    bytes: u64,
) -> Result<JournalFile> {
    let options = &shared.options;
    let now_ms = options.clock.now_ms();
    let entries = checkpoint(shared, next, now_ms);
    let mut body = Vec::new();
    for entry in &entries {
        entry.encode(&mut body);
    }
    let header = FrameHeader {
        checkpoint: true,
        group,
        append_ms: now_ms,
        synced_upto: Position { file: sequence, offset: 0 },
        body_bytes: body.len() as u64,
        body_crc: crc32c::crc32c(&body),
        entries: u32::try_from(entries.len()).expect("entries of a checkpoint fit u32"),
    };
    let file_header = FileHeader { sequence, log_id: shared.log_id, created_ms: now_ms, first_group: group };
    // Behind a large checkpoint there is as much room again, so that checkpoints are at most half of the journal.
    let needed = (file_header.encode().len() + FRAME_HEADER_BYTES + body.len()) as u64 + bytes.max(body.len() as u64);
    // A file of the usual size must not take the reserve; what may use it is small.
    let room = shared.look_at_space().max(MIN_ROOM_BYTES);
    let capacity = planned.min(room).max(needed);
    let frame = [header.encode(shared.log_id).to_vec(), body];
    let parts: Vec<&[u8]> = frame.iter().map(Vec::as_slice).collect();
    JournalFile::prepare(options.disk.as_ref(), folder, &file_header, &parts, capacity)
}

/// Makes a prepared file the journal's last one. Returns it and how far it is synced.
fn begin_file(shared: &Shared, folder: &std::path::Path, prepared: JournalFile) -> Result<(JournalFile, Position)> {
    let file = prepared.begin(shared.options.disk.as_ref(), folder)?;
    shared.journal.push(JournalFileInfo { path: file.path.clone(), bytes: file.bytes(), ends: HashMap::new() });
    let synced = file.position();
    Ok((file, synced))
}

/// Everything of the log that is not rows.
fn checkpoint(shared: &Shared, next: &HashMap<(StreamId, u32), u64>, now_ms: i64) -> Vec<Entry> {
    let mut entries = Vec::new();
    for stream in shared.catalog.entries() {
        let id = stream.stream.id();
        // All schemas: rows in older files that are not sealed yet may have any of them.
        entries.extend(stream.stream.schemas().map(|(schema_version, schema)| {
            let spec = StreamSpec { schema: Arc::clone(schema), ..stream.stream.spec().clone() };
            Entry::Stream { id, spec, schema_version }
        }));
        for partition in &stream.partitions {
            let range = partition.range();
            let next = next.get(&(id, partition.number)).copied().unwrap_or(range.end);
            // Between the two looks the sealer may have gone on, never back.
            let sealed = partition.sealed();
            entries.push(Entry::Partition {
                stream: id,
                partition: partition.number,
                start: range.start,
                sealed,
                next,
            });
        }
    }
    entries.extend(shared.metadata.entries());
    entries.extend(shared.recent_commits.entries(now_ms));
    entries
}
