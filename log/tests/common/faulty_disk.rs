//! The real file system with faults on demand: a full disk, a failing sync, segments that cannot be written for a
//! while. Syncs are skipped where a test needs many opens and no durability.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part of it

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use thermocline_log::{Disk, DiskFile, DiskHooks, DiskSpace, HookedDisk, OsDisk};

#[derive(Debug, Default)]
pub struct Faults {
    /// Bytes that may still be written or allocated; no limit when negative.
    space: AtomicI64,
    pub fail_syncs: AtomicBool,
    pub skip_syncs: AtomicBool,
    /// Whether preallocation does nothing, as on some file systems.
    pub no_allocation: AtomicBool,
    /// A directory, and the bytes that the files in it may take; only told, not enforced.
    pub quota: Mutex<Option<(PathBuf, u64)>>,
    segments_held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    pub fn none() -> Arc<Self> {
        let faults = Self::default();
        faults.set_space(None);
        Arc::new(faults)
    }

    pub fn set_space(&self, bytes: Option<i64>) {
        self.space.store(bytes.unwrap_or(i64::MIN), Ordering::SeqCst);
    }

    /// While held, creating a segment waits.
    pub fn hold_segments(&self, hold: bool) {
        *self.segments_held.lock().unwrap() = hold;
        self.released.notify_all();
    }

    fn take_space(&self, bytes: usize) -> usize {
        let space = self.space.load(Ordering::SeqCst);
        if space < 0 {
            return bytes;
        }
        let taken = bytes.min(usize::try_from(space).unwrap());
        self.space.fetch_sub(i64::try_from(taken).unwrap(), Ordering::SeqCst);
        taken
    }

    fn sync_unless_told(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.skip_syncs.load(Ordering::SeqCst) { Ok(()) } else { sync() }
    }
}

/// The disk that these faults befall.
pub fn faulty_disk(faults: &Arc<Faults>) -> Arc<dyn Disk> {
    HookedDisk::new(faults)
}

impl DiskHooks for Faults {
    fn write(&self, file: &dyn DiskFile, path: &Path, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
        if path.components().any(|part| part.as_os_str() == "segments") {
            let held = self.segments_held.lock().unwrap();
            drop(self.released.wait_while(held, |held| *held).unwrap());
        }
        for part in parts {
            let fits = self.take_space(part.len());
            file.write_all_at(&[&part[..fits]], offset)?;
            if fits < part.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn allocate(&self, file: &dyn DiskFile, _: &Path, bytes: u64) -> io::Result<()> {
        if self.no_allocation.load(Ordering::SeqCst) {
            return Ok(());
        }
        // What is allocated is charged when it is written; it only has to be there.
        let space = self.space.load(Ordering::SeqCst);
        if space >= 0 && u64::try_from(space).unwrap() < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.allocate(bytes)
    }

    fn sync(&self, file: &dyn DiskFile, _: &Path) -> io::Result<()> {
        self.sync_unless_told(|| file.sync_data())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_unless_told(|| OsDisk.sync_dir(path))
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let Some((dir, bytes)) = self.quota.lock().unwrap().clone() else { return Ok(DiskSpace::UNKNOWN) };
        Ok(DiskSpace { available_bytes: bytes.saturating_sub(used_bytes(&dir)), total_bytes: u64::MAX })
    }
}

/// Bytes of all files below `dir`, while others write and remove them.
pub fn used_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => used_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
