//! `kill -9` at random instants under load: nothing acknowledged is lost, nothing is there twice, also where a commit is
//! made again because its acknowledgement was not seen, and what a commit holds is there entirely or not at all. The test runs itself as the process that is killed.
//!
//! 240 kills by default. `THERMOCLINE_KILLS=5000 cargo test -p thermocline-log --test crash -- --nocapture` kills as
//! often as asked and tells how far it is. `THERMOCLINE_SEED` makes the choices of an earlier run again (the seed is
//! printed); the instants of the kills are the machine's.

#![allow(clippy::unwrap_used)]

mod attempt;
mod checker;
mod child;
#[path = "../common/mod.rs"]
mod common;
mod random;

use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use attempt::Attempt;
use checker::Checker;
use common::{append, eventually, read_numbers, rows, schema};
use random::{Random, seed};
use thermocline_log::{Log, StreamSpec};

const KILLS: &str = "THERMOCLINE_KILLS";
const DEFAULT_KILLS: u64 = 240;
/// A directory is killed so often, then a new one is begun: every check reads all of its rows.
const KILLS_PER_DIRECTORY: u64 = 30;
/// Directories that are worked on at the same time: a process that waits for its disk leaves the processor to others.
const AT_ONCE: u64 = 3;
const SIGKILL: i32 = 9;

/// When a process is killed.
#[derive(Debug, Clone, Copy)]
enum Instants {
    /// So long after it was started, whatever it does.
    Start(Duration),
    /// So long after it began to open the log.
    Opening(Duration),
    /// So long after the log was open.
    Opened(Duration),
    /// Right after so many commits were acknowledged.
    Commits(u64),
}

impl Instants {
    fn draw(random: &mut Random) -> Self {
        match random.within(0..10) {
            0 => Self::Start(random.below(Duration::from_millis(100))),
            1..4 => Self::Opening(random.below(Duration::from_millis(12))),
            4..7 => Self::Opened(random.below(Duration::from_millis(100))),
            _ => Self::Commits(random.within(1..200)),
        }
    }
}

/// What was counted over all directories.
#[derive(Debug, Default)]
struct Counts {
    kills: AtomicU64,
    before_opening: AtomicU64,
    while_opening: AtomicU64,
    retried_duplicate: AtomicU64,
    retried_new: AtomicU64,
    checks: AtomicU64,
    rows_acknowledged: AtomicU64,
    rows_read: AtomicU64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} kills, {} before and {} while the log was opened; {} commits made again, {} of them stored before; \
             {} checks, {} rows acknowledged, {} rows read back",
            of(&self.kills),
            of(&self.before_opening),
            of(&self.while_opening),
            of(&self.retried_duplicate) + of(&self.retried_new),
            of(&self.retried_duplicate),
            of(&self.checks),
            of(&self.rows_acknowledged),
            of(&self.rows_read),
        )
    }
}

#[test]
fn kill_9_loses_nothing() {
    let kills = std::env::var(KILLS).map_or(DEFAULT_KILLS, |kills| kills.parse().expect("a number of kills"));
    let seed = seed();
    println!("seed {seed}, {kills} kills");
    let (counts, next, started) = (Counts::default(), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let directory = next.fetch_add(1, Ordering::Relaxed);
                    let begin = directory * KILLS_PER_DIRECTORY;
                    if begin >= kills {
                        break;
                    }
                    run_directory(seed, directory, KILLS_PER_DIRECTORY.min(kills - begin), &counts);
                    println!("{counts}; {} s", started.elapsed().as_secs());
                }
            });
        }
    });
    assert_eq!(counts.kills.into_inner(), kills);
    assert!(counts.rows_acknowledged.into_inner() > kills, "the processes did something before they were killed");
    assert!(kills < DEFAULT_KILLS || counts.while_opening.into_inner() > 0, "recovery itself was killed");
    let retried = [counts.retried_duplicate, counts.retried_new].map(AtomicU64::into_inner);
    assert!(kills < DEFAULT_KILLS || retried.iter().all(|n| *n > 0), "acknowledgements were lost: {retried:?}");
}

