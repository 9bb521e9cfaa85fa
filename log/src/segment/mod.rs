//! Segments: the sealed rows of a partition, columnar files in offset order.
//!
//! Promise: a segment under its final name is complete and durable; its name says what it holds and its checksum is
//! verified before any row of it is handed out.

mod blocks;
mod buffers;
mod column;
mod content;
mod encoding;
pub(crate) mod merge;
mod name;
mod read;
mod row_groups;
mod selection;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::disk::Disk;
use crate::error::Result;
use crate::segment::content::Content;

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
    /// Checksums of its blocks, once the whole file was written or checked.
    blocks: OnceLock<Vec<u32>>,
}

impl Segment {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, name: SegmentName, bytes: u64) -> Self {
        Self { path, name, bytes, disk, doomed: AtomicBool::new(false), blocks: OnceLock::new() }
    }

    /// Removes the file once nobody reads it any more.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }

    /// Checks the whole file against its checksum.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<()> {
        Content::check(self)
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
