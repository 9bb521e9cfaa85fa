//! Reads the journal when a log is opened, and tells torn writes from damage.
//!
//! Rule: every frame names a position before which everything was synced when it was written. At the first place
//! that is not a valid frame, what lies behind is searched for frames that name a later position. If one does, the
//! place was synced, acknowledged data is damaged, and nothing is changed. If none does, the rest was never
//! acknowledged and is cut.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow::buffer::{Buffer, MutableBuffer};

use crate::disk::Disk;
use crate::error::{Error, Result, corrupt, io_error};
use crate::journal::Entry;
use crate::journal::file::{path_of, sequence_of};
use crate::journal::format::{
    ALIGNMENT, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, HeaderFault, Position, VERSION,
};
use crate::journal::index::JournalFileInfo;
use crate::stream::StreamId;

/// What the journal held.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The files, oldest first; empty for a new log.
    pub files: Vec<JournalFileInfo>,
    /// Sequence of the file to begin.
    pub next_sequence: u64,
    /// Sequence of the next group.
    pub next_group: u64,
    /// Bytes cut from the end as torn.
    pub torn_bytes: u64,
}

/// A frame read back.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub checkpoint: bool,
    pub append_ms: i64,
    pub entries: Vec<Entry>,
    /// Where it stands, for errors.
    pub path: &'a Path,
    pub offset: u64,
}

/// Reads all of the journal in `folder`, hands every frame in order to `apply`, and leaves the files such that all
/// that was handed out is durable and nothing else is in them.
pub(crate) fn recover(
    disk: &dyn Disk,
    folder: &Path,
    log_id: u64,
    mut apply: impl FnMut(Frame<'_>) -> Result<()>,
) -> Result<Recovered> {
    let sequences = list_files(disk, folder)?;
    // A process that was killed may have created the last one and not synced the folder. The next one must not be there
    // without it.
    disk.sync_dir(folder).map_err(io_error("sync directory", folder))?;
    let mut recovered = Recovered { next_sequence: 1, next_group: 1, ..Recovered::default() };
    let mut next_group = None;
    let mut marked = Position::default();
    for (index, sequence) in sequences.iter().copied().enumerate() {
        recovered.next_sequence = sequence + 1;
        let path = path_of(folder, sequence);
        let content = read_file(disk, &path)?;
        let mut scan = Scan { path: &path, sequence, content: &content, log_id, next_group, marked };
        let mut ends = HashMap::new();
        let stop = scan.run(|frame| {
            note_ends(&mut ends, &frame.entries);
            apply(frame)
        })?;
        next_group = scan.next_group;
        marked = scan.marked;
        let later = &sequences[index + 1..];
        match stop {
            Stop::End(_) if !later.is_empty() => {
                check_continues(disk, folder, log_id, &path, &stop, next_group, later[0])?
            }
            Stop::End(at) => settle(disk, &path, &content, at, marked.at_least(sequence))?,
            Stop::Fault(at, what) => {
                let stray = latest_mark(disk, folder, log_id, &content, at, later)?;
                if stray > (Position { file: sequence, offset: at }) {
                    return Err(corrupt(&path, at, what));
                }
                if at == 0 && index == 0 && sequence > 1 {
                    // Older files are deleted only after this one was durable.
                    return Err(corrupt(&path, at, what));
                }
                recovered.torn_bytes = cut(disk, folder, &path, &content, at, later)?;
                tracing::info!(path = %path.display(), offset = at, bytes = recovered.torn_bytes, what, "what lay behind the last whole group of the journal cut");
                if at == 0 {
                    recovered.next_sequence = sequence;
                } else {
                    settle(disk, &path, &content[..to_usize(at)], at, marked.at_least(sequence))?;
                    recovered.files.push(JournalFileInfo { path, bytes: at, ends });
                }
                break;
            }
        }
        let (Stop::End(bytes) | Stop::Fault(bytes, _)) = stop;
        recovered.files.push(JournalFileInfo { path, bytes, ends });
    }
    recovered.next_group = next_group.unwrap_or(1);
    Ok(recovered)
}

/// Sequences of the files in `folder`, which must not have gaps.
fn list_files(disk: &dyn Disk, folder: &Path) -> Result<Vec<u64>> {
    let entries = disk.list(folder).map_err(io_error("list", folder))?;
    let mut sequences: Vec<u64> = entries.iter().filter_map(|entry| sequence_of(&entry.name)).collect();
    sequences.sort_unstable();
    for pair in sequences.windows(2) {
        if pair[0] + 1 != pair[1] {
            let missing = path_of(folder, pair[0] + 1);
            return Err(corrupt(&missing, 0, format!("journal file {} is missing", pair[0] + 1)));
        }
    }
    Ok(sequences)
}

pub(super) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Buffer> {
    let file = disk.open(path).map_err(io_error("open journal file", path))?;
    let len = file.len().map_err(io_error("size journal file", path))?;
    // Aligned as Arrow wants it, so that messages in it can be read in place.
    let mut content = MutableBuffer::from_len_zeroed(to_usize(len));
    file.read_exact_at(&mut content, 0).map_err(io_error("read journal file", path))?;
    Ok(content.into())
}

/// Why a scan of a file stopped, and where.
#[derive(Debug)]
enum Stop {
    /// Nothing but zeros follows, or nothing at all.
    End(u64),
    /// Something that is not a valid frame.
    Fault(u64, String),
}

/// The scan of one file.
struct Scan<'a> {
    path: &'a Path,
    sequence: u64,
    content: &'a Buffer,
    log_id: u64,
    /// Sequence that the next group must have; unknown before the first file.
    next_group: Option<u64>,
    /// The highest position known to be synced.
    marked: Position,
}

