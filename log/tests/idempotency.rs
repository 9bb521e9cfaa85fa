//! A commit that is made again is stored once: one after the other, at the same time, after reopening, after a crash,
//! when only a checkpoint remembers it; and a commit that failed is never taken for stored.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::faulty_disk::{Faults, faulty_disk};
use common::{append, copy_dir, journal_files, numbers_stream, options, read_numbers, rows};
use thermocline_log::{Commit, Durability, Error, Log, LogOptions, ManualClock, Receipt, Stream, inspect};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn keyed(stream: &Stream, key: &str, from: i64, count: i64) -> Commit {
    let mut commit = append(stream, rows(from, count));
    commit.idempotency_key(key, from.cast_unsigned());
    commit
}

fn produced(stream: &Stream, producer: &str, sequence: u64, from: i64, count: i64) -> Commit {
    let mut commit = append(stream, rows(from, count));
    commit.producer(producer, sequence);
    commit
}

fn again(receipt: &Receipt) -> Receipt {
    assert!(!receipt.duplicate);
    Receipt { duplicate: true, ..receipt.clone() }
}

#[tokio::test]
async fn a_retry_gets_the_first_receipt_and_stores_nothing() {
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(5)), Durability::Os] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogOptions { durability, ..options() }).unwrap();
        let stream = numbers_stream(&log).await;
        // Small, encoded by the caller, cut into pieces; several appends, cursors and values.
        let mut expected = 0;
        for (n, count) in [1, 700, 70_000].into_iter().enumerate() {
            let mut commit = keyed(&stream, &format!("key-{n}"), expected, count);
            commit.append(stream.id(), rows(expected + count, count));
            commit.move_cursor("reader", stream.id(), 0, expected.cast_unsigned()).put("n", vec![n as u8]);
            let first = log.commit(commit.clone()).await.unwrap();
            assert_eq!(first.ranges.len(), 2);
            for _ in 0..3 {
                assert_eq!(log.commit(commit.clone()).await.unwrap(), again(&first));
            }
            expected += 2 * count;
        }
        for sequence in 0..10 {
            let commit = produced(&stream, "p", sequence, expected, 3);
            let first = log.commit(commit.clone()).await.unwrap();
            assert_eq!(log.commit(commit).await.unwrap(), again(&first));
            expected += 3;
        }
        assert_eq!(read_numbers(&log, &stream, 0), (0..expected).collect::<Vec<_>>());
        assert_eq!(log.producer_sequence("p"), Some(9));
    }
}

#[tokio::test]
async fn a_duplicate_moves_no_cursor_and_sets_no_value() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    let mut commit = Commit::new();
    commit.put("v", b"old".to_vec()).move_cursor("c", stream.id(), 0, 1).idempotency_key("k", 1);
    log.commit(commit.clone()).await.unwrap();
    let mut later = Commit::new();
    later.put("v", b"new".to_vec()).move_cursor("c", stream.id(), 0, 2);
    log.commit(later).await.unwrap();
    assert!(log.commit(commit).await.unwrap().duplicate);
    assert_eq!((log.value("v"), log.cursor("c", stream.id(), 0)), (Some(b"new".to_vec()), Some(2)));
}

#[tokio::test]
async fn a_key_of_another_commit_is_refused_and_its_neighbours_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    // All of one queue: in one group or in two, the answers are the same.
    let answers = [
        log.commit(keyed(&stream, "k", 0, 1)),
        log.commit(keyed(&stream, "k", 5, 1)),
        log.commit(append(&stream, rows(1, 1))),
        log.commit(keyed(&stream, "k", 0, 1)),
    ];
    let answers = futures_of(answers).await;
    assert!(matches!(&answers[1], Err(Error::KeyReused { key }) if key == "k"), "{:?}", answers[1]);
    assert!(!answers[1].as_ref().unwrap_err().is_retryable());
    assert_eq!(answers[3].as_ref().unwrap(), &again(answers[0].as_ref().unwrap()));
    assert!(matches!(log.commit(keyed(&stream, "k", 5, 1)).await, Err(Error::KeyReused { .. })));
    assert!(matches!(log.receipt("k", 5), Err(Error::KeyReused { .. })));
    assert_eq!(log.receipt("k", 0).unwrap(), Some(again(answers[0].as_ref().unwrap())));
    assert_eq!(log.receipt("other", 0).unwrap(), None);
    assert_eq!(read_numbers(&log, &stream, 0), [0, 1]);
    let too_long = "k".repeat(513);
    assert!(matches!(
        log.commit(keyed(&stream, &too_long, 0, 1)).await,
        Err(Error::InvalidCommitId { found: 513, .. })
    ));
    assert!(matches!(log.commit(produced(&stream, "", 0, 0, 1)).await, Err(Error::InvalidCommitId { found: 0, .. })));
}

