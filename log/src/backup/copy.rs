//! Copies files into an empty directory, takes their checksums on the way and makes them durable. What does not come
//! to its end is removed again: half a copy only takes space.

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{Error, Result, corrupt, io_error};
use crate::log::LOCK_FILE;

use super::cut::{Cut, Part};
use super::manifest::{self, Listed, Manifest};
use super::{BackupReport, CopyProgress};

/// Bytes copied at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Hears how far a copy is, and ends it with an error.
pub(super) type Progress<'a> = &'a mut dyn FnMut(CopyProgress) -> Result<()>;

/// A copy being made.
pub(super) struct Copier<'a> {
    from_disk: &'a dyn Disk,
    from: &'a Path,
    to_disk: &'a dyn Disk,
    to: &'a Path,
    copied: Vec<Listed>,
    /// Folders below `to` that were made.
    folders: BTreeSet<PathBuf>,
    progress: CopyProgress,
    buffer: Vec<u8>,
    complete: bool,
    /// Nobody opens the directory before the copy is complete.
    _lock: Box<dyn Any + Send + Sync>,
}

impl<'a> Copier<'a> {
    /// Takes the directory `to` for a copy of `from`.
    pub(super) fn begin(from_disk: &'a dyn Disk, from: &'a Path, to_disk: &'a dyn Disk, to: &'a Path) -> Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(io_error("resolve", path));
        if absolute(to)?.starts_with(absolute(from)?) {
            return Err(Error::InsideItself { dir: from.to_owned(), path: to.to_owned() });
        }
        // Looked at before anything is written into a directory that is somebody else's.
        check_empty(to_disk, to)?;
        to_disk.create_dir_all(to).map_err(io_error("create directory", to))?;
        let lock_path = to.join(LOCK_FILE);
        let lock = to_disk.lock(&lock_path).map_err(io_error("lock", &lock_path))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: to.to_owned() })?;
        // Another copy may have been there in between.
        check_empty(to_disk, to)?;
        Ok(Self {
            from_disk,
            from,
            to_disk,
            to,
            copied: Vec::new(),
            folders: BTreeSet::new(),
            progress: CopyProgress { copied_bytes: 0, total_bytes: 0 },
            buffer: vec![0; CHUNK_BYTES],
            complete: false,
            _lock: lock,
        })
    }

    /// So much is going to be copied. A disk that has not the space for it is not filled up first.
    pub(super) fn expect(&mut self, bytes: u64) -> Result<()> {
        self.progress.total_bytes = bytes;
        let space = self.to_disk.space(self.to).map_err(io_error("look for space in", self.to))?;
        if space.available_bytes < bytes {
            return Err(Error::Full { path: self.to.to_owned() });
        }
        Ok(())
    }

    /// Copies the whole cut and writes the manifest.
    pub(super) fn backup(mut self, cut: Cut, progress: Progress<'_>) -> Result<BackupReport> {
        self.expect(cut.bytes())?;
        self.held_parts(&cut, progress)?;
        self.other_parts(cut, progress)
    }

    /// Copies what has to be held meanwhile: journal and state files.
    pub(super) fn held_parts(&mut self, cut: &Cut, progress: Progress<'_>) -> Result<()> {
        for part in &cut.journal {
            self.copy(part, progress)?;
        }
        for part in &cut.state {
            self.copy(part, progress)?;
        }
        Ok(())
    }

    /// Copies what stays by itself, each segment let go when it is copied; then the identity, then the manifest.
    pub(super) fn other_parts(mut self, cut: Cut, progress: Progress<'_>) -> Result<BackupReport> {
        for part in cut.segments {
            self.copy(&part, progress)?;
        }
        self.sync_folders()?;
        self.copy(&cut.identity, progress)?;
        self.sync_folders()?;
        let manifest = Manifest { taken_ms: cut.taken_ms, files: std::mem::take(&mut self.copied) };
        let written = self.write_manifest(&manifest);
        let report = BackupReport {
            files: manifest.files.len() as u64,
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            taken_ms: cut.taken_ms,
        };
        self.copied = manifest.files;
        written?;
        self.complete = true;
        Ok(report)
    }

    fn copy(&mut self, part: &Part, progress: Progress<'_>) -> Result<()> {
        let below = part.path.strip_prefix(self.from).expect("parts are files of the directory that is copied");
        let path = below.to_str().filter(|path| !path.contains('\n'));
        let path = path.ok_or_else(|| {
            let what = "expected a file name in UTF-8 without line breaks";
            io_error("copy", &part.path)(io::Error::new(io::ErrorKind::InvalidFilename, what))
        })?;
        self.file(path, part.bytes, part.crc, progress)
    }

    /// Copies the first `bytes` of a file, given relative to the directories, and makes the copy's content durable.
    pub(super) fn file(&mut self, path: &str, bytes: u64, crc: Option<u32>, progress: Progress<'_>) -> Result<()> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        let source = self.from_disk.open(&from).map_err(io_error("open", &from))?;
        self.make_folders(path)?;
        let copy = self.to_disk.create(&to).map_err(io_error("create", &to))?;
        // From here on there is a file to remove when something fails.
        self.copied.push(Listed { path: path.to_owned(), bytes, crc: 0 });
        let (mut at, mut found) = (0, 0);
        while at < bytes {
            let chunk = usize::try_from(bytes - at).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES));
            let chunk = &mut self.buffer[..chunk];
            source.read_exact_at(chunk, at).map_err(io_error("read", &from))?;
            found = crc32c::crc32c_append(found, chunk);
            copy.write_all_at(&[chunk], at).map_err(io_error("write", &to))?;
            at += chunk.len() as u64;
            self.progress.copied_bytes += chunk.len() as u64;
            progress(self.progress)?;
        }
        crc.map_or(Ok(()), |expected| check_crc(&from, expected, found))?;
        copy.sync_data().map_err(io_error("sync", &to))?;
        let listed = self.copied.last_mut().expect("it was pushed above");
        listed.crc = found;
        Ok(())
    }

    fn make_folders(&mut self, path: &str) -> Result<()> {
        let Some(folder) = Path::new(path).parent().filter(|folder| !self.folders.contains(*folder)) else {
            return Ok(());
        };
        let made = self.to.join(folder);
        self.to_disk.create_dir_all(&made).map_err(io_error("create directory", &made))?;
        let below = folder.ancestors().filter(|folder| !folder.as_os_str().is_empty());
        self.folders.extend(below.map(Path::to_owned));
        Ok(())
    }

    /// Makes the entries of all folders durable, those above the copy included: any of them may be new.
    pub(super) fn sync_folders(&self) -> Result<()> {
        let below = self.folders.iter().rev().map(|folder| self.to.join(folder));
        for folder in below.chain([self.to.to_owned()]) {
            self.to_disk.sync_dir(&folder).map_err(io_error("sync directory", &folder))?;
        }
        let to = std::path::absolute(self.to).map_err(io_error("resolve", self.to))?;
        for folder in to.ancestors().skip(1) {
            match self.to_disk.sync_dir(folder) {
                // A folder that may not be read was not made just now.
                Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {}
                synced => synced.map_err(io_error("sync directory", folder))?,
            }
        }
        Ok(())
    }

    /// Makes the copy durable as a whole; it stays.
    pub(super) fn finish(mut self) -> Result<()> {
        self.sync_folders()?;
        self.complete = true;
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let (path, temporary) = (self.to.join(manifest::FILE), self.to.join(temporary_manifest()));
        let file = self.to_disk.create(&temporary).map_err(io_error("create", &temporary))?;
        file.write_all_at(&[manifest.encode().as_bytes()], 0).map_err(io_error("write", &temporary))?;
        file.sync_data().map_err(io_error("sync", &temporary))?;
        self.to_disk.rename(&temporary, &path).map_err(io_error("rename", &temporary))?;
        self.to_disk.sync_dir(self.to).map_err(io_error("sync directory", self.to))
    }
}

impl Drop for Copier<'_> {
    /// Best effort: what stays is not taken for a backup or a log.
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        // The identity and the manifest first: what is left is never taken for a whole.
        for name in [manifest::FILE.to_owned(), temporary_manifest()] {
            let _ = self.to_disk.remove(&self.to.join(name));
        }
        for file in self.copied.iter().rev() {
            let _ = self.to_disk.remove(&self.to.join(&file.path));
        }
        for folder in self.folders.iter().rev() {
            let _ = self.to_disk.remove_dir(&self.to.join(folder));
        }
    }
}

/// Names a file whose checksum is not what it should be.
pub(super) fn check_crc(path: &Path, expected: u32, found: u32) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(corrupt(path, 0, format!("checksum of the file: expected {expected:08x}, found {found:08x}")))
}

fn temporary_manifest() -> String {
    format!("{}.tmp", manifest::FILE)
}

fn check_empty(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let entries = disk.list(dir).map_err(io_error("list", dir))?;
    match entries.into_iter().find(|entry| entry.name != LOCK_FILE) {
        Some(found) => Err(Error::NotEmpty { path: dir.to_owned(), found: found.name }),
        None => Ok(()),
    }
}