impl Scan<'_> {
    fn run(&mut self, mut apply: impl FnMut(Frame<'_>) -> Result<()>) -> Result<Stop> {
        if let Err(what) = self.file_header()? {
            return Ok(Stop::Fault(0, what));
        }
        let mut at = FILE_HEADER_BYTES;
        loop {
            let Some(header) = self.content.get(at..at + FRAME_HEADER_BYTES) else {
                return Ok(if is_blank(&self.content[at..]) {
                    self.end_or_fault(at)
                } else {
                    self.fault(at, "frame header is cut short".to_owned())
                });
            };
            let header: &[u8; FRAME_HEADER_BYTES] = header.try_into().expect("the slice has this length");
            let (header, body) = match FrameHeader::decode(header, self.log_id) {
                Ok(header) => match self.body(at, &header) {
                    Ok(body) => (header, body),
                    Err(what) => return Ok(self.fault(at, what)),
                },
                Err(HeaderFault::Version(found)) => return Err(self.version(found)),
                Err(HeaderFault::Damaged(what)) => return Ok(self.fault(at, what)),
                Err(HeaderFault::Blank) if is_blank(&self.content[at..]) => return Ok(self.end_or_fault(at)),
                Err(HeaderFault::Blank) => return Ok(self.fault(at, "expected a frame, found zeros".to_owned())),
            };
            let entries = Entry::decode_all(&body)
                .map_err(|(in_body, what)| corrupt(self.path, (at + FRAME_HEADER_BYTES + in_body) as u64, what))?;
            self.next_group = Some(header.group.saturating_add(1));
            self.marked = self.marked.max(header.synced_upto);
            let frame = Frame {
                checkpoint: header.checkpoint,
                append_ms: header.append_ms,
                entries,
                path: self.path,
                offset: at as u64,
            };
            apply(frame)?;
            at += FRAME_HEADER_BYTES + body.len();
        }
    }

    /// A file that ends before its first frame never came to be.
    fn end_or_fault(&self, at: usize) -> Stop {
        if at == FILE_HEADER_BYTES { self.fault(0, "no checkpoint".to_owned()) } else { Stop::End(at as u64) }
    }

    /// A fault in the first frame is a fault of the file: it is of no use without its checkpoint.
    fn fault(&self, at: usize, what: String) -> Stop {
        if at == FILE_HEADER_BYTES {
            Stop::Fault(0, format!("checkpoint: {what}"))
        } else {
            Stop::Fault(at as u64, what)
        }
    }

    fn file_header(&mut self) -> Result<Result<(), String>> {
        let Some(header) = self.content.first_chunk::<FILE_HEADER_BYTES>() else {
            return Ok(Err("file header is cut short".to_owned()));
        };
        let header = match FileHeader::decode(header) {
            Ok(header) => header,
            Err(HeaderFault::Version(found)) => return Err(self.version(found)),
            Err(HeaderFault::Damaged(what)) => return Ok(Err(what)),
            Err(HeaderFault::Blank) => return Ok(Err("expected a file header, found zeros".to_owned())),
        };
        if header.log_id != self.log_id {
            let (expected, found) = (self.log_id, header.log_id);
            return Err(corrupt(
                self.path,
                24,
                format!("file of another log: expected id {expected:016x}, found {found:016x}"),
            ));
        }
        if header.sequence != self.sequence {
            let (expected, found) = (self.sequence, header.sequence);
            return Err(corrupt(self.path, 16, format!("file sequence: expected {expected}, found {found}")));
        }
        if self.next_group.is_some_and(|next| next != header.first_group) {
            return Ok(Err(format!("first group: expected {:?}, found {}", self.next_group, header.first_group)));
        }
        self.next_group = Some(header.first_group);
        Ok(Ok(()))
    }

    /// The frame's body, verified.
    fn body(&self, at: usize, header: &FrameHeader) -> Result<Buffer, String> {
        if self.next_group != Some(header.group) {
            return Err(format!("group sequence: expected {:?}, found {}", self.next_group, header.group));
        }
        let body_at = at + FRAME_HEADER_BYTES;
        let rest = self.content.len() - body_at;
        let body_bytes = to_usize(header.body_bytes);
        if !header.body_bytes.is_multiple_of(ALIGNMENT) {
            return Err(format!("frame body of {body_bytes} bytes, which is no multiple of {ALIGNMENT}"));
        }
        if body_bytes > rest {
            return Err(format!("frame body of {body_bytes} bytes where only {rest} are left"));
        }
        let body = self.content.slice_with_length(body_at, body_bytes);
        let crc = crc32c::crc32c(&body);
        if crc != header.body_crc {
            return Err(format!("frame body checksum: expected {:#010x}, found {crc:#010x}", header.body_crc));
        }
        Ok(body)
    }

    fn version(&self, found: u16) -> Error {
        Error::Version { path: self.path.to_owned(), expected: VERSION, found }
    }
}

