//! Whatever happens between a commit and its retry, each is stored exactly once: random runs of commits that are made
//! again and again, in flight together, on a disk that fills up, with seals that trim the journal, restarts and kills.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::faulty_disk::{Faults, faulty_disk};
use common::{append, copy_dir, numbers_stream, options, read_numbers, rows};
use proptest::prelude::*;
use tempfile::TempDir;
use thermocline_log::{Commit, Error, Log, LogOptions, OffsetRange, Stream};

const KEYS: usize = 8;
const PRODUCERS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// Commits under these keys, queued together.
    Keys(Vec<usize>),
    /// The producer's sequences from so many before its next one, so many of them, queued together.
    Producer(usize, u64, u64),
    /// A key with another commit.
    Reuse(usize),
    /// A commit without identity.
    Plain,
    /// The same, but the disk has no space.
    Full(Box<Step>),
    Seal,
    Reopen,
    /// Goes on with a copy of the directory, made while it was open.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let commits = prop_oneof![
        prop::collection::vec(0..KEYS, 1..6).prop_map(Step::Keys),
        (0..PRODUCERS, 0..7_u64, 1..4_u64).prop_map(|(producer, back, count)| Step::Producer(producer, back, count)),
        Just(Step::Plain),
    ];
    prop_oneof![
        8 => commits.clone(),
        2 => commits.prop_map(|step| Step::Full(Box::new(step))),
        1 => (0..KEYS).prop_map(Step::Reuse),
        2 => Just(Step::Seal),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

/// The log and what has to be in it.
struct Run {
    root: TempDir,
    dir: PathBuf,
    copies: usize,
    faults: Arc<Faults>,
    log: Log,
    stream: Stream,
    /// First number and ranges of every commit that was acknowledged, by its identity.
    stored: BTreeMap<String, (i64, Vec<OffsetRange>)>,
    /// Numbers by offset.
    numbers: BTreeMap<u64, i64>,
    /// Next sequence of each producer.
    next_sequence: [u64; PRODUCERS],
    plain: i64,
}

/// Rows of a commit: how many depends on what is committed, so that some are encoded by the caller and some by the writer.
fn count(n: i64) -> i64 {
    [1, 3, 300, 40][usize::try_from(n).unwrap() % 4]
}

/// First number of the rows of a commit; no two commits share numbers.
fn base(n: i64) -> i64 {
    n * 1000
}

impl Run {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        faults.skip_syncs.store(true, Ordering::SeqCst);
        let dir = root.path().join("0");
        let log = Self::open(&dir, &faults);
        let stream = numbers_stream(&log).await;
        let (stored, numbers) = (BTreeMap::new(), BTreeMap::new());
        Self { root, dir, copies: 0, faults, log, stream, stored, numbers, next_sequence: [1; PRODUCERS], plain: 0 }
    }

    fn open(dir: &PathBuf, faults: &Arc<Faults>) -> Log {
        let disk = faulty_disk(faults);
        Log::open(dir, LogOptions { disk, journal_file_bytes: 8 << 10, ..options() }).unwrap()
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Keys(keys) => self.keys(keys).await,
            Step::Producer(producer, back, count) => self.producer(*producer, *back, *count).await,
            Step::Reuse(key) => self.reuse(*key).await,
            Step::Plain => {
                let n = 500 + self.plain;
                self.plain += 1;
                let commit = append(&self.stream, rows(base(n), count(n)));
                self.commit_all(vec![(format!("plain {n}"), n, commit)]).await;
            }
            Step::Full(step) => {
                self.faults.set_space(Some(0));
                Box::pin(self.step(step)).await;
                self.faults.set_space(None);
            }
            Step::Seal => {
                self.log.seal().await.unwrap();
            }
            Step::Reopen => {
                self.log.close().await.unwrap();
                self.log = Self::open(&self.dir, &self.faults);
            }
            Step::Kill => {
                self.copies += 1;
                let copy = self.root.path().join(self.copies.to_string());
                copy_dir(&self.dir, &copy);
                self.log = Self::open(&copy, &self.faults);
                self.dir = copy;
            }
        }
        self.check();
    }

    fn keyed(&self, key: usize) -> (String, i64, Commit) {
        let n = i64::try_from(key).unwrap();
        let mut commit = append(&self.stream, rows(base(n), count(n)));
        let name = format!("key {key}");
        commit.idempotency_key(&name, key as u64);
        (name, n, commit)
    }

    async fn keys(&mut self, keys: &[usize]) {
        self.commit_all(keys.iter().map(|key| self.keyed(*key)).collect()).await;
    }

    async fn producer(&mut self, producer: usize, back: u64, many: u64) {
        let name = format!("producer {producer}");
        let first = self.next_sequence[producer].saturating_sub(back).max(1);
        let commit = |sequence: u64| {
            let n = 100 * (i64::try_from(producer).unwrap() + 1) + i64::try_from(sequence).unwrap();
            let mut commit = append(&self.stream, rows(base(n), count(n)));
            commit.producer(&name, sequence);
            (format!("{name} {sequence}"), n, commit)
        };
        self.commit_all((first..first + many).map(commit).collect()).await;
        while self.stored.contains_key(&format!("{name} {}", self.next_sequence[producer])) {
            self.next_sequence[producer] += 1;
        }
    }

    async fn reuse(&self, key: usize) {
        let (name, _, mut commit) = self.keyed(key);
        if self.stored.contains_key(&name) {
            commit.idempotency_key(&name, 1_000_000);
            let answer = self.log.commit(commit).await;
            assert!(matches!(answer, Err(Error::KeyReused { .. })), "{answer:?}");
        }
    }

    /// Queues commits at once and holds the answers against what is known.
    async fn commit_all(&mut self, commits: Vec<(String, i64, Commit)>) {
        let queued: Vec<_> = commits.into_iter().map(|(name, n, commit)| (name, n, self.log.commit(commit))).collect();
        for (name, n, answer) in queued {
            match (answer.await, self.stored.get(&name)) {
                (Ok(receipt), Some((_, ranges))) => {
                    assert!(receipt.duplicate, "{name} was stored twice");
                    // Of a producer only the last receipts are kept.
                    assert!(receipt.ranges == *ranges || name.starts_with("producer") && receipt.ranges.is_empty());
                }
                (Ok(receipt), None) => {
                    assert!(!receipt.duplicate, "{name} was never stored");
                    for (offset, number) in (receipt.ranges[0].start..).zip(base(n)..base(n) + count(n)) {
                        assert_eq!(self.numbers.insert(offset, number), None, "{name}: an offset is given out once");
                    }
                    self.stored.insert(name, (n, receipt.ranges));
                }
                // After one that failed, or before one that is known.
                (Err(Error::Full { .. } | Error::OutOfSequence { .. }), None) => {}
                (answer, known) => panic!("{name}, stored as {known:?}, was answered {answer:?}"),
            }
        }
    }

    fn check(&self) {
        let expected: Vec<i64> = self.numbers.values().copied().collect();
        assert_eq!(read_numbers(&self.log, &self.stream, 0), expected);
        for producer in 0..PRODUCERS {
            let last = self.next_sequence[producer].checked_sub(1).filter(|last| *last > 0);
            assert_eq!(self.log.producer_sequence(&format!("producer {producer}")), last);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_commit_is_stored_once(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in &steps {
                run.step(step).await;
            }
        });
    }
}
