//! Opens a data directory: identity, segments, journal, and the checks that together they miss nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::catalog::{Catalog, check_place};
use crate::disk::Disk;
use crate::error::{Error, Result, corrupt, io_error};
use crate::fields::{Fields, put};
use crate::idempotency::RecentCommits;
use crate::ipc::decode_batch;
use crate::journal::{self, Entry, Frame, Recovered, RowsEntry};
use crate::metadata::Metadata;
use crate::options::LogOptions;
use crate::partition::{Partition, TailRows};
use crate::segment::{self, Segment, SegmentName, is_temporary};
use crate::stream::{FIRST_SCHEMA_VERSION, Stream, StreamId, StreamSpec};

/// Names the log and its format; written once.
pub(crate) const IDENTITY_FILE: &str = "LOG";
const IDENTITY_MAGIC: &[u8; 8] = b"TCLINEL\0";
const IDENTITY_VERSION: u16 = 1;
const IDENTITY_BYTES: usize = 32;

/// A directory read and checked.
#[derive(Debug)]
pub(crate) struct Opened {
    pub log_id: u64,
    pub catalog: Catalog,
    pub metadata: Metadata,
    pub recent_commits: RecentCommits,
    pub journal: Recovered,
    /// Bytes of unsealed rows.
    pub tail_bytes: u64,
}

/// Reads everything in `dir`, which is locked. Afterwards all that was found is durable, and what crashes left
/// behind is gone.
pub(crate) fn open(dir: &Path, options: &LogOptions, draw_log_id: fn() -> u64) -> Result<Opened> {
    let disk = options.disk.as_ref();
    let journal_folder = dir.join(journal::FOLDER);
    let log_id = match read_identity(disk, dir)? {
        Some(log_id) => log_id,
        None => {
            sync_ancestors(disk, dir)?;
            create_identity(disk, dir, draw_log_id())?
        }
    };
    disk.create_dir_all(&journal_folder).map_err(io_error("create directory", &journal_folder))?;
    disk.sync_dir(dir).map_err(io_error("sync directory", dir))?;

    let metadata = Metadata::default();
    let recent_commits = RecentCommits::new(options);
    let mut loading = Loading {
        dir,
        disk: &options.disk,
        metadata: &metadata,
        recent_commits: &recent_commits,
        streams: BTreeMap::new(),
    };
    let journal = journal::recover(disk, &journal_folder, log_id, |frame| loading.apply(frame))?;
    let segments = dir.join(segment::FOLDER);
    if journal.files.is_empty() && !disk.list(&segments).map_err(io_error("list", &segments))?.is_empty() {
        return Err(corrupt(&journal_folder, 0, "the journal is missing but there are segments"));
    }
    let (catalog, tail_bytes) = loading.finish()?;
    Ok(Opened { log_id, catalog, metadata, recent_commits, journal, tail_bytes })
}

/// The log's id; `None` in a directory that holds neither it nor a journal.
pub(crate) fn read_identity(disk: &dyn Disk, dir: &Path) -> Result<Option<u64>> {
    let path = dir.join(IDENTITY_FILE);
    let names = disk.list(dir).map_err(io_error("list", dir))?;
    if !names.iter().any(|entry| entry.name == IDENTITY_FILE) {
        let journal_folder = dir.join(journal::FOLDER);
        if disk.list(&journal_folder).map_err(io_error("list", &journal_folder))?.is_empty() {
            return Ok(None);
        }
        return Err(corrupt(&path, 0, "the file is missing but there is a journal"));
    }
    let file = disk.open(&path).map_err(io_error("open", &path))?;
    let mut bytes = [0; IDENTITY_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(corrupt(&path, 0, format!("log identity: expected {IDENTITY_BYTES} bytes, found fewer")));
        }
        read => read.map_err(io_error("read", &path))?,
    }
    decode_identity(&path, &bytes).map(Some)
}