impl Position {
    /// The offset in file `sequence` before which everything is synced.
    fn at_least(self, sequence: u64) -> u64 {
        if self.file == sequence { self.offset } else { 0 }
    }
}

/// The highest synced position that any valid frame header from `at` on names.
fn latest_mark(
    disk: &dyn Disk,
    folder: &Path,
    log_id: u64,
    content: &Buffer,
    at: u64,
    later: &[u64],
) -> Result<Position> {
    let mut latest = marks_in(&content[to_usize(at)..], log_id);
    for sequence in later {
        let content = read_file(disk, &path_of(folder, *sequence))?;
        latest = latest.max(marks_in(&content, log_id));
    }
    Ok(latest)
}

fn marks_in(bytes: &[u8], log_id: u64) -> Position {
    let mut latest = Position::default();
    for at in (0..bytes.len()).step_by(to_usize(ALIGNMENT)) {
        if FrameHeader::may_start(&bytes[at..])
            && let Some(header) = bytes[at..].first_chunk::<FRAME_HEADER_BYTES>()
            && let Ok(header) = FrameHeader::decode(header, log_id)
        {
            latest = latest.max(header.synced_upto);
        }
    }
    latest
}

/// A file that is not the last was complete when the next was begun; the next one's header says with which group.
fn check_continues(
    disk: &dyn Disk,
    folder: &Path,
    log_id: u64,
    path: &Path,
    stop: &Stop,
    next_group: Option<u64>,
    following: u64,
) -> Result<()> {
    let (Stop::End(at) | Stop::Fault(at, _)) = stop;
    let next_path = path_of(folder, following);
    let file = disk.open(&next_path).map_err(io_error("open journal file", &next_path))?;
    let mut header = [0; FILE_HEADER_BYTES];
    if file.read_exact_at(&mut header, 0).is_err() {
        return Ok(());
    }
    let Ok(header) = FileHeader::decode(&header) else { return Ok(()) };
    if header.log_id == log_id && Some(header.first_group) != next_group {
        let what = format!("groups up to {} are missing here, found zeros", header.first_group);
        return Err(corrupt(path, *at, what));
    }
    Ok(())
}

/// Makes durable what was read from the last file: a failed sync may have left bytes in the page cache that the disk
/// never got and that another sync alone would not write again.
fn settle(disk: &dyn Disk, path: &Path, content: &[u8], end: u64, synced: u64) -> Result<()> {
    let file = disk.open(path).map_err(io_error("open journal file", path))?;
    let from = synced.min(end);
    file.write_all_at(&[&content[to_usize(from)..to_usize(end)]], from)
        .map_err(io_error("rewrite journal file", path))?;
    file.set_len(end).map_err(io_error("truncate journal file", path))?;
    file.sync_data().map_err(io_error("sync journal file", path))
}

/// Removes everything from `at` on, later files included. Returns how many bytes that were not zero went.
fn cut(disk: &dyn Disk, folder: &Path, path: &Path, content: &Buffer, at: u64, later: &[u64]) -> Result<u64> {
    let mut removed: Vec<PathBuf> = later.iter().rev().map(|sequence| path_of(folder, *sequence)).collect();
    if at == 0 {
        removed.push(path.to_owned());
    }
    for path in &removed {
        disk.remove(path).map_err(io_error("remove journal file", path))?;
        // The last one first, one after the other, so that a power loss never leaves a gap between files.
        disk.sync_dir(folder).map_err(io_error("sync directory", folder))?;
    }
    let rest = &content[to_usize(at)..];
    Ok(rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

fn note_ends(ends: &mut HashMap<(StreamId, u32), u64>, entries: &[Entry]) {
    for entry in entries {
        if let Entry::Rows(rows) = entry {
            ends.insert((rows.stream, rows.partition), rows.base_offset + u64::from(rows.rows));
        }
    }
}

pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(super) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a file read into memory fits the address space")
}
