//! Whether a file is the one that a position was taken in.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};

/// This many bytes at the start of a file tell it from others.
const HEAD_BYTES: u64 = 4096;

/// What a file looked like when its position was committed. The start of the file decides: it stays when the file grows,
/// is renamed or copied, and changes when another file takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) inode: u64,
    head_bytes: u64,
    head_crc32c: u32,
}

impl Identity {
    /// The identity of a file that was read up to `offset`, by what was read of it.
    pub(super) fn of(file: &File, offset: u64) -> io::Result<Self> {
        let head_bytes = offset.min(HEAD_BYTES);
        Ok(Self { inode: file.metadata()?.ino(), head_bytes, head_crc32c: head_crc32c(file, head_bytes)? })
    }

    /// The identity after reading on to `offset`.
    pub(super) fn grown(self, file: &File, offset: u64) -> io::Result<Self> {
        if self.head_bytes == HEAD_BYTES { Ok(self) } else { Self::of(file, offset) }
    }

    /// Whether `file` starts as the file of this identity did, and still has the `offset` bytes that were read.
    pub(super) fn matches(&self, file: &File, offset: u64) -> io::Result<bool> {
        let is_long_enough = file.metadata()?.len() >= offset.max(self.head_bytes);
        Ok(is_long_enough && head_crc32c(file, self.head_bytes)? == self.head_crc32c)
    }
}

fn head_crc32c(file: &File, bytes: u64) -> io::Result<u32> {
    let mut head = vec![0; usize::try_from(bytes.min(HEAD_BYTES)).expect("a head is a few kilobytes")];
    file.read_exact_at(&mut head, 0)?;
    Ok(crc32c::crc32c(&head))
}
