//! A disk that dies at a chosen write or sync: what was written by then stays, nothing more is taken.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thermocline_log::{DirEntry, Disk, DiskFile, OsDisk};

/// Dies at the write or sync of this number.
#[derive(Debug, Clone)]
pub struct CrashDisk {
    operations_left: Arc<AtomicU64>,
}

impl CrashDisk {
    pub fn after_operations(operations: u64) -> Self {
        Self { operations_left: Arc::new(AtomicU64::new(operations)) }
    }

    pub fn is_dead(&self) -> bool {
        self.operations_left.load(Ordering::SeqCst) == 0
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead() { Err(io::Error::other("the disk is dead")) } else { Ok(()) }
    }

    fn count(&self) -> io::Result<()> {
        let left = self.operations_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(left) if left > 1 => Ok(()),
            _ => Err(io::Error::other("the disk is dead")),
        }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { disk: self.clone(), file })
    }
}

impl Disk for CrashDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        OsDisk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        OsDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.alive()?;
        Ok(self.file(OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(OsDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        OsDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        OsDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        OsDisk.lock(path)
    }
}

#[derive(Debug)]
struct CrashFile {
    disk: CrashDisk,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for CrashFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.disk.count()?;
        self.file.write_all_at(parts, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.allocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.alive()?;
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        // That something was synced is what counts here; the real disk need not be waited for.
        self.disk.count()
    }
}