async fn futures_of<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut answers = Vec::new();
    for future in futures {
        answers.push(future.await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_the_same_time_exactly_one_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    const KEYS: i64 = 50;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        for n in 0..KEYS {
            let (log, stream) = (log.clone(), stream.clone());
            tasks.spawn(async move {
                let commit = match n % 2 {
                    0 => keyed(&stream, &n.to_string(), n * 300, 300),
                    // The first sequence of a producer of its own.
                    _ => produced(&stream, &n.to_string(), 7, n * 300, 300),
                };
                (n, log.commit(commit).await.unwrap())
            });
        }
    }
    let mut stored = vec![0; usize::try_from(KEYS).unwrap()];
    let mut ranges = vec![Vec::new(); usize::try_from(KEYS).unwrap()];
    while let Some(answer) = tasks.join_next().await {
        let (n, receipt) = answer.unwrap();
        let n = usize::try_from(n).unwrap();
        stored[n] += i32::from(!receipt.duplicate);
        ranges[n].push(receipt.ranges);
    }
    assert!(stored.iter().all(|stored| *stored == 1), "{stored:?}");
    assert!(ranges.iter().all(|ranges| ranges.iter().all(|found| *found == ranges[0])));
    let mut numbers = read_numbers(&log, &stream, 0);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..KEYS * 300).collect::<Vec<_>>());
}

#[tokio::test]
async fn commits_are_remembered_across_reopening_trimming_and_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = Log::open(&live, options()).unwrap();
    let stream = numbers_stream(&log).await;
    let keyed = keyed(&stream, "k", 0, 10);
    let produced = produced(&stream, "p", 41, 10, 10);
    let receipts = [log.commit(keyed.clone()).await.unwrap(), log.commit(produced.clone()).await.unwrap()];
    let check = async |dir: &std::path::Path, when: &str| {
        let log = Log::open(dir, options()).unwrap();
        assert_eq!(log.producer_sequence("p"), Some(41), "{when}");
        assert_eq!(log.commit(keyed.clone()).await.unwrap(), again(&receipts[0]), "{when}");
        assert_eq!(log.commit(produced.clone()).await.unwrap(), again(&receipts[1]), "{when}");
        assert_eq!(read_numbers(&log, &stream, 0), (0..20).collect::<Vec<_>>(), "{when}");
        log
    };
    let killed = dir.path().join("killed");
    copy_dir(&live, &killed);
    drop(check(&killed, "after kill -9").await);
    drop(check(&killed, "after kill -9 and reopening").await);

    log.close().await.unwrap();
    let log = check(&live, "after closing").await;
    log.seal().await.unwrap();
    let files = journal_files(&live);
    assert_eq!(files.len(), 1, "only the file with the checkpoint is left: {files:?}");
    let trimmed = dir.path().join("trimmed");
    copy_dir(&live, &trimmed);
    log.close().await.unwrap();
    for when in ["after trimming", "after trimming and reopening"] {
        drop(check(&trimmed, when).await);
    }
    let found = inspect(&trimmed).unwrap();
    assert_eq!((found.idempotency_keys, found.producers), (1, 1));
}

#[tokio::test]
async fn the_window_ends_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let open = || Log::open(dir.path(), LogOptions { clock: Arc::clone(&clock) as _, ..options() }).unwrap();
    let log = open();
    let stream = numbers_stream(&log).await;
    let commit = async |log: &Log| {
        let key = log.commit(keyed(&stream, "k", 0, 1)).await.unwrap().duplicate;
        let producer = log.commit(produced(&stream, "p", 0, 7, 1)).await.unwrap().duplicate;
        (key, producer)
    };
    assert_eq!(commit(&log).await, (false, false));
    clock.advance(HOUR * 24 - Duration::from_millis(1));
    assert_eq!(commit(&log).await, (true, true));
    clock.advance(Duration::from_millis(1));
    assert_eq!(commit(&log).await, (false, true), "a day for a key");
    clock.advance(HOUR * 24 * 6);
    assert_eq!(log.producer_sequence("p"), None, "seven for a producer");
    assert_eq!(commit(&log).await, (false, false));
    // A clock set back makes a window longer, also when the log is opened meanwhile.
    clock.set(1_600_000_000_000);
    assert_eq!(commit(&log).await, (true, true));
    drop(log);
    let log = open();
    assert_eq!(commit(&log).await, (true, true));
    // One that was ahead for a while, too.
    clock.set(1_800_000_000_000);
    assert_eq!(log.receipt("k", 0).unwrap(), None);
    clock.set(1_700_000_000_000);
    assert_eq!(commit(&log).await, (true, true));
    drop(log);
    clock.set(1_800_000_000_000);
    let log = open();
    assert_eq!(commit(&log).await, (false, false));
    assert_eq!(read_numbers(&log, &stream, 0), [0, 7, 0, 0, 7, 0, 7]);
}

