//! The process that is killed: opens the log and puts a load on it, telling on its output what was acknowledged.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use thermocline_log::{Commit, Durability, Log, LogOptions, Receipt, Retention, Stream, StreamSpec};

use crate::attempt::{Attempt, Identity};
use crate::common::{rows, schema};
use crate::random::Random;

pub const DIR: &str = "THERMOCLINE_CRASH_DIR";
pub const ROUND: &str = "THERMOCLINE_CRASH_ROUND";
pub const ROUND_SEED: &str = "THERMOCLINE_CRASH_SEED";
/// The attempts to make first.
pub const RETRIES: &str = "THERMOCLINE_CRASH_RETRIES";

pub const WRITERS: i64 = 8;
/// Streams with the number of their partitions. Retention removes the oldest rows of the last one.
pub const STREAMS: [(&str, u32); 3] = [("wide", 2), ("narrow", 3), (BOUNDED, 1)];
pub const BOUNDED: &str = "bounded";
/// Numbers that a writer may use in one round.
pub const NUMBERS: i64 = 1_000_000;
/// After so many rows a writer rests, so that a round's data stays small whatever the machine.
const MAX_ROWS: i64 = 4000;

/// Told of a commit that was made again: it had been stored, or had not.
pub const RETRIED_DUPLICATE: &str = "retried duplicate";
pub const RETRIED_NEW: &str = "retried new";

/// First number that a writer uses in a round; numbers are never used twice.
pub fn base(round: i64, writer: i64) -> i64 {
    (round * WRITERS + writer) * NUMBERS
}

/// The partition of a stream that a writer appends to.
pub fn partition_of(writer: i64, partitions: u32) -> u32 {
    u32::try_from(writer).unwrap() % partitions
}

/// Everything small and varied, so that rolls, seals, merges and trims happen all the time.
pub fn options(random: &mut Random) -> LogOptions {
    LogOptions {
        durability: match random.within(0..4) {
            0 => Durability::Os,
            1 => Durability::Interval(Duration::from_millis(5)),
            _ => Durability::Sync,
        },
        journal_file_bytes: random.within(32..256) << 10,
        seal_bytes: random.within(4..64) << 10,
        seal_age: Duration::from_millis(random.within(5..100)),
        ..LogOptions::default()
    }
}

/// How large commits are.
#[derive(Debug, Clone, Copy)]
enum Shape {
    SingleRows,
    Batches,
    Mixed,
}

/// What the writers of a round do.
#[derive(Debug, Clone, Copy)]
struct Load {
    round: i64,
    shape: Shape,
    /// Whether commits append to all streams, or to the first alone.
    all_streams: bool,
}

impl Load {
    fn rows_of(&self, step: i64) -> i64 {
        match self.shape {
            Shape::SingleRows => 1,
            Shape::Batches => 300 + step % 3 * 400,
            Shape::Mixed if step % 16 == 15 => 400,
            Shape::Mixed => 1 + step % 3,
        }
    }
}

/// Not a test by itself: appends until it is killed, telling what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by kill_9_loses_nothing"]
async fn crashing_child() {
    let (Ok(dir), Ok(round), Ok(seed)) = (std::env::var(DIR), std::env::var(ROUND), std::env::var(ROUND_SEED)) else {
        return;
    };
    let retries = std::env::var(RETRIES).unwrap_or_default();
    let retries = retries.split_terminator(';').map(|retry| Attempt::parse(retry).unwrap()).collect();
    run(dir.into(), round.parse().unwrap(), Random::new(&[seed.parse().unwrap()]), retries).await;
}

