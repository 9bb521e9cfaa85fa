//! Backups taken in the middle of everything else: what was completed outlives the power and opens as the log was at one
//! instant between the backup's beginning and its end.

use std::path::{Path, PathBuf};

use tokio::sync::oneshot;

use crate::backup;
use crate::error::Error;
use crate::log::Log;
use crate::simulation::Kind;
use crate::simulation::check;
use crate::simulation::inode::Survival;
use crate::simulation::machine::{Machine, Op};
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
            self.check_not_ahead(&log);
        });
        self.aside(|| self.check_restored(dest, begin));
    }

    /// A backup holds nothing that the log itself could still lose.
    fn check_not_ahead(&self, backup: &Log) {
        if self.machine.is_down() {
            return;
        }
        let other = self.machine.fork();
        other.lose_power(Survival::NOTHING);
        let (log, _writer) = self.open_on(&other).unwrap_or_else(|error| self.fail(&format!("does not open: {error}")));
        for stream in backup.streams() {
            for number in 0..stream.partitions() {
                let copied = backup.range(stream.id(), number).unwrap().end;
                let durable = log.range(stream.id(), number).map_or(0, |range| range.end);
                if copied > durable {
                    self.fail(&format!("the backup holds rows up to {copied}, of which {durable} are durable"));
                }
            }
        }
    }

    /// Restores from a copy of the machine after a power loss, in the middle of which it may fail or end; then again, until it is done.
    fn check_restored(&self, backup: &Path, begin: &Instant) {
        let other = self.machine.fork();
        other.lose_power(Survival::NOTHING);
        for attempt in 0.. {
            let (dest, failures) = (PathBuf::from(format!("/data/restored-{attempt}")), other.failures());
            self.disturb_restoring(&other, attempt);
            let disk = other.disk();
            let restored = backup::restore_on(disk.as_ref(), backup, disk.as_ref(), &dest, |_| {});
            let excused = other.is_down() || other.failures() > failures;
            other.crash_in(None);
            other.fail(None);
            other.lose_power(if restored.is_ok() { Survival::NOTHING } else { Survival::EVERYTHING });
            let opened = self.open_in(&other, &dest);
            match (restored, opened) {
                (Ok(_), Ok((log, _writer))) => {
                    if let Err(wrong) = check::compare_any(&log, &self.model.borrow().since(begin)) {
                        self.fail(&format!("what was restored is the log at no instant: {wrong:#?}"));
                    }
                    return;
                }
                (Ok(_), Err(error)) => self.fail(&format!("what was restored does not open: {error}")),
                (Err(error), _) if !excused => self.fail(&format!("restoring failed for no reason: {error}")),
                (Err(_), Err(_)) => {}
                // Only the last of all, the identity, makes a log of it; without anything it is a new one.
                (Err(_), Ok((log, _writer))) => {
                    let is_whole = check::compare_any(&log, &self.model.borrow().since(begin)).is_ok();
                    if !is_whole && !log.streams().is_empty() {
                        self.fail("a restore that failed has left a log of its own");
                    }
                }
            }
        }
    }

    fn disturb_restoring(&self, machine: &Machine, attempt: u32) {
        let mut random = self.random.borrow_mut();
        machine.crash_in((attempt < 3 && random.percent(40)).then(|| random.below(40)));
        let ops = [Op::SyncFile, Op::SyncFolder, Op::Write, Op::Read, Op::Open, Op::Create];
        let fails = self.kind == Kind::Faults && attempt < 3 && random.percent(40);
        machine.fail(fails.then(|| (random.pick(&ops), random.below(6))));
    }
}