/// Kills processes on one directory, one after the other, and checks it in between. It stays when something is wrong.
fn run_directory(seed: u64, directory: u64, kills: u64, counts: &Counts) {
    let kept = tempfile::tempdir().unwrap().keep();
    let dir = kept.join("log");
    let told = Told { seed, directory, dir: &dir };
    let mut checker = Checker::default();
    for round in 0..kills {
        let mut random = Random::new(&[seed, directory, round]);
        let instant = Instants::draw(&mut random);
        run_and_kill(&dir, round, random.next(), instant, &mut checker, counts);
        let last = round + 1 == kills;
        // A kill is often followed by the next without a recovery that went well between them.
        if !dir.exists() || (random.once_in(3) && !last) {
            continue;
        }
        let all = random.once_in(5) || last;
        let options = child::options(&mut random);
        if random.once_in(2) {
            checker.check(&dir, options, all);
        } else {
            let copy = kept.join("copy");
            common::copy_dir(&dir, &copy);
            checker.check_copy(&copy, options, all);
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
    counts.checks.fetch_add(checker.checks, Ordering::Relaxed);
    counts.rows_acknowledged.fetch_add(checker.rows_acknowledged, Ordering::Relaxed);
    counts.rows_read.fetch_add(checker.rows_read, Ordering::Relaxed);
    drop(told);
    std::fs::remove_dir_all(&kept).unwrap();
}

/// Says where a failure was found.
struct Told<'a> {
    seed: u64,
    directory: u64,
    dir: &'a Path,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, directory, dir } = self;
            println!("failed with seed {seed} in directory {directory}, which is left in {}", dir.display());
        }
    }
}

/// Runs the process until its instant has come.
fn run_and_kill(dir: &Path, round: u64, seed: u64, instant: Instants, checker: &mut Checker, counts: &Counts) {
    let retries: Vec<String> = checker.begun().map(Attempt::to_string).collect();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::crashing_child", "--ignored", "--nocapture"])
        .env(child::DIR, dir)
        .env(child::ROUND, round.to_string())
        .env(child::ROUND_SEED, seed.to_string())
        .env(child::RETRIES, retries.join(";"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Mutex::new(child);
    let (mut commits, mut opening, mut opened) = (0, false, false);
    std::thread::scope(|scope| {
        let kill_after = |delay: Duration| {
            let child = &child;
            scope.spawn(move || {
                std::thread::sleep(delay);
                kill(child);
            });
        };
        if let Instants::Start(delay) = instant {
            kill_after(delay);
        }
        for line in lines {
            let line = line.unwrap();
            if line.ends_with("opening") {
                opening = true;
                if let Instants::Opening(delay) = instant {
                    kill_after(delay);
                }
            } else if line == "opened" {
                opened = true;
                if let Instants::Opened(delay) = instant {
                    kill_after(delay);
                }
            } else if checker.acknowledge(&line) {
                commits += 1;
                if matches!(instant, Instants::Commits(wanted) if wanted == commits) {
                    kill(&child);
                }
            } else if let Some(attempt) = Attempt::parse(&line) {
                checker.begin(attempt);
            } else if line == child::RETRIED_DUPLICATE {
                counts.retried_duplicate.fetch_add(1, Ordering::Relaxed);
            } else if line == child::RETRIED_NEW {
                counts.retried_new.fetch_add(1, Ordering::Relaxed);
            } else if line == "finished" {
                kill(&child);
            }
        }
    });
    let status = child.into_inner().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "round {round}: the process ended by itself, {status}");
    counts.kills.fetch_add(1, Ordering::Relaxed);
    counts.before_opening.fetch_add(u64::from(!opening), Ordering::Relaxed);
    counts.while_opening.fetch_add(u64::from(opening && !opened), Ordering::Relaxed);
}

/// It may be dead already; it is not waited for meanwhile, so nobody else has its number.
fn kill(child: &Mutex<Child>) {
    child.lock().unwrap().kill().unwrap();
}

#[tokio::test]
async fn a_crash_during_recovery_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = Log::open(&live, child::options(&mut Random::new(&[seed()]))).unwrap();
    let stream = log.create_stream(StreamSpec::new("numbers", schema())).await.unwrap();
    for n in 0..50 {
        log.commit(append(&stream, rows(n * 100, 100))).await.unwrap();
    }
    eventually("something is sealed", || log.stats().segments > 0).await;
    drop(log);
    // Each copy is what a crash right after another recovery leaves: the log it was copied from is still open.
    let mut from = live;
    let mut open = Vec::new();
    for round in 0..5 {
        let to = dir.path().join(format!("crash-{round}"));
        common::copy_dir(&from, &to);
        let log = Log::open(&to, common::options()).unwrap();
        assert_eq!(read_numbers(&log, &stream, 0), (0..5000).collect::<Vec<_>>());
        open.push(log);
        from = to;
    }
}
