//! A disk that is really full: the operating system's file system on a small tmpfs. Callers are told, reads go on, nothing
//! acknowledged is lost, a killed process opens again, and the log goes on when there is space.
//!
//! Each test runs itself again as root of a user and mount namespace of its own, where it may mount; nothing is left behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{append, numbers_stream, read_numbers, rows, schema};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use thermocline_log::{DiskFile, DiskHooks, Error, HookedDisk, Log, LogOptions, Stream, StreamSpec, verify};

const SCENARIO: &str = "THERMOCLINE_FULL_DISK";
const MOUNTED: &str = "THERMOCLINE_FULL_DISK_DIR";
const DISK_BYTES: u64 = 24 << 20;
const JOURNAL_FILE_BYTES: u64 = 4 << 20;
/// Rows of a commit, about 400 kB of them.
const ROWS: i64 = 8000;

/// Which call the file system refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    Allocate {
        segment: bool,
    },
    /// `torn` when a part was written.
    Write {
        segment: bool,
        torn: bool,
    },
}

/// Notes what the file system refused; without preallocation as some file systems are.
#[derive(Debug, Default)]
struct Noting {
    without_allocation: bool,
    refused: Mutex<Vec<Refused>>,
}

impl Noting {
    fn note(&self, done: io::Result<()>, what: impl FnOnce() -> Refused) -> io::Result<()> {
        done.inspect_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                self.refused.lock().unwrap().push(what());
            }
        })
    }
}

fn is_segment(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "segments")
}

impl DiskHooks for Noting {
    fn write(&self, file: &dyn DiskFile, path: &Path, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let torn = || file.len().unwrap() > offset;
        self.note(file.write_all_at(parts, offset), || Refused::Write { segment: is_segment(path), torn: torn() })
    }

    fn allocate(&self, file: &dyn DiskFile, path: &Path, bytes: u64) -> io::Result<()> {
        if self.without_allocation {
            return Ok(());
        }
        self.note(file.allocate(bytes), || Refused::Allocate { segment: is_segment(path) })
    }
}

#[test]
fn full_in_the_middle_of_a_group() {
    in_namespace("in_mid_group");
}

#[test]
fn full_at_a_roll() {
    in_namespace("at_a_roll");
}

#[test]
fn full_at_a_seal() {
    in_namespace("at_a_seal");
}

#[test]
fn killed_while_full() {
    in_namespace("killed");
}

#[test]
fn full_when_a_log_is_created() {
    in_namespace("at_creation");
}

/// Runs a scenario in a process that has a small tmpfs to itself.
fn in_namespace(scenario: &str) {
    let dir = tempfile::tempdir().unwrap();
    // Without user namespaces, root can do with a mount namespace alone.
    let kinds: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];
    let permitted = kinds.into_iter().find(|kind| {
        let tried =
            Command::new("unshare").args(*kind).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(dir.path()).output();
        tried.is_ok_and(|output| output.status.success())
    });
    let kind = permitted.expect(
        "a file system that is really full needs `unshare` and `mount` (util-linux) and either user namespaces for \
         everybody (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or root",
    );
    let output = Command::new("unshare")
        .args(kind)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "on_a_small_disk", "--ignored", "--nocapture"])
        .env(SCENARIO, scenario)
        .env(MOUNTED, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
}

/// Not a test by itself: runs one scenario in the namespace made for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests of this file"]
async fn on_a_small_disk() {
    let (Ok(scenario), Ok(mounted)) = (std::env::var(SCENARIO), std::env::var(MOUNTED)) else { return };
    let small = SmallDisk { dir: mounted.into() };
    if scenario == "filling" {
        return fill_until_killed(&small).await;
    }
    small.mount();
    match scenario.as_str() {
        "in_mid_group" => in_mid_group(&small).await,
        "at_a_roll" => at_a_roll(&small).await,
        "at_a_seal" => at_a_seal(&small).await,
        "killed" => killed(&small).await,
        "at_creation" => at_creation(&small).await,
        other => panic!("no scenario {other}"),
    }
}

