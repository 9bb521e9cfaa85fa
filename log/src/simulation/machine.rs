//! A machine that remembers what its disk was made to keep, loses the rest when the power goes, and fails when it is told
//! to: the disk with the operating system above it. What a process sees of it is a [`SimDisk`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::DiskSpace;
use crate::simulation::disk::SimDisk;
use crate::simulation::inode::{Inode, Survival};
use crate::simulation::names::{Names, Node};
use crate::simulation::random::Random;
use crate::simulation::trace::Event;

/// Size of a disk that fills up, as it tells: what is kept free is a part of it.
const DISK_BYTES: u64 = 1 << 20;

/// What happens while an operation of the disk takes its time.
type Meanwhile = Rc<dyn Fn(Op)>;

thread_local! {
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// Before every operation of every simulated disk of this thread, `meanwhile` is called.
pub(super) fn on_operation(meanwhile: Option<Meanwhile>) {
    MEANWHILE.with(|slot| *slot.borrow_mut() = meanwhile);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    CreateFolder,
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncFolder,
    Lock,
    Size,
    Read,
    Write,
    Allocate,
    Resize,
    SyncFile,
    Space,
}

/// How a process ends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// `kill -9`: the operating system keeps what was written.
    Killed,
    PowerLost,
}

#[derive(Debug)]
pub(super) struct Machine(Mutex<State>);

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) names: Names,
    /// Counts processes; handles of older ones are dead.
    process: u64,
    down: bool,
    /// The lock files that the present process holds.
    pub(super) locked: BTreeSet<PathBuf>,
    /// Whether the file system reserves space.
    pub(super) allocates: bool,
    capacity: Option<u64>,
    /// How often somebody was told that there is an end of it.
    limits_told: u64,
    crash_in: Option<u64>,
    /// The operation that fails, after so many of its kind.
    fault: Option<(Op, u64)>,
    /// How many operations failed or were refused so far.
    failures: u64,
    pub(super) operations: u64,
    /// Of all operations in order.
    checksum: u32,
    traced: bool,
    /// What the journal's files got, where somebody wants to know.
    events: Option<Vec<Event>>,
}

impl Machine {
    pub(super) fn new(seed: u64, root: &Path, traced: bool) -> Arc<Self> {
        let mut random = Random::new(seed);
        let allocates = random.percent(60);
        Arc::new(Self(Mutex::new(State {
            random,
            inodes: BTreeMap::new(),
            names: Names::new(root),
            process: 0,
            down: false,
            locked: BTreeSet::new(),
            allocates,
            capacity: None,
            limits_told: 0,
            crash_in: None,
            fault: None,
            failures: 0,
            operations: 0,
            checksum: 0,
            traced,
            events: None,
        })))
    }

    /// From now on events are kept.
    pub(super) fn record(&self) {
        self.0.lock().events.get_or_insert_default();
    }

    /// Adds what is no operation of the disk, if events are kept.
    pub(super) fn add_event(&self, event: impl FnOnce() -> Event) {
        self.0.lock().add_event(event);
    }

    pub(super) fn is_recording(&self) -> bool {
        self.0.lock().events.is_some()
    }

    pub(super) fn take_events(&self) -> Vec<Event> {
        self.0.lock().events.take().unwrap_or_default()
    }

    /// The disk as a process sees it that starts now.
    pub(super) fn disk(self: &Arc<Self>) -> Arc<SimDisk> {
        Arc::new(SimDisk::new(self, self.0.lock().process))
    }

    /// The same disk in another world, where something else happens to it.
    pub(super) fn fork(&self) -> Arc<Self> {
        let mut ours = self.0.lock();
        let mut state = ours.clone();
        state.random = Random::new(ours.random.next());
        drop(ours);
        state.traced = false;
        state.events = None;
        state.crash_in = None;
        state.fault = None;
        state.capacity = None;
        Arc::new(Self(Mutex::new(state)))
    }