pub(crate) fn decode_identity(path: &Path, bytes: &[u8; IDENTITY_BYTES]) -> Result<u64> {
    let mut fields = Fields::new(&bytes[8..]);
    let (version, _, _, log_id) = (fields.u16(), fields.u16(), fields.u32(), fields.u64());
    let crc = crc32c::crc32c(&bytes[..28]);
    let found = Fields::new(&bytes[28..]).u32();
    if !bytes.starts_with(IDENTITY_MAGIC) || crc != found {
        return Err(corrupt(path, 0, format!("log identity: expected checksum {crc:#010x}, found {found:#010x}")));
    }
    if version != IDENTITY_VERSION {
        return Err(Error::Version { path: path.to_owned(), expected: IDENTITY_VERSION, found: version });
    }
    Ok(log_id)
}

/// Makes durable that there is a directory at all: it and folders above it may be new.
fn sync_ancestors(disk: &dyn Disk, dir: &Path) -> Result<()> {
    for folder in dir.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match disk.sync_dir(folder) {
            // What may not even be read was there before.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
            synced => synced.map_err(io_error("sync directory", folder))?,
        }
    }
    Ok(())
}

pub(crate) fn encode_identity(log_id: u64) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    put(&mut bytes, 0, IDENTITY_MAGIC);
    put(&mut bytes, 8, &IDENTITY_VERSION.to_le_bytes());
    put(&mut bytes, 16, &log_id.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    put(&mut bytes, 28, &crc.to_le_bytes());
    bytes
}

fn create_identity(disk: &dyn Disk, dir: &Path, log_id: u64) -> Result<u64> {
    let bytes = encode_identity(log_id);
    let path = dir.join(IDENTITY_FILE);
    let temporary = dir.join(format!("{IDENTITY_FILE}.tmp"));
    let file = disk.create(&temporary).map_err(io_error("create", &temporary))?;
    file.write_all_at(&[&bytes], 0).map_err(io_error("write", &temporary))?;
    file.sync_data().map_err(io_error("sync", &temporary))?;
    // The name becomes durable with that of the journal's folder; without either the directory is an empty one.
    disk.rename(&temporary, &path).map_err(io_error("rename", &temporary))?;
    Ok(log_id)
}

/// What the journal and the directories have told so far.
struct Loading<'a> {
    dir: &'a Path,
    disk: &'a Arc<dyn Disk>,
    metadata: &'a Metadata,
    recent_commits: &'a RecentCommits,
    streams: BTreeMap<StreamId, LoadingStream>,
}

struct LoadingStream {
    stream: Stream,
    partitions: Vec<LoadingPartition>,
}

struct LoadingPartition {
    folder: PathBuf,
    segments: Vec<Segment>,
    /// One past the last row in the segments.
    sealed: u64,
    start: u64,
    /// Offset of the next row; unknown before the first checkpoint.
    next: Option<u64>,
    tail: VecDeque<TailRows>,
}