/// A mounted tmpfs, with a file that takes the space nobody else shall have.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    fn mount(&self) {
        let size = format!("size={DISK_BYTES}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&self.dir).status().unwrap();
        assert!(mounted.success());
        assert!(self.free() <= DISK_BYTES, "the small disk is there");
    }

    fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn free(&self) -> u64 {
        let found = statvfs(&self.dir).unwrap();
        found.f_bavail * found.f_frsize
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Takes all space but `left`.
    fn leave(&self, left: u64) {
        let file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let len = file.metadata().unwrap().len();
        fallocate(&file, FallocateFlags::empty(), len, self.free() - left).unwrap();
        assert_eq!(self.free(), left);
    }

    fn give_back(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

/// Rolls early; seals only when it is asked to.
fn options(noting: &Arc<Noting>) -> LogOptions {
    LogOptions { disk: HookedDisk::new(noting), journal_file_bytes: JOURNAL_FILE_BYTES, ..common::options() }
}

/// Appends until the disk is full. Returns how many rows there are then.
async fn append_until_full(log: &Log, stream: &Stream, mut rows_before: i64) -> i64 {
    loop {
        match log.commit(append(stream, rows(rows_before, ROWS))).await {
            Ok(receipt) => assert_eq!(receipt.ranges[0].start, rows_before.cast_unsigned()),
            Err(error @ Error::Full { .. }) => {
                assert!(error.is_retryable() && error.to_string().starts_with("no space left"), "{error}");
                return rows_before;
            }
            Err(other) => panic!("expected a full disk, found {other}"),
        }
        rows_before += ROWS;
    }
}

fn assert_holds(log: &Log, stream: &Stream, count: i64) {
    assert_eq!(read_numbers(log, stream, 0), (0..count).collect::<Vec<_>>());
}

/// Appends go on, and all of it is there after the log was opened anew.
async fn goes_on_with_space(small: &SmallDisk, log: Log, stream: Stream, count: i64) {
    small.give_back();
    for n in 0..3 {
        log.commit(append(&stream, rows(count + n * ROWS, ROWS))).await.unwrap();
    }
    log.seal().await.unwrap();
    assert_holds(&log, &stream, count + 3 * ROWS);
    log.close().await.unwrap();
    drop(log);
    assert_eq!(verify(small.log_dir()).unwrap(), []);
    let log = Log::open(small.log_dir(), options(&Arc::default())).unwrap();
    assert_holds(&log, &stream, count + 3 * ROWS);
}

async fn in_mid_group(small: &SmallDisk) {
    let disk = Arc::new(Noting { without_allocation: true, ..Noting::default() });
    let log = Log::open(small.log_dir(), options(&disk)).unwrap();
    let stream = numbers_stream(&log).await;
    small.leave(JOURNAL_FILE_BYTES / 2);
    let mut count = append_until_full(&log, &stream, 0).await;
    assert!(count > 0);
    assert_eq!(*disk.refused.lock().unwrap(), [Refused::Write { segment: false, torn: true }]);
    assert_holds(&log, &stream, count);
    // A smaller group may still find its place, behind the last whole one.
    if log.commit(append(&stream, rows(count, 1))).await.is_ok() {
        count += 1;
    }
    assert_holds(&log, &stream, count);
    goes_on_with_space(small, log, stream, count).await;
}

async fn at_a_roll(small: &SmallDisk) {
    let disk = Arc::new(Noting::default());
    let log = Log::open(small.log_dir(), options(&disk)).unwrap();
    let stream = numbers_stream(&log).await;
    small.leave(JOURNAL_FILE_BYTES + JOURNAL_FILE_BYTES / 2);
    let count = append_until_full(&log, &stream, 0).await;
    assert_eq!(*disk.refused.lock().unwrap(), [Refused::Allocate { segment: false }]);
    assert_eq!(common::journal_files(&small.log_dir()).len(), 2, "the file that did not come to be is gone");
    assert_holds(&log, &stream, count);
    // The journal leaves enough for a segment, and a segment frees the journal: the log helps itself.
    log.seal().await.unwrap();
    let count = append_until_full(&log, &stream, count).await;
    goes_on_with_space(small, log, stream, count).await;
}

async fn at_a_seal(small: &SmallDisk) {
    let disk = Arc::new(Noting::default());
    let log = Log::open(small.log_dir(), options(&disk)).unwrap();
    let stream = numbers_stream(&log).await;
    let count = 8 * ROWS;
    for n in 0..8 {
        log.commit(append(&stream, rows(n * ROWS, ROWS))).await.unwrap();
    }
    for left in [0, 4 << 10, 8 << 10] {
        small.leave(left);
        let failed = log.seal().await.unwrap_err();
        assert!(matches!(failed, Error::Full { .. }), "{failed}");
        let left_behind = files_below(&small.log_dir().join("segments"));
        assert_eq!(left_behind, Vec::<PathBuf>::new(), "what was written of the segment is gone");
        assert_holds(&log, &stream, count);
        small.give_back();
    }
    assert!(disk.refused.lock().unwrap().contains(&Refused::Write { segment: true, torn: true }));
    small.leave(0);
    goes_on_with_space(small, log, stream, count).await;
}

/// Fills the disk in a process that is killed, and opens what it leaves, on the disk that is still full.
async fn killed(small: &SmallDisk) {
    for _ in 0..3 {
        small.leave(2 * JOURNAL_FILE_BYTES);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "on_a_small_disk", "--ignored", "--nocapture"])
            .env(SCENARIO, "filling")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(count) = line.strip_prefix("acknowledged ") {
                acknowledged = count.parse().unwrap();
            } else if line == "full" {
                child.kill().unwrap();
            }
        }
        assert!(child.wait().unwrap().signal().is_some(), "killed, not ended");
        assert!(acknowledged > 0);
        let log = Log::open(small.log_dir(), options(&Arc::default())).unwrap();
        let stream = log.stream("numbers").unwrap();
        assert_holds(&log, &stream, acknowledged);
        let refused = log.commit(append(&stream, rows(acknowledged, 25 * ROWS))).await.unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        drop(log);

        // Without a single block left it does not open, and loses nothing by the attempt.
        small.leave(0);
        let refused = Log::open(small.log_dir(), options(&Arc::default())).unwrap_err();
        assert!(matches!(refused, Error::Full { .. }), "{refused}");
        small.give_back();
        let log = Log::open(small.log_dir(), options(&Arc::default())).unwrap();
        assert_holds(&log, &stream, acknowledged);
        log.seal().await.unwrap();
    }
}

