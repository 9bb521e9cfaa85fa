//! Disks around the operating system's: one that writes down what the journal did, one that is slow.

use std::any::Any;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thermocline_log::{DirEntry, Disk, DiskFile, OsDisk};

/// What was done to the files of a journal, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A file was begun, with so many bytes set aside.
    Allocate(u64),
    /// So many bytes were appended.
    Write(u64),
    /// The file was synced.
    Sync,
}

/// Is told what happens to files, before it happens.
pub trait Watch: std::fmt::Debug + Send + Sync {
    /// A step on the file at `path`.
    fn step(&self, path: &Path, step: Step);
}

/// The operating system's files, watched.
#[derive(Debug)]
pub struct WatchedDisk<W>(pub Arc<W>);

#[derive(Debug)]
struct WatchedFile<W> {
    watch: Arc<W>,
    path: std::path::PathBuf,
    file: Arc<dyn DiskFile>,
}

impl<W: Watch> WatchedDisk<W> {
    fn watched(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile>
    where
        W: 'static,
    {
        Arc::new(WatchedFile { watch: Arc::clone(&self.0), path: path.to_owned(), file })
    }
}

impl<W: Watch + 'static> Disk for WatchedDisk<W> {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        OsDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watched(path, OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watched(path, OsDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        OsDisk.lock(path)
    }
}

impl<W: Watch> DiskFile for WatchedFile<W> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.watch.step(&self.path, Step::Write(parts.iter().map(|part| part.len() as u64).sum()));
        self.file.write_all_at(parts, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.watch.step(&self.path, Step::Allocate(bytes));
        self.file.allocate(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch.step(&self.path, Step::Sync);
        self.file.sync_data()
    }
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
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

/// Bytes and syncs of a trace.
pub fn totals(trace: &[Step]) -> (u64, usize) {
    let bytes = trace.iter().map(|step| if let Step::Write(bytes) = step { *bytes } else { 0 }).sum();
    (bytes, trace.iter().filter(|step| **step == Step::Sync).count())
}

/// Does the same with plain files and nothing else: seconds.
pub fn replay_plainly(folder: &Path, trace: &[Step]) -> f64 {
    let path = |number: usize| folder.join(format!("plain-{number}"));
    let largest = trace.iter().map(|step| if let Step::Write(bytes) = step { *bytes } else { 0 }).max().unwrap_or(0);
    let block = vec![7; usize::try_from(largest).unwrap()];
    let create = |number| OpenOptions::new().write(true).create(true).truncate(true).open(path(number)).unwrap();
    let mut files = 0;
    let (mut file, mut at) = (create(files), 0);
    let started = Instant::now();
    for step in trace {
        match step {
            Step::Allocate(bytes) => {
                files += 1;
                (file, at) = (create(files), 0);
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, *bytes).unwrap();
            }
            Step::Write(bytes) => {
                file.write_all_at(&block[..usize::try_from(*bytes).unwrap()], at).unwrap();
                at += bytes;
            }
            Step::Sync => file.sync_data().unwrap(),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    (0..=files).for_each(|number| std::fs::remove_file(path(number)).unwrap());
    seconds
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
        let Step::Write(bytes) = step else { return };
        let until = {
            let mut idle_at = self.idle_at.lock().unwrap();
            let until = (*idle_at).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            *idle_at = until;
            until
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}