impl Loading<'_> {
    fn apply(&mut self, frame: Frame<'_>) -> Result<()> {
        let damaged = |what: String| corrupt(frame.path, frame.offset, what);
        if frame.checkpoint {
            self.metadata.clear();
            self.recent_commits.clear();
        }
        for entry in &frame.entries {
            match entry {
                Entry::Stream { id, spec, schema_version } => {
                    self.check_definition(*id, spec).map_err(damaged)?;
                    match self.streams.get_mut(id) {
                        Some(known) => {
                            known.stream = known.stream.redefined(spec.clone(), *schema_version).map_err(damaged)?;
                        }
                        None if *schema_version == FIRST_SCHEMA_VERSION => self.define(*id, spec, frame.checkpoint)?,
                        None => {
                            return Err(damaged(format!(
                                "stream {} begins with schema version {schema_version}",
                                id.0
                            )));
                        }
                    }
                }
                Entry::Partition { stream, partition, start, next, sealed: _ } => {
                    let loading = self.partition(*stream, *partition).map_err(damaged)?;
                    if let Some(found) = loading.next.replace(*next)
                        && found != *next
                    {
                        let what =
                            format!("stream {} partition {partition}: expected {next} rows, found {found}", stream.0);
                        return Err(damaged(what));
                    }
                    loading.start = loading.start.max(*start);
                }
                Entry::Start { stream, partition, start } => {
                    let loading = self.partition(*stream, *partition).map_err(damaged)?;
                    loading.start = loading.start.max(*start);
                }
                Entry::Rows(rows) => self.rows(rows, frame.append_ms).map_err(damaged)?,
                Entry::Cursor { .. } | Entry::Put { .. } | Entry::Delete { .. } => {}
                Entry::Key(_) | Entry::Producer(_) => {}
            }
        }
        self.metadata.apply(&frame.entries);
        self.recent_commits.apply(&frame.entries);
        Ok(())
    }

    /// Whether a stream can be defined so: with a name and partitions that a stream may have, and as it was if it is known.
    fn check_definition(&self, id: StreamId, spec: &StreamSpec) -> Result<(), String> {
        check_place(spec).map_err(|error| error.to_string())?;
        let same_name = self.streams.iter().find(|(_, known)| known.stream.name() == spec.name);
        let known = self.streams.get(&id);
        let partitions = spec.partitions as usize;
        if same_name.is_some_and(|(other, _)| *other != id)
            || known.is_some_and(|known| known.stream.name() != spec.name || known.partitions.len() != partitions)
        {
            return Err(format!("stream {} {:?} is defined in two ways", id.0, spec.name));
        }
        Ok(())
    }

    /// A stream that is new. Outside of checkpoints it has no rows yet.
    fn define(&mut self, id: StreamId, spec: &StreamSpec, checkpoint: bool) -> Result<()> {
        let load = |number| {
            let folder = segment::folder_of(self.dir, &spec.name, number);
            let segments = list_segments(self.disk, &folder)?;
            let sealed = segments.iter().map(|segment| segment.name.end).max().unwrap_or(0);
            let next = (!checkpoint).then_some(0);
            let tail = VecDeque::new();
            Ok(LoadingPartition { folder, segments, sealed, start: 0, next, tail })
        };
        let partitions = (0..spec.partitions).map(load).collect::<Result<_>>()?;
        self.streams.insert(id, LoadingStream { stream: Stream::new(id, spec.clone()), partitions });
        Ok(())
    }

    fn partition(&mut self, stream: StreamId, partition: u32) -> Result<&mut LoadingPartition, String> {
        self.streams
            .get_mut(&stream)
            .and_then(|stream| stream.partitions.get_mut(partition as usize))
            .ok_or_else(|| format!("stream {} partition {partition} was never defined", stream.0))
    }

    fn schema(&self, stream: StreamId, version: u32) -> Result<SchemaRef, String> {
        let known = self.streams.get(&stream).and_then(|loading| loading.stream.schema_of(version));
        known.cloned().ok_or_else(|| format!("stream {} has no schema version {version}", stream.0))
    }

    fn rows(&mut self, rows: &RowsEntry, append_ms: i64) -> Result<(), String> {
        let schema = self.schema(rows.stream, rows.schema_version)?;
        let loading = self.partition(rows.stream, rows.partition)?;
        let (base, end) = (rows.base_offset, rows.base_offset + u64::from(rows.rows));
        if loading.next != Some(base) {
            let (stream, partition) = (rows.stream.0, rows.partition);
            return Err(format!(
                "stream {stream} partition {partition}: expected rows at offset {:?}, found {base}",
                loading.next
            ));
        }
        loading.next = Some(end);
        if end > loading.sealed {
            loading.tail.push_back(decode_rows(rows, &schema, loading.sealed, append_ms)?);
        }
        Ok(())
    }

    fn finish(self) -> Result<(Catalog, u64)> {
        let catalog = Catalog::default();
        let mut tail_bytes = 0;
        for (id, stream) in self.streams {
            let mut partitions = Vec::new();
            for (number, loading) in (0..).zip(stream.partitions) {
                let (partition, bytes) = loading.finish(id, number)?;
                tail_bytes += bytes;
                partitions.push(Arc::new(partition));
            }
            catalog.define(stream.stream, |_| partitions);
        }
        Ok((catalog, tail_bytes))
    }
}