/// In a process of its own: tells what was acknowledged and that the disk is full, and goes on trying until it is killed.
async fn fill_until_killed(small: &SmallDisk) {
    let log = Log::open(small.log_dir(), options(&Arc::default())).unwrap();
    let stream = log.create_stream(StreamSpec::new("numbers", schema())).await.unwrap();
    let mut count = log.range(stream.id(), 0).unwrap().end.cast_signed();
    println!();
    loop {
        match log.commit(append(&stream, rows(count, ROWS))).await {
            Ok(_) => {
                count += ROWS;
                println!("acknowledged {count}");
            }
            Err(Error::Full { .. }) => println!("full"),
            Err(other) => panic!("expected a full disk, found {other}"),
        }
    }
}

async fn at_creation(small: &SmallDisk) {
    for left in [0, 4 << 10, 8 << 10, 16 << 10] {
        small.leave(left);
        match Log::open(small.log_dir(), options(&Arc::default())) {
            Err(Error::Full { .. }) => {}
            Err(other) => panic!("expected a full disk, found {other}"),
            // Enough for an empty log.
            Ok(log) => {
                let refused = log.create_stream(StreamSpec::new("numbers", schema())).await;
                assert!(matches!(refused, Ok(_) | Err(Error::Full { .. })), "{refused:?}");
            }
        }
        small.give_back();
    }
    let log = Log::open(small.log_dir(), options(&Arc::default())).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, ROWS))).await.unwrap();
    assert_holds(&log, &stream, ROWS);
}

/// The files in a folder and all folders in it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
