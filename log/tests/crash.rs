//! `kill -9` at random instants under load: nothing acknowledged is lost, nothing is there twice, and what a commit
//! holds is there entirely or not at all. The test runs itself as the process that is killed.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{append, eventually, read_numbers, rows, schema};
use thermocline_log::{Commit, Log, LogOptions, Stream, StreamSpec};

const DIR: &str = "THERMOCLINE_CRASH_DIR";
const ROUND: &str = "THERMOCLINE_CRASH_ROUND";
const ROUNDS: i64 = 25;
const WRITERS: i64 = 8;
const PARTITIONS: u32 = 2;

/// Everything small, so that rolls, seals, merges and trims happen all the time.
fn options() -> LogOptions {
    LogOptions {
        journal_file_bytes: 128 << 10,
        seal_bytes: 40 << 10,
        seal_age: Duration::from_millis(50),
        ..LogOptions::default()
    }
}

/// First number that a writer uses in a round; numbers are never used twice.
fn base(round: i64, writer: i64) -> i64 {
    (round * WRITERS + writer) * 1_000_000
}

/// Not a test by itself: appends until it is killed, telling what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by kill_9_loses_nothing"]
async fn crashing_child() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else { return };
    let round: i64 = round.parse().unwrap();
    let log = Log::open(dir, options()).unwrap();
    let spec = StreamSpec { partitions: PARTITIONS, ..StreamSpec::new("numbers", schema()) };
    let stream = log.create_stream(spec).await.unwrap();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(log.clone(), stream.clone(), round, writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Rows and a value that says how far the writer got, in one commit.
async fn write(log: Log, stream: Stream, round: i64, writer: i64) {
    let partition = u32::try_from(writer).unwrap() % PARTITIONS;
    let mut n = base(round, writer);
    for step in 0_i64.. {
        let count = if step % 16 == 15 { 400 } else { 1 + step % 3 };
        let mut commit = Commit::new();
        commit.append_to(stream.id(), partition, rows(n, count));
        commit.put(format!("writer-{writer}"), (n + count).to_le_bytes().to_vec());
        commit.move_cursor(&format!("writer-{writer}"), stream.id(), partition, (n + count).cast_unsigned());
        let receipt = log.commit(commit).await.unwrap();
        let start = receipt.ranges[0].start;
        // One write for a line, so that lines are whole.
        std::io::stdout().write_all(format!("acknowledged {partition} {start} {n} {count}\n").as_bytes()).unwrap();
        n += count;
    }
}

#[tokio::test]
async fn kill_9_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<(u32, u64), i64> = HashMap::new();
    for round in 0..ROUNDS {
        let lines = 1 + RandomState::new().hash_one(round) % 1500;
        run_and_kill(dir.path(), round, usize::try_from(lines).unwrap(), &mut acknowledged);
        verify(dir.path(), &acknowledged).await;
    }
    assert!(acknowledged.len() > 1000);
}

/// Runs the child until it has acknowledged `lines` commits, then kills it.
fn run_and_kill(dir: &Path, round: i64, lines: usize, acknowledged: &mut HashMap<(u32, u64), i64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashing_child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The first line of the test harness may stand before it; a line cut by the kill has too few fields.
        let Some((_, fields)) = line.split_once("acknowledged ") else { continue };
        let fields: Vec<i64> = fields.split(' ').map_while(|field| field.parse().ok()).collect();
        let [partition, start, n, count] = fields.as_slice() else { continue };
        for row in 0..*count {
            let offset = (start + row).cast_unsigned();
            let earlier = acknowledged.insert((u32::try_from(*partition).unwrap(), offset), n + row);
            assert_eq!(earlier, None, "an offset is given out once");
        }
        seen += 1;
        if seen == lines {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= lines, "the child ended by itself after {seen} of {lines} commits");
}

async fn verify(dir: &Path, acknowledged: &HashMap<(u32, u64), i64>) {
    let log = Log::open(dir, options()).unwrap();
    let stream = log.stream("numbers").unwrap();
    let mut last_of_writer = [None; WRITERS as usize];
    for partition in 0..PARTITIONS {
        let numbers = read_numbers(&log, &stream, partition);
        for ((_, offset), n) in acknowledged.iter().filter(|((number, _), _)| *number == partition) {
            assert_eq!(
                numbers.get(usize::try_from(*offset).unwrap()),
                Some(n),
                "partition {partition} offset {offset}"
            );
        }
        let mut once = numbers.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), numbers.len(), "no row is there twice");
        for n in numbers {
            let writer = usize::try_from(n / 1_000_000 % WRITERS).unwrap();
            assert!(last_of_writer[writer] < Some(n), "rows of a writer are in its order");
            last_of_writer[writer] = Some(n);
        }
    }
    for (writer, last) in last_of_writer.iter().enumerate() {
        let expected = last.map(|n: i64| n + 1);
        let name = format!("writer-{writer}");
        let value = log.value(&name).map(|value| i64::from_le_bytes(value.try_into().unwrap()));
        assert_eq!(value, expected, "value and rows of {name} are of the same commit");
        let partition = u32::try_from(writer).unwrap() % PARTITIONS;
        assert_eq!(log.cursor(&name, stream.id(), partition).map(u64::cast_signed), expected);
    }
}

#[tokio::test]
async fn a_crash_during_recovery_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = Log::open(&live, options()).unwrap();
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
