//! Bits flip at rest: the log names the file or the flip was in nothing that anybody was promised. Never wrong rows,
//! never fewer.
//!
//! Bits flip after the log was closed, when marks protect all of the journal but the last of them.

use std::path::Path;

use crate::error::Error;
use crate::journal::{FOLDER, sequence_of};
use crate::simulation::check;
use crate::simulation::inode::Survival;
use crate::simulation::machine::{Crash, Machine};
use crate::simulation::world::World;

/// Flips tried on one directory.
const FLIPS: u64 = 6;
/// Bytes of the last mark, which nothing behind it protects.
const MARK_BYTES: usize = 64;

/// Whether it is one of the journal's files, and not one that is only kept to be written over.
fn in_journal(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with(FOLDER))
        && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| sequence_of(name).is_some())
}

impl World {
    pub(super) fn damage(&self) {
        self.close();
        // Opened again by now: a copy of the directory as it was closed is what is damaged.
        let closed = self.closed_copy();
        for _ in 0..FLIPS {
            let damaged = closed.fork();
            let files = damaged.files().into_iter().filter(|(_, content)| !content.is_empty());
            let files: Vec<_> = files.filter(|(path, _)| path.starts_with(Self::dir())).collect();
            let (path, content) = &files[self.random.borrow_mut().index(files.len())];
            let (byte, bit) = {
                let mut random = self.random.borrow_mut();
                (random.index(content.len()), u8::try_from(random.below(8)).unwrap())
            };
            self.trace(|| format!("flip bit {bit} of byte {byte} of {}", path.display()));
            damaged.flip(path, byte, bit);
            self.aside(|| self.check_named(&damaged, path, byte < self.protected(&damaged, path, content.len())));
        }
    }

    /// The machine after the log was closed and everything was written back.
    fn closed_copy(&self) -> std::sync::Arc<Machine> {
        self.aside(|| {
            let copy = self.machine.fork();
            copy.restart(Crash::Killed);
            let (log, writer) = self.open_on(&copy).unwrap();
            log.shared().queue.close();
            writer.run();
            drop(log);
            copy.lose_power(Survival::EVERYTHING);
            copy
        })
    }

    /// How many bytes of the file hold what was acknowledged.
    fn protected(&self, machine: &Machine, path: &Path, len: usize) -> usize {
        let files = machine.files();
        match files.iter().rfind(|(file, _)| in_journal(file)) {
            Some((last, _)) if last == path => len - MARK_BYTES,
            _ => len,
        }
    }

    fn check_named(&self, machine: &std::sync::Arc<Machine>, path: &Path, protected: bool) {
        let in_identity = path.ends_with("LOG");
        let model = self.model.borrow();
        match self.open_on(machine) {
            Err(Error::Corrupt { path: named, .. }) if named == path => {}
            Err(error) => self.fail(&format!("damage of {} is told as: {error}", path.display())),
            Ok(_) if protected && (in_journal(path) || in_identity) => {
                self.fail(&format!("damage of {} was not noticed", path.display()));
            }
            Ok((log, _)) => {
                if let Err(what) = check::compare(&log, &model.current)
                    && !what.contains(&format!("{} is damaged", path.display()))
                {
                    self.fail(&format!("after damage of {}: {what}", path.display()));
                }
            }
        }
    }
}
