//! Segments: the sealed rows of a partition, columnar files in offset order.
//!
//! Promise: a segment under its final name is complete and durable; its name says what it holds and its checksum is
//! verified before any row of it is handed out.

mod column;
mod encoding;
pub(crate) mod merge;
mod name;
mod read;
mod row_groups;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::{Result, corrupt, io_error};

pub(crate) use name::{SegmentName, is_temporary};
pub(crate) use read::{SegmentReader, Wanted};
pub(crate) use write::{SegmentWriter, check_schema, create_folder};

/// Folder of all segments in the data directory.
pub(crate) const FOLDER: &str = "segments";

/// Folder of a partition's segments.
pub(crate) fn folder_of(dir: &Path, stream: &str, partition: u32) -> PathBuf {
    dir.join(FOLDER).join(stream).join(partition.to_string())
}

/// One segment file. Shared by all who read it; a segment that was replaced or removed by retention leaves the disk
/// when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub name: SegmentName,
    pub bytes: u64,
    disk: Arc<dyn Disk>,
    doomed: AtomicBool,
}

impl Segment {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, name: SegmentName, bytes: u64) -> Self {
        Self { path, name, bytes, disk, doomed: AtomicBool::new(false) }
    }

    /// Removes the file once nobody reads it any more.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// The whole file, its checksum verified.
    pub(crate) fn load(&self) -> Result<Bytes> {
        let file = self.disk.open(&self.path).map_err(io_error("open segment", &self.path))?;
        let len = file.len().map_err(io_error("size segment", &self.path))?;
        if len != self.bytes {
            return Err(corrupt(&self.path, len, format!("segment size: expected {} bytes, found {len}", self.bytes)));
        }
        let mut content = vec![0; usize::try_from(len).expect("a segment fits the address space")];
        file.read_exact_at(&mut content, 0).map_err(io_error("read segment", &self.path))?;
        let crc = crc32c::crc32c(&content);
        if crc != self.name.crc {
            let expected = self.name.crc;
            return Err(corrupt(&self.path, 0, format!("segment checksum: expected {expected:08x}, found {crc:08x}")));
        }
        Ok(content.into())
    }
}

impl Segment {
    /// Checks the file against its checksum.
    pub(crate) fn verify(&self) -> Result<()> {
        self.load().map(|_| ())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::Acquire)
            && let Err(error) = self.disk.remove(&self.path)
        {
            // Opening the log removes it, so this costs space only.
            tracing::warn!(path = %self.path.display(), %error, "segment not removed");
        }
    }
}

#[cfg(test)]
mod row_groups_tests;
#[cfg(test)]
mod tests;