/// The rows of an entry from offset `from` on, copied out of the file so that they do not keep it in memory.
fn decode_rows(rows: &RowsEntry, schema: &SchemaRef, from: u64, append_ms: i64) -> Result<TailRows, String> {
    let body = arrow::buffer::Buffer::from_slice_ref(rows.body.as_slice());
    let mut batch = decode_batch(&rows.message, &body, schema).map_err(|error| error.to_string())?;
    if batch.num_rows() as u64 != u64::from(rows.rows) {
        return Err(format!("rows entry: expected {} rows, found {}", rows.rows, batch.num_rows()));
    }
    let mut base_offset = rows.base_offset;
    if base_offset < from {
        let skip = usize::try_from(from - base_offset).expect("less than the rows of a batch");
        batch = batch.slice(skip, batch.num_rows() - skip);
        base_offset = from;
    }
    let schema_version = rows.schema_version;
    Ok(TailRows { base_offset, schema_version, batch, bytes: rows.journal_bytes(), append_ms })
}

impl LoadingPartition {
    /// Checks that segments and tail hold every row from the start to the end.
    fn finish(self, stream: StreamId, number: u32) -> Result<(Partition, u64)> {
        let missing = |what: String| Err(corrupt(&self.folder, 0, what));
        let segments = tile(self.segments, self.start)?;
        let sealed = segments.last().map_or(self.start, |segment| segment.name.end);
        let next = self.next.unwrap_or(sealed);
        let tail_start = self.tail.iter().find(|rows| rows.end_offset() > sealed).map_or(next, |rows| rows.base_offset);
        if sealed > next {
            return missing(format!("segments reach to row {sealed}, the journal only to {next}"));
        }
        if tail_start > sealed {
            return missing(format!("rows {sealed}..{tail_start} are neither in a segment nor in the journal"));
        }
        if tail_start < sealed {
            // Segments end, and rows are removed, where a commit ends.
            return missing(format!("expected a commit that begins at row {sealed}, found one at row {tail_start}"));
        }
        let partition = Partition::new(stream, number, self.start, segments);
        let mut tail_bytes = 0;
        for rows in self.tail.into_iter().filter(|rows| rows.end_offset() > sealed) {
            tail_bytes += rows.bytes;
            partition.publish(rows);
        }
        Ok((partition, tail_bytes))
    }
}

/// Lists the segments of a partition; removes what crashes left of segments being written.
fn list_segments(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in disk.list(folder).map_err(io_error("list", folder))? {
        let path = folder.join(&entry.name);
        if is_temporary(&entry.name) {
            disk.remove(&path).map_err(io_error("remove", &path))?;
            continue;
        }
        match entry.name.parse::<SegmentName>() {
            Ok(name) => found.push(Segment::new(Arc::clone(disk), path, name, entry.bytes)),
            Err(what) => tracing::warn!(path = %path.display(), what, "file is not a segment"),
        }
    }
    if !found.is_empty() {
        // A process that was killed may have named them and not synced the folder. Journal files and replaced segments
        // are removed because these are there.
        disk.sync_dir(folder).map_err(io_error("sync directory", folder))?;
    }
    Ok(found)
}

/// The segments that hold every row from `start` on, without gap or overlap. Those that retention or a merge was about
/// to remove are removed.
fn tile(mut found: Vec<Segment>, start: u64) -> Result<Vec<Arc<Segment>>> {
    // A merged segment stands before those that it replaces.
    found.sort_by_key(|segment| (segment.name.start, Reverse(segment.name.end)));
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(found.len());
    for segment in found {
        let covered = segments.last().map(|last| last.name.end);
        if segment.name.end <= covered.unwrap_or(start) {
            segment.doom();
        } else if covered.map_or(segment.name.start <= start, |covered| segment.name.start == covered) {
            segments.push(Arc::new(segment));
        } else {
            let expected = covered.unwrap_or(start);
            let what = format!("segment expected to begin at row {expected}, found {}", segment.name.start);
            return Err(corrupt(&segment.path, 0, what));
        }
    }
    Ok(segments)
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
