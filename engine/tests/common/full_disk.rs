//! A disk that is full after so many more writes, until there is space again.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use thermocline_log::{DiskHooks, DiskOp};

/// The writes that fit.
#[derive(Debug)]
pub struct FullDisk {
    writes_left: AtomicI64,
    refused: AtomicU64,
}

impl Default for FullDisk {
    fn default() -> Self {
        Self { writes_left: AtomicI64::new(i64::MAX), refused: AtomicU64::new(0) }
    }
}

impl FullDisk {
    pub fn full_after(&self, writes: i64) {
        self.writes_left.store(writes, Ordering::SeqCst);
    }

    pub fn free(&self) {
        self.full_after(i64::MAX);
    }

    /// Writes that found no space.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

impl DiskHooks for FullDisk {
    fn before(&self, op: DiskOp, _: &Path) -> io::Result<()> {
        if op != DiskOp::Write || self.writes_left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(io::ErrorKind::StorageFull.into())
    }
}