    /// The process lets go of a lock file; after its end there is nothing to let go of.
    pub(super) fn unlock(&self, process: u64, path: &Path) {
        let mut state = self.0.lock();
        if state.process == process {
            state.locked.remove(path);
        }
    }

    /// From now on every operation of the present process fails.
    pub(super) fn halt(&self) {
        self.0.lock().down = true;
    }

    pub(super) fn is_down(&self) -> bool {
        self.0.lock().down
    }

    /// Starts again after a crash.
    pub(super) fn restart(&self, crash: Crash) {
        let mut state = self.0.lock();
        let survival = Survival::draw(&mut state.random);
        state.restart(crash, survival);
    }

    /// Starts again after the power went; `survival` tells what is left of what was not synced.
    pub(super) fn lose_power(&self, survival: Survival) {
        self.0.lock().restart(Crash::PowerLost, survival);
    }

    /// The process will crash in that many operations.
    pub(super) fn crash_in(&self, operations: Option<u64>) {
        self.0.lock().crash_in = operations;
    }

    /// An operation of that kind will fail, after `skip` others.
    pub(super) fn fail(&self, fault: Option<(Op, u64)>) {
        self.0.lock().fault = fault;
    }

    pub(super) fn failures(&self) -> u64 {
        self.0.lock().failures
    }

    /// Only so many bytes more fit the disk.
    pub(super) fn limit_space(&self, bytes: Option<u64>) {
        let mut state = self.0.lock();
        state.capacity = bytes.map(|bytes| state.used() + bytes);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.lock().capacity.is_some()
    }

    pub(super) fn limits_told(&self) -> u64 {
        self.0.lock().limits_told
    }

    pub(super) fn checksum(&self) -> u32 {
        self.0.lock().checksum
    }

    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// All files that reads see.
    pub(super) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.0.lock();
        state.names.files().map(|(path, inode)| (path.to_owned(), state.inodes[&inode].bytes().to_vec())).collect()
    }

    /// Whether any durable file in `folder` durably holds this number at a multiple of its size.
    pub(super) fn holds(&self, folder: &Path, number: i64) -> bool {
        let bytes = number.to_le_bytes();
        let state = self.0.lock();
        let within = |path: &Path| path.parent() == Some(folder);
        state.names.durable_files().any(|(path, inode)| {
            within(path) && state.inodes[&inode].durable().chunks_exact(bytes.len()).any(|chunk| chunk == bytes)
        })
    }

    pub(super) fn flip(&self, path: &Path, byte: usize, bit: u8) {
        let mut state = self.0.lock();
        let Some(Node::File(inode)) = state.names.node(path) else { panic!("no file {}", path.display()) };
        state.inodes.get_mut(&inode).unwrap().flip(byte, bit);
    }

    /// Runs an operation, unless the process has ended, ends now, or the operation is to fail.
    pub(super) fn run<T>(
        &self,
        process: u64,
        op: Op,
        path: &Path,
        detail: (u64, u32),
        effect: impl FnOnce(&mut State, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !std::thread::panicking()
            && let Some(meanwhile) = MEANWHILE.with(|slot| slot.borrow().clone())
        {
            meanwhile(op);
        }
        let mut state = self.0.lock();
        if state.down || state.process != process {
            return Err(gone());
        }
        state.note(op, path, detail);
        if state.ends_now() {
            // What was asked for last may still have been done.
            if state.random.percent(50) {
                let _ = effect(&mut state, None);
            }
            state.trace(|| "the process ends".to_owned());
            state.down = true;
            return Err(gone());
        }
        let fault = state.next_fault(op);
        let done = effect(&mut state, fault);
        let path = || path.to_owned();
        match (op, done.is_ok()) {
            (Op::Create, true) => state.add_event(|| Event::Created(path())),
            (Op::SyncFolder, true) => state.add_event(|| Event::FolderSynced(path())),
            (Op::SyncFile, true) => state.add_event(|| Event::Synced(path())),
            (Op::SyncFile, false) => state.add_event(|| Event::SyncFailed(path())),
            _ => {}
        }
        if let Err(error) = &done
            && error.kind() != io::ErrorKind::NotFound
        {
            state.failures += 1;
            state.trace(|| format!("failed: {error}"));
        }
        done
    }
}