#[tokio::test]
async fn the_window_ends_by_count() {
    let dir = tempfile::tempdir().unwrap();
    let small = || LogOptions { idempotency_keys: 3, producers: 2, ..options() };
    let log = Log::open(dir.path(), small()).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..5 {
        log.commit(keyed(&stream, &format!("k{n}"), n, 1)).await.unwrap();
        log.commit(produced(&stream, &format!("p{n}"), 1, n, 1)).await.unwrap();
    }
    for _ in 0..2 {
        let keys = [0, 1, 2, 3, 4].map(|n| log.receipt(format!("k{n}"), n).unwrap().is_some());
        assert_eq!(keys, [false, false, true, true, true]);
        let producers = [0, 1, 2, 3, 4].map(|n| log.producer_sequence(&format!("p{n}")).is_some());
        assert_eq!(producers, [false, false, false, true, true]);
    }
    drop(log);
    let log = Log::open(dir.path(), LogOptions { idempotency_keys: 0, ..options() }).unwrap();
    assert_eq!(log.receipt("k4", 4).unwrap(), None, "a smaller bound holds when the log is opened");
    assert!(!log.commit(keyed(&stream, "k9", 9, 1)).await.unwrap().duplicate);
    assert!(!log.commit(keyed(&stream, "k9", 9, 1)).await.unwrap().duplicate, "none is remembered");
}

#[tokio::test]
async fn commits_of_a_producer_in_flight_together_fail_together() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let disk = faulty_disk(&faults);
    let log = Log::open(dir.path(), LogOptions { disk, journal_file_bytes: 64 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(produced(&stream, "p", 0, 0, 10)).await.unwrap();
    faults.set_space(Some(0));
    // Too large for the file: what follows would fit.
    let failed = log.commit(produced(&stream, "p", 1, 10, 5000)).await;
    assert!(matches!(failed, Err(Error::Full { .. })), "{failed:?}");
    faults.set_space(None);
    let overtaking = log.commit(produced(&stream, "p", 2, 5010, 10)).await;
    assert!(matches!(overtaking, Err(Error::OutOfSequence { expected: 1, found: 2, .. })), "{overtaking:?}");
    let answers = [log.commit(produced(&stream, "p", 1, 10, 5000)), log.commit(produced(&stream, "p", 2, 5010, 10))];
    for answer in futures_of(answers).await {
        assert!(!answer.unwrap().duplicate);
    }
    assert_eq!(read_numbers(&log, &stream, 0), (0..5020).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_group_that_failed_for_want_of_space_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let disk = || faulty_disk(&faults);
    let log = Log::open(dir.path(), LogOptions { disk: disk(), journal_file_bytes: 64 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(keyed(&stream, "stored", 0, 10)).await.unwrap();
    faults.set_space(Some(0));
    for _ in 0..3 {
        let failed = log.commit(keyed(&stream, "failed", 10, 5000)).await;
        assert!(matches!(failed, Err(Error::Full { .. })), "{failed:?}");
        assert_eq!(log.receipt("failed", 10).unwrap(), None);
        assert!(log.commit(keyed(&stream, "stored", 0, 10)).await.unwrap().duplicate, "needs no space");
    }
    faults.set_space(None);
    assert!(!log.commit(keyed(&stream, "failed", 10, 5000)).await.unwrap().duplicate);
    assert!(log.commit(keyed(&stream, "failed", 10, 5000)).await.unwrap().duplicate);
    assert_eq!(read_numbers(&log, &stream, 0), (0..5010).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_a_failed_sync_a_retry_stores_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let log = Log::open(dir.path(), LogOptions { disk: faulty_disk(&faults), ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(keyed(&stream, "a", 0, 1)).await.unwrap();
    faults.fail_syncs.store(true, Ordering::SeqCst);
    assert!(matches!(log.commit(keyed(&stream, "b", 1, 1)).await, Err(Error::Poisoned { .. })));
    assert_eq!(log.receipt("b", 1).unwrap(), None, "what is not acknowledged is not remembered");
    assert!(matches!(log.commit(keyed(&stream, "a", 0, 1)).await, Err(Error::Poisoned { .. })));
    faults.fail_syncs.store(false, Ordering::SeqCst);
    drop(log);
    // The frame is there or not; the key with it.
    let log = Log::open(dir.path(), options()).unwrap();
    assert!(log.commit(keyed(&stream, "a", 0, 1)).await.unwrap().duplicate);
    log.commit(keyed(&stream, "b", 1, 1)).await.unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), [0, 1]);
}

#[tokio::test]
async fn a_closed_log_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), options()).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(keyed(&stream, "k", 0, 1)).await.unwrap();
    log.close().await.unwrap();
    assert!(matches!(log.commit(keyed(&stream, "k", 0, 1)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn what_is_remembered_takes_at_most_half_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions { journal_file_bytes: 4 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..500 {
        let key = format!("{n:0>200}");
        log.commit(keyed(&stream, &key, n, 1)).await.unwrap();
    }
    // 500 groups of about 700 bytes, and checkpoints that grow to 130,000; old files are removed meanwhile.
    let newest = journal_files(dir.path()).pop().unwrap();
    let begun: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert!(begun < 30, "{begun} files were begun");
    drop(log);
    let log = Log::open(dir.path(), options()).unwrap();
    assert!(log.receipt(format!("{:0>200}", 0), 0).unwrap().is_some());
    assert_eq!(read_numbers(&log, &stream, 0), (0..500).collect::<Vec<_>>());
}
