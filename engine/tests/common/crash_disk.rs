//! A disk that dies at a chosen write or sync: what was written by then stays, nothing more is taken.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use thermocline_log::{DiskFile, DiskHooks, DiskOp};

/// Dies at the write or sync of this number.
#[derive(Debug)]
pub struct CrashDisk {
    operations_left: AtomicU64,
}

impl CrashDisk {
    pub fn after_operations(operations: u64) -> Self {
        Self { operations_left: AtomicU64::new(operations) }
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
}

impl DiskHooks for CrashDisk {
    fn before(&self, op: DiskOp, _: &Path) -> io::Result<()> {
        match op {
            DiskOp::Write | DiskOp::Sync => self.count(),
            DiskOp::List | DiskOp::Open | DiskOp::Lock | DiskOp::Len | DiskOp::Read => Ok(()),
            _ => self.alive(),
        }
    }

    /// That something was synced is what counts here; the real disk need not be waited for.
    fn sync(&self, _: &dyn DiskFile, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
