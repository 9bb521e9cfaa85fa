//! Backup of a log that is open: holds back what would take its files away, takes the cut, copies.

use std::path::Path;

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::shared::Shared;

use super::copy::Copier;
use super::cut::Cut;
use super::gate::Turn;
use super::{BackupReport, CopyProgress};

/// The whole of the backup thread: copies the log to `dest` and answers. Ends early when the log is closed or nobody
/// waits for the answer any more.
pub(crate) fn run(
    shared: &Shared,
    dest: &Path,
    progress: impl FnMut(CopyProgress),
    reply: oneshot::Sender<Result<BackupReport>>,
) {
    let done = copy(shared, dest, progress, || reply.is_closed());
    match &done {
        Ok(BackupReport { files, bytes, .. }) => {
            tracing::info!(dest = %dest.display(), files, bytes, "backup complete");
            metrics::counter!("thermocline_log_backups_total").increment(1);
        }
        Err(error) => tracing::warn!(dest = %dest.display(), %error, "backup failed"),
    }
    // Who asked may have stopped waiting.
    let _ = reply.send(done);
}

fn copy(
    shared: &Shared,
    dest: &Path,
    mut progress: impl FnMut(CopyProgress),
    is_given_up: impl Fn() -> bool,
) -> Result<BackupReport> {
    let turn = Turn::take(shared)?;
    let disk = shared.options.disk.as_ref();
    let mut copier = Copier::begin(disk, &shared.dir, disk, dest)?;
    let mut go_on = |so_far| {
        if shared.sealer.is_closing() || is_given_up() {
            return Err(Error::Closed);
        }
        progress(so_far);
        Ok(())
    };
    let held = turn.hold_files();
    let cut = Cut::of_running(shared, &held)?;
    copier.expect(cut.bytes())?;
    copier.held_parts(&cut, &mut go_on)?;
    // Segments are many times the rest: the journal is trimmed again while they are copied.
    drop(held);
    copier.other_parts(cut, &mut go_on)
}
