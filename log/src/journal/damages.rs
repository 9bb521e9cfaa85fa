//! Finds every damaged place of the journal, where recovery stops at the first.

use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{Error, Result, io_error};
use crate::journal::file::{path_of, sequence_of};
use crate::journal::format::{
    ALIGNMENT, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, HeaderFault, Position, VERSION,
};
use crate::journal::recovery::{is_blank, read_file, to_usize};
use crate::verify::Damage;

/// All damage of the journal in `folder` that checksums tell. A place counts when any frame's mark lies behind it: only
/// then it had been synced.
///
/// # Errors
/// A file of another version, or one that cannot be read.
pub(crate) fn damages(disk: &dyn Disk, folder: &Path, log_id: u64) -> Result<Vec<Damage>> {
    let entries = disk.list(folder).map_err(io_error("list", folder))?;
    let mut sequences: Vec<u64> = entries.iter().filter_map(|entry| sequence_of(&entry.name)).collect();
    sequences.sort_unstable();
    let mut walk = Walk { log_id, marked: Position::default(), faults: Vec::new() };
    for sequence in sequences {
        let path = path_of(folder, sequence);
        let content = read_file(disk, &path)?;
        walk.file(&path, sequence, &content)?;
    }
    let marked = walk.marked;
    let synced = walk.faults.into_iter().filter(|(at, _)| *at < marked);
    Ok(synced.map(|(_, damage)| damage).collect())
}

struct Walk {
    log_id: u64,
    /// The highest position that any frame names as synced.
    marked: Position,
    faults: Vec<(Position, Damage)>,
}

impl Walk {
    fn file(&mut self, path: &Path, sequence: u64, content: &[u8]) -> Result<()> {
        let fault = |walk: &mut Self, at: usize, what: String| {
            let offset = at as u64;
            walk.faults.push((Position { file: sequence, offset }, Damage { path: path.to_owned(), offset, what }));
        };
        match content.first_chunk::<FILE_HEADER_BYTES>().map(FileHeader::decode) {
            Some(Ok(_)) => {}
            Some(Err(HeaderFault::Version(found))) => return Err(version(path, found)),
            Some(Err(HeaderFault::Damaged(what))) => fault(self, 0, what),
            Some(Err(HeaderFault::Blank)) => fault(self, 0, "expected a file header, found zeros".to_owned()),
            None => fault(self, 0, "file header is cut short".to_owned()),
        }
        let mut at = FILE_HEADER_BYTES;
        while at < content.len() && !is_blank(&content[at..]) {
            match self.frame(&content[at..]) {
                Ok(bytes) => at += bytes,
                Err(HeaderFault::Version(found)) => return Err(version(path, found)),
                Err(HeaderFault::Blank) => {
                    fault(self, at, "expected a frame, found zeros".to_owned());
                    at = self.next_frame(content, at);
                }
                Err(HeaderFault::Damaged(what)) => {
                    fault(self, at, what);
                    at = self.next_frame(content, at);
                }
            }
        }
        Ok(())
    }

    /// Checks the frame that `bytes` begin with; returns its length.
    fn frame(&mut self, bytes: &[u8]) -> Result<usize, HeaderFault> {
        let damaged = |what: String| Err(HeaderFault::Damaged(what));
        let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return damaged("frame header is cut short".to_owned());
        };
        let header = FrameHeader::decode(header, self.log_id)?;
        self.marked = self.marked.max(header.synced_upto);
        let rest = &bytes[FRAME_HEADER_BYTES..];
        let Some(body) = rest.get(..to_usize(header.body_bytes)) else {
            return damaged(format!("frame body of {} bytes where only {} are left", header.body_bytes, rest.len()));
        };
        let crc = crc32c::crc32c(body);
        if crc != header.body_crc {
            return damaged(format!("frame body checksum: expected {:#010x}, found {crc:#010x}", header.body_crc));
        }
        Ok(FRAME_HEADER_BYTES + body.len())
    }

    /// Where the next valid frame header behind `at` is, or the end of the file.
    fn next_frame(&self, content: &[u8], at: usize) -> usize {
        let step = to_usize(ALIGNMENT);
        let is_frame = |at: &usize| {
            FrameHeader::may_start(&content[*at..])
                && content[*at..]
                    .first_chunk::<FRAME_HEADER_BYTES>()
                    .is_some_and(|header| FrameHeader::decode(header, self.log_id).is_ok())
        };
        (at + step..content.len()).step_by(step).find(is_frame).unwrap_or(content.len())
    }
}

fn version(path: &Path, found: u16) -> Error {
    Error::Version { path: PathBuf::from(path), expected: VERSION, found }
}
