//! Backup and restore: a copy of the log at one durable instant, in which every byte is checked.
//!
//! Promise: a directory that has the file `BACKUP` is complete, and opens as the log was at that instant; what is not
//! finished has no such file and no `LOG`, so that neither [`restore`] nor opening the log takes it for one.

mod copy;
mod cut;
mod gate;
mod manifest;
mod restore;
mod running;

use std::path::Path;

use crate::disk::OsDisk;
use crate::error::Result;
use crate::examine;
use crate::read_only::ReadOnlyDisk;

use copy::Copier;
use cut::Cut;

pub(crate) use gate::{BackupGate, remove_state_file};
#[cfg(test)]
pub(crate) use restore::restore_on;
pub use restore::{is_backup, restore, verify_backup};
pub(crate) use running::run;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes copied so far.
    pub copied_bytes: u64,
    /// Bytes to copy in all.
    pub total_bytes: u64,
}

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupReport {
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The instant, in milliseconds since 1970-01-01 UTC.
    pub taken_ms: i64,
}

/// Copies the log in `dir`, which no process has open, into the directory `dest`, which must be empty or not exist.
/// Changes nothing in `dir`, which cannot be opened meanwhile. For a log that is open there is
/// [`Log::backup`](crate::Log::backup).
///
/// # Errors
/// [`Error::Locked`](crate::Error::Locked) when a process has it open, [`Error::Corrupt`](crate::Error::Corrupt) when it
/// is damaged, [`Error::NotEmpty`](crate::Error::NotEmpty), [`Error::Full`](crate::Error::Full), or an I/O error.
pub fn backup(
    dir: impl AsRef<Path>,
    dest: impl AsRef<Path>,
    mut progress: impl FnMut(CopyProgress),
) -> Result<BackupReport> {
    let (dir, dest) = (dir.as_ref(), dest.as_ref());
    let _hold = examine::hold(dir)?;
    let cut = Cut::of_closed(dir, &examine::recover(dir)?)?;
    Copier::begin(&ReadOnlyDisk, dir, &OsDisk, dest)?.backup(cut, &mut |so_far| {
        progress(so_far);
        Ok(())
    })
}
