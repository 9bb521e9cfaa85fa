//! Disks around the operating system's: one that writes down what the journal did, one that is slow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thermocline_log::{DiskFile, DiskHooks, HookedDisk};

/// What was done to the files of a journal, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A file was begun, with so many bytes set aside.
    Allocate(u64),
    /// Bytes were written.
    Write {
        /// Where in the file.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// The file was synced.
    Sync,
}

/// Is told what happens to files, before it happens.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// A step on the file at `path`.
    fn step(&self, path: &Path, step: Step);
}

/// The operating system's files, watched.
pub fn watched_disk<W: Watch + 'static>(watch: W) -> (Arc<HookedDisk<Watched<W>>>, Arc<Watched<W>>) {
    let watched = Arc::new(Watched(watch));
    (HookedDisk::new(&watched), watched)
}

/// Tells who watches.
#[derive(Debug)]
pub struct Watched<W>(pub W);

impl<W: Watch + 'static> DiskHooks for Watched<W> {
    fn write(&self, file: &dyn DiskFile, path: &Path, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.0.step(path, Step::Write { offset, bytes });
        file.write_all_at(parts, offset)
    }

    fn allocate(&self, file: &dyn DiskFile, path: &Path, bytes: u64) -> io::Result<()> {
        self.0.step(path, Step::Allocate(bytes));
        file.allocate(bytes)
    }

    fn sync(&self, file: &dyn DiskFile, path: &Path) -> io::Result<()> {
        self.0.step(path, Step::Sync);
        file.sync_data()
    }
}

fn is_journal(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("journal"))
}

/// Writes down what was done to journal files.
#[derive(Debug, Default)]
pub struct JournalTrace(Mutex<Vec<Step>>);

impl Watch for JournalTrace {
    fn step(&self, path: &Path, step: Step) {
        if is_journal(path) {
            self.0.lock().unwrap().push(step);
        }
    }
}

impl JournalTrace {
    /// What was done so far; begins a new trace.
    pub fn take(&self) -> Vec<Step> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn written(step: &Step) -> u64 {
    if let Step::Write { bytes, .. } = step { *bytes } else { 0 }
}

/// Bytes and syncs of a trace.
pub fn totals(trace: &[Step]) -> (u64, usize) {
    (trace.iter().map(written).sum(), trace.iter().filter(|step| **step == Step::Sync).count())
}

/// Does the same with plain files and nothing else: seconds. What was done `before` is done too, but not timed.
pub fn replay_plainly(folder: &Path, before: &[Step], trace: &[Step]) -> f64 {
    let largest = before.iter().chain(trace).map(written).max().unwrap_or(0);
    let mut plain = PlainFiles { folder, files: Vec::new(), block: vec![7; usize::try_from(largest).unwrap()] };
    before.iter().for_each(|step| plain.step(*step));
    let started = Instant::now();
    trace.iter().for_each(|step| plain.step(*step));
    let seconds = started.elapsed().as_secs_f64();
    plain.remove();
    seconds
}

struct PlainFiles<'a> {
    folder: &'a Path,
    files: Vec<File>,
    block: Vec<u8>,
}

impl PlainFiles<'_> {
    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("plain-{number}"))
    }

    fn step(&mut self, step: Step) {
        if let Step::Allocate(bytes) = step {
            let path = self.path(self.files.len());
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).unwrap();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
            self.files.push(file);
            return;
        }
        let file = self.files.last().expect("a journal file is allocated before it is written");
        match step {
            Step::Write { offset, bytes } => {
                file.write_all_at(&self.block[..usize::try_from(bytes).unwrap()], offset).unwrap();
            }
            _ => file.sync_data().unwrap(),
        }
    }

    fn remove(self) {
        (0..self.files.len()).for_each(|number| std::fs::remove_file(self.path(number)).unwrap());
    }
}

/// Lets so many bytes a second through, journal and segments together.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    /// When the disk will be idle.
    idle_at: Mutex<Instant>,
}

impl Throttle {
    /// A disk of that speed.
    pub fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, idle_at: Mutex::new(Instant::now()) }
    }
}

impl Watch for Throttle {
    fn step(&self, _: &Path, step: Step) {
        let Step::Write { bytes, .. } = step else { return };
        let until = {
            let mut idle_at = self.idle_at.lock().unwrap();
            let until = (*idle_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            *idle_at = until;
            until
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}