async fn run(dir: PathBuf, round: i64, mut random: Random, retries: Vec<Attempt>) {
    tell("opening");
    let log = Log::open(dir, options(&mut random)).unwrap();
    tell("opened");
    let mut streams = Vec::new();
    for (name, partitions) in STREAMS {
        // Retention changes with every round: that is an entry of its own.
        let max_bytes = (name == BOUNDED).then(|| random.within(2..20) << 10);
        let retention = Retention { max_bytes, ..Retention::default() };
        let spec = StreamSpec { partitions, retention, ..StreamSpec::new(name, schema()) };
        streams.push(log.create_stream(spec).await.unwrap());
    }
    let shape = [Shape::SingleRows, Shape::Batches, Shape::Mixed][usize::try_from(random.within(0..3)).unwrap()];
    let load = Load { round, shape, all_streams: random.once_in(2) };
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let retry = retries.iter().copied().find(|retry| retry.writer() == writer);
            tokio::spawn(write(log.clone(), streams.clone(), load, writer, retry))
        })
        .collect();
    if random.once_in(3) {
        tokio::spawn(seal(log.clone()));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    tell("finished");
    std::future::pending().await
}

async fn seal(log: Log) {
    loop {
        log.seal().await.unwrap();
    }
}

/// Commits one after the other; first the one again whose acknowledgement was not seen.
async fn write(log: Log, streams: Vec<Stream>, load: Load, writer: i64, retry: Option<Attempt>) {
    let identity = Identity::of(writer);
    let name = name_of(writer);
    if let Some(retry) = retry {
        if identity == Identity::Producer {
            let last = log.producer_sequence(&name);
            assert!(last == Some(retry.sequence) || last == retry.sequence.checked_sub(1), "{last:?} before {retry:?}");
        }
        let receipt = commit(&log, &streams, retry).await;
        tell(if receipt.duplicate { RETRIED_DUPLICATE } else { RETRIED_NEW });
    }
    let next_sequence = log.producer_sequence(&name).map_or(0, |last| last + 1);
    let mut first = base(load.round, writer);
    for (step, sequence) in (0..).zip(next_sequence..) {
        if first - base(load.round, writer) >= MAX_ROWS {
            return;
        }
        let attempt = Attempt { first, rows: load.rows_of(step), all_streams: load.all_streams, sequence };
        if identity != Identity::None {
            tell(&attempt.to_string());
        }
        assert!(!commit(&log, &streams, attempt).await.duplicate, "{attempt:?} is new");
        first = attempt.next(&streams);
    }
}

/// Rows, and a value and a cursor that say how far the writer got, in one commit. Numbers go on over the rows of all
/// streams; those of the bounded stream are the first ones again.
async fn commit(log: &Log, streams: &[Stream], attempt: Attempt) -> Receipt {
    let Attempt { first, rows: count, .. } = attempt;
    let (writer, name) = (attempt.writer(), name_of(attempt.writer()));
    let mut commit = Commit::new();
    let mut n = first;
    for stream in attempt.streams(streams) {
        let partition = partition_of(writer, stream.partitions());
        if stream.name() == BOUNDED {
            commit.append_to(stream.id(), partition, rows(first, count));
        } else {
            commit.append_to(stream.id(), partition, rows(n, count));
            n += count;
        }
    }
    commit.put(&name, n.to_le_bytes().to_vec());
    commit.move_cursor(&name, streams[0].id(), partition_of(writer, streams[0].partitions()), n.cast_unsigned());
    match Identity::of(writer) {
        Identity::None => &mut commit,
        Identity::Producer => commit.producer(&name, attempt.sequence),
        Identity::Key => commit.idempotency_key(format!("upload/{first}"), n.cast_unsigned()),
    };
    let receipt = log.commit(commit).await.unwrap();
    let mut line = format!("acknowledged {first}");
    for range in &receipt.ranges {
        let stream = streams.iter().position(|stream| stream.id() == range.stream).unwrap();
        line += &format!(" {stream} {} {} {}", range.partition, range.start, range.end);
    }
    tell(&(line + " ."));
    receipt
}

pub fn name_of(writer: i64) -> String {
    format!("writer-{writer}")
}

/// One write for a line, so that lines are whole. The test harness may have begun the line.
fn tell(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}
