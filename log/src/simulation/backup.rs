//! Backups taken in the middle of everything else: what was completed outlives the power and opens as the log was at one
//! instant between the backup's beginning and its end.

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use crate::backup;
use crate::error::Error;
use crate::simulation::check;
use crate::simulation::inode::Survival;
use crate::simulation::model::Instant;
use crate::simulation::world::World;

impl World {
    /// Copies the log; the writer, the sealer and readers go on in the middle of the copy.
    pub(super) fn back_up(&self) {
        let Some(log) = self.log() else { return };
        self.observe();
        let begin = self.model.borrow().instant();
        let dest = PathBuf::from(format!("/data/backup-{}", self.machine.operations()));
        self.trace(|| format!("backup to {}", dest.display()));
        let failures = self.machine.failures();
        let (reply, mut answer) = oneshot::channel();
        backup::run(log.shared(), &dest, |_| {}, reply);
        self.observe();
        match answer.try_recv().expect("a backup answers at its end") {
            Ok(_) => self.check_backup(&dest, &begin),
            Err(Error::Full { .. }) if self.machine.is_limited() => {}
            Err(_) if self.has_failed_since(failures) => {}
            Err(error) => self.fail(&format!("a backup failed for no reason: {error}")),
        }
    }

    fn check_backup(&self, dest: &Path, begin: &Instant) {
        self.aside(|| {
            let other = self.machine.fork();
            other.lose_power(Survival::NOTHING);
            let (log, _writer) = match self.open_in(&other, dest) {
                Ok(opened) => opened,
                Err(error) => self.fail(&format!("the backup does not open: {error}")),
            };
            if let Err(wrong) = check::compare_any(&log, &self.model.borrow().since(begin)) {
                self.fail(&format!("the backup is the log at no instant: {wrong:#?}"));
            }
        });
    }
}
