//! Journal files are used again: one whose rows are all sealed is kept as the spare, and the next file is written over it.
//! Its blocks are on the disk already, so a sync writes data alone, where one into blocks that were only set aside has
//! the file system note besides that they were written: half of the time of a sync of 50 KiB.
//!
//! What holds, so that old frames are never taken for new ones, by this build or an older one:
//!
//! - A file is written over only when it is durable that it has its old name no more, and has its new name only when
//!   its header and its checkpoint are durable.
//! - Old frames have lower group sequences than any new one, and name older files as synced.
//! - Only the last file may hold old bytes behind its last frame: it is cut there, for good, before there is a next
//!   one. To recovery they are what a torn write leaves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Result, io_error};

/// Name of the file kept to be written over. What is in it means nothing.
const SPARE: &str = "spare";
/// Name of the next journal file while it is made. What is in it means nothing either.
const NEXT: &str = "next";

pub(super) fn next_path(folder: &Path) -> PathBuf {
    folder.join(NEXT)
}

/// The file to make the next journal file of, under its name for that time: the spare, or else a new one. Nothing in
/// it counts.
pub(super) fn take(disk: &dyn Disk, folder: &Path) -> Result<Arc<dyn DiskFile>> {
    let next = next_path(folder);
    match disk.rename(&folder.join(SPARE), &next) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return disk.create(&next).map_err(io_error("create journal file", &next));
        }
        Err(error) => return Err(io_error("rename spare journal file", &next)(error)),
    }
    // Before a byte is written: after a power loss its oldest name could be there again.
    disk.sync_dir(folder).map_err(io_error("sync directory", folder))?;
    disk.open(&next).map_err(io_error("open journal file", &next))
}

/// Takes the journal file at `path` away and keeps it as the spare, in place of one that is kept already.
pub(crate) fn keep(disk: &dyn Disk, folder: &Path, path: &Path) -> Result<()> {
    gone(disk.rename(path, &folder.join(SPARE))).map_err(io_error("keep journal file", path))
}

/// Takes the journal file at `path` away.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    gone(disk.remove(path)).map_err(io_error("remove journal file", path))
}

/// Gives up the spare, if there is one, for its space.
pub(crate) fn discard(disk: &dyn Disk, folder: &Path) -> Result<()> {
    remove(disk, &folder.join(SPARE))
}

/// It may be gone by an earlier attempt whose sync failed.
pub(super) fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