fn gone() -> io::Error {
    io::Error::other("the process has ended")
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    fn note(&mut self, op: Op, path: &Path, (number, content): (u64, u32)) {
        self.operations += 1;
        let mut checksum = self.checksum;
        for part in [&[op as u8], path.as_os_str().as_encoded_bytes(), &number.to_le_bytes(), &content.to_le_bytes()] {
            checksum = crc32c::crc32c_append(checksum, part);
        }
        self.checksum = checksum;
        self.trace(|| format!("{op:?} {} {number}", path.display()));
    }

    pub(super) fn add_event(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("  {:>6} {}", self.operations, line());
        }
    }

    fn ends_now(&mut self) -> bool {
        match &mut self.crash_in {
            Some(0) => {
                self.crash_in = None;
                true
            }
            Some(operations) => {
                *operations -= 1;
                false
            }
            None => false,
        }
    }

    fn next_fault(&mut self, op: Op) -> Option<io::Error> {
        let (_, skip) = self.fault.as_mut().filter(|(failing, _)| *failing == op)?;
        if *skip > 0 {
            *skip -= 1;
            return None;
        }
        self.fault = None;
        // A sync may find too late that there is no space; so may a write to what is set aside, where files are copied
        // on write.
        let full = match op {
            Op::SyncFile => self.random.percent(20),
            Op::Write => self.random.percent(60),
            _ => false,
        };
        Some(if full { io::ErrorKind::StorageFull.into() } else { failed() })
    }

    fn restart(&mut self, crash: Crash, survival: Survival) {
        self.process += 1;
        self.down = false;
        self.locked.clear();
        self.trace(|| format!("{crash:?}, {survival:?}"));
        if crash == Crash::PowerLost {
            for inode in self.inodes.values_mut() {
                inode.lose_power(survival, &mut self.random);
            }
            self.names.lose_power(survival, &mut self.random);
        }
        let linked = self.names.linked();
        self.inodes.retain(|inode, _| linked.contains(inode));
    }

    fn used(&self) -> u64 {
        self.names.files().map(|(_, inode)| self.inodes[&inode].len() as u64).sum()
    }

    /// What somebody is told who asks.
    pub(super) fn space(&mut self) -> DiskSpace {
        let Some(capacity) = self.capacity else { return DiskSpace::UNKNOWN };
        self.limits_told += 1;
        DiskSpace { available_bytes: capacity.saturating_sub(self.used()), total_bytes: DISK_BYTES }
    }

    /// How many of the bytes by which a file would grow find space.
    pub(super) fn space_for(&self, bytes: usize) -> usize {
        match self.capacity {
            None => bytes,
            Some(capacity) => usize::try_from(capacity.saturating_sub(self.used())).unwrap().min(bytes),
        }
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("files of a process outlive it")
    }

    pub(super) fn write(
        &mut self,
        inode: u64,
        offset: usize,
        bytes: &[u8],
        fault: Option<io::Error>,
    ) -> io::Result<()> {
        let len = self.inodes[&inode].len();
        let grows = (offset + bytes.len()).saturating_sub(len);
        let missing = grows - self.space_for(grows);
        let mut kept = bytes.len() - missing;
        match &fault {
            // What is missing may be little, and zeros: then a reader could not tell.
            Some(error) if error.kind() == io::ErrorKind::StorageFull && self.random.percent(60) => {
                kept = kept.min(bytes.len().saturating_sub(1 + self.random.index(64)));
            }
            Some(_) => kept = self.random.index(kept.min(bytes.len().saturating_sub(1)) + 1),
            None => {}
        }
        if kept > 0 {
            self.inode(inode).write(offset, &bytes[..kept]);
        }
        match fault {
            Some(error) => Err(error),
            None if missing > 0 => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }
}
