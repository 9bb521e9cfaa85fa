//! What keeps a running backup and the rest of the log out of each other's way: one backup at a time, nothing that it
//! still needs is removed, and the directory is not released before it has ended.

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result, io_error};
use crate::shared::Shared;
use crate::state_file;

/// Whether a backup is under way and what it holds.
#[derive(Debug, Default)]
pub(crate) struct BackupGate {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// Whether the files of the state folder have to stay.
    state_files_held: bool,
    closed: bool,
}

impl BackupGate {
    /// No backup begins any more; returns once the one under way, which has been told, has ended.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        while state.running {
            self.ended.wait(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The backup under way; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Shared);

impl<'a> Turn<'a> {
    pub(super) fn take(shared: &'a Shared) -> Result<Self> {
        let mut state = shared.backup.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        if state.running {
            return Err(Error::BackupRunning);
        }
        state.running = true;
        Ok(Self(shared))
    }

    /// Keeps every journal and state file until the hold is dropped.
    pub(super) fn hold_files(&self) -> Hold<'_> {
        self.0.journal.pin(true);
        self.0.backup.lock().state_files_held = true;
        Hold(self.0)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.backup.lock().running = false;
        self.0.backup.ended.notify_all();
    }
}

/// Journal and state files stay while this lives.
#[derive(Debug)]
pub(super) struct Hold<'a>(&'a Shared);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.backup.lock().state_files_held = false;
        self.0.journal.pin(false);
        // There may be journal files to remove.
        self.0.sealer.notify();
    }
}

/// Removes a file of the state folder; false when a backup holds it.
pub(crate) fn remove_state_file(shared: &Shared, name: &str) -> Result<bool> {
    let path = state_file::path_of(shared, name)?;
    // Under the lock, so that a backup that begins sees the file either gone or staying.
    let state = shared.backup.lock();
    if state.state_files_held {
        return Ok(false);
    }
    match shared.options.disk.remove(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", &path)(error)),
        _ => Ok(true),
    }
}
