//! Looks at a directory that no process has open, without changing a byte of it.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::subscriber::NoSubscriber;

use crate::disk::Disk;
use crate::error::{Error, Result, io_error};
use crate::log::LOCK_FILE;
use crate::open::{self, IDENTITY_FILE, Opened};
use crate::options::LogOptions;
use crate::read_only::ReadOnlyDisk;
use crate::surroundings::draw_log_id;

/// Keeps processes from opening the directory while it is looked at.
pub(crate) type Hold = Box<dyn Any + Send + Sync>;

/// Holds `dir`, which must be a log's.
pub(crate) fn hold(dir: &Path) -> Result<Hold> {
    if !dir.join(IDENTITY_FILE).exists() && !dir.join(crate::journal::FOLDER).exists() {
        let missing = io::Error::new(io::ErrorKind::NotFound, "expected a data directory, found no log in it");
        return Err(io_error("open", dir)(missing));
    }
    let path = dir.join(LOCK_FILE);
    let lock = ReadOnlyDisk.lock(&path).map_err(io_error("lock", &path))?;
    lock.ok_or_else(|| Error::Locked { path: dir.to_owned() })
}

/// What opening the held directory would find.
pub(crate) fn recover(dir: &Path) -> Result<Opened> {
    // Whatever the log's bounds are, all that is there is counted.
    let unbounded = LogOptions { idempotency_keys: usize::MAX, producers: usize::MAX, ..LogOptions::default() };
    let options = LogOptions { disk: Arc::new(ReadOnlyDisk), ..unbounded };
    // Recovery logs what it cuts and removes; here it does neither.
    tracing::subscriber::with_default(NoSubscriber::default(), || open::open(dir, &options, draw_log_id))
}
