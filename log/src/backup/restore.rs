//! Makes a data directory of a backup, every byte checked.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, OsDisk};
use crate::error::{Error, Result, corrupt, io_error};
use crate::examine::Hold;
use crate::log::LOCK_FILE;
use crate::open::IDENTITY_FILE;
use crate::read_only::ReadOnlyDisk;
use crate::verify::Damage;

use super::copy::{CHUNK_BYTES, Copier, check_crc};
use super::manifest::{self, Listed, Manifest};
use super::{BackupReport, CopyProgress};

/// Whether `dir` holds a backup that was completed.
#[must_use]
pub fn is_backup(dir: impl AsRef<Path>) -> bool {
    dir.as_ref().join(manifest::FILE).exists()
}

/// Copies the backup in `backup` to the data directory `dir`, which must be empty or not exist, and checks every byte on
/// the way; then a log can be opened there. Where the backup is damaged nothing stays of the copy.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Corrupt`] with the first damaged file ([`verify_backup`] names all),
/// [`Error::NotEmpty`], [`Error::Version`], [`Error::Locked`], [`Error::Full`], or an I/O error.
pub fn restore(
    backup: impl AsRef<Path>,
    dir: impl AsRef<Path>,
    progress: impl FnMut(CopyProgress),
) -> Result<BackupReport> {
    restore_on(&ReadOnlyDisk, backup.as_ref(), &OsDisk, dir.as_ref(), progress)
}

/// [`restore`] from one disk to another.
pub(crate) fn restore_on(
    from: &dyn Disk,
    backup: &Path,
    to: &dyn Disk,
    dir: &Path,
    mut progress: impl FnMut(CopyProgress),
) -> Result<BackupReport> {
    let _hold = hold(from, backup)?;
    let manifest = Manifest::read(from, backup)?;
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let mut copier = Copier::begin(from, backup, to, dir)?;
    copier.expect(bytes)?;
    let mut go_on = |so_far| {
        progress(so_far);
        Ok(())
    };
    // The identity last: without it the directory does not open, should this be interrupted.
    let (identity, others): (Vec<_>, Vec<_>) = manifest.files.iter().partition(|file| file.path == IDENTITY_FILE);
    for file in others {
        open(from, backup, file)?;
        copier.file(&file.path, file.bytes, Some(file.crc), &mut go_on)?;
    }
    copier.sync_folders()?;
    for file in identity {
        open(from, backup, file)?;
        copier.file(&file.path, file.bytes, Some(file.crc), &mut go_on)?;
    }
    copier.finish()?;
    Ok(BackupReport { files: manifest.files.len() as u64, bytes, taken_ms: manifest.taken_ms })
}

/// Checks every file of a backup against its list; returns all damage, in the list's order. Changes nothing.
///
/// # Errors
/// [`Error::NoBackup`], [`Error::Version`], [`Error::Locked`] while the backup is being made, or an I/O error.
pub fn verify_backup(backup: impl AsRef<Path>) -> Result<Vec<Damage>> {
    let backup = backup.as_ref();
    let _hold = hold(&ReadOnlyDisk, backup)?;
    let manifest = match Manifest::read(&ReadOnlyDisk, backup) {
        Err(Error::Corrupt { path, offset, what }) => return Ok(vec![Damage { path, offset, what }]),
        manifest => manifest?,
    };
    let (mut found, mut buffer) = (Vec::new(), vec![0; CHUNK_BYTES]);
    for file in &manifest.files {
        match check(backup, file, &mut buffer) {
            Err(Error::Corrupt { path, offset, what }) => found.push(Damage { path, offset, what }),
            checked => checked?,
        }
    }
    Ok(found)
}

/// Keeps processes from opening the backup as a log, or from still writing it.
fn hold(disk: &dyn Disk, backup: &Path) -> Result<Hold> {
    let path = backup.join(LOCK_FILE);
    let lock = disk.lock(&path).map_err(io_error("lock", &path))?;
    lock.ok_or_else(|| Error::Locked { path: backup.to_owned() })
}

/// A file of the backup, which must be there and have its size.
fn open(disk: &dyn Disk, backup: &Path, listed: &Listed) -> Result<Arc<dyn DiskFile>> {
    let path = backup.join(&listed.path);
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt(&path, 0, "the file is missing")),
        file => file.map_err(io_error("open", &path))?,
    };
    let (expected, found) = (listed.bytes, file.len().map_err(io_error("size", &path))?);
    if found != expected {
        return Err(corrupt(&path, found.min(expected), format!("size: expected {expected} bytes, found {found}")));
    }
    Ok(file)
}

fn check(backup: &Path, listed: &Listed, buffer: &mut [u8]) -> Result<()> {
    let path = backup.join(&listed.path);
    let file = open(&ReadOnlyDisk, backup, listed)?;
    let (mut at, mut found) = (0, 0);
    while at < listed.bytes {
        let chunk = usize::try_from(listed.bytes - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        file.read_exact_at(&mut buffer[..chunk], at).map_err(io_error("read", &path))?;
        found = crc32c::crc32c_append(found, &buffer[..chunk]);
        at += chunk as u64;
    }
    check_crc(&path, listed.crc, found)
}
