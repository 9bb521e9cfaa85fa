//! Rows are refused before the disk is full, and the log comes back by itself: what seals, trims and removes has space.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::faulty_disk::{Faults, faulty_disk, used_bytes};
use common::{append, eventually, numbers_stream, options, read_numbers, rows, schema};
use thermocline_log::{Commit, Disk, Error, Log, LogOptions, OsDisk, Retention, Stream, StreamSpec};

const QUOTA_BYTES: u64 = 2 << 20;
const RESERVE_BYTES: u64 = 1 << 20;

fn on(faults: &Arc<Faults>, dir: &Path) -> LogOptions {
    *faults.quota.lock().unwrap() = Some((dir.to_owned(), QUOTA_BYTES));
    LogOptions { disk: faulty_disk(faults), journal_file_bytes: 64 << 10, reserve_bytes: RESERVE_BYTES, ..options() }
}

/// Appends until the log refuses; returns how many rows it took in all.
async fn fill(log: &Log, stream: &Stream, mut accepted: i64) -> i64 {
    loop {
        match log.commit(append(stream, rows(accepted, 100))).await {
            Ok(_) => accepted += 100,
            Err(error) => {
                assert!(matches!(error, Error::Full { .. }) && error.is_retryable(), "{error}");
                return accepted;
            }
        }
    }
}

#[tokio::test]
async fn rows_are_refused_before_the_reserve_is_touched() {
    for no_allocation in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        faults.no_allocation.store(no_allocation, Ordering::SeqCst);
        // Nothing is sealed: the journal alone fills the disk.
        faults.hold_segments(true);
        let log = Log::open(dir.path(), on(&faults, dir.path())).unwrap();
        let stream = numbers_stream(&log).await;
        assert!(!log.is_disk_full());
        let accepted = fill(&log, &stream, 0).await;
        eventually("it is known that the disk is full", || log.is_disk_full()).await;
        let available = QUOTA_BYTES - used_bytes(dir.path());
        assert!(available >= RESERVE_BYTES, "{available} bytes are left");
        assert!(available <= RESERVE_BYTES + (128 << 10), "the rest is used: {available} bytes are left");

        // What is small may use the reserve, and reads go on.
        for n in 0..200_u64 {
            let mut commit = Commit::new();
            commit.move_cursor("sink", stream.id(), 0, n).put("position", vec![0; 1000]);
            log.commit(commit).await.unwrap();
        }
        assert_eq!(read_numbers(&log, &stream, 0), (0..accepted).collect::<Vec<_>>());
        assert!(matches!(log.commit(append(&stream, rows(accepted, 1))).await, Err(Error::Full { .. })));

        faults.hold_segments(false);
        eventually("sealing has freed the journal", || !log.is_disk_full()).await;
        log.commit(append(&stream, rows(accepted, 100))).await.unwrap();
        drop(log);
        let log = Log::open(dir.path(), options()).unwrap();
        assert_eq!(read_numbers(&log, &stream, 0), (0..accepted + 100).collect::<Vec<_>>());
        assert_eq!(log.cursor("sink", stream.id(), 0), Some(199));
    }
}

#[tokio::test]
async fn retention_brings_a_full_disk_back() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let log = Log::open(dir.path(), on(&faults, dir.path())).unwrap();
    let stream = numbers_stream(&log).await;
    // Others fill the disk to the reserve.
    let other = dir.path().join("other");
    let mut accepted = 0;
    for _ in 0..20 {
        log.commit(append(&stream, rows(accepted, 1000))).await.unwrap();
        accepted += 1000;
        log.seal().await.unwrap();
    }
    let segments = log.stats().segment_bytes;
    let room = QUOTA_BYTES - used_bytes(dir.path());
    std::fs::write(&other, vec![0; usize::try_from(room - RESERVE_BYTES).unwrap()]).unwrap();
    eventually("it is known that the disk is full", || log.is_disk_full()).await;
    assert!(matches!(log.commit(append(&stream, rows(accepted, 1))).await, Err(Error::Full { .. })));
    log.seal().await.unwrap();
    assert!(log.is_disk_full());

    // Another retention needs an entry in the journal, and so does every removal.
    let retention = Retention { max_age: None, max_bytes: Some(1) };
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap();
    eventually("old rows are removed", || log.stats().segment_bytes < segments / 2).await;
    std::fs::write(&other, vec![0; usize::try_from(room - RESERVE_BYTES).unwrap() - (200 << 10)]).unwrap();
    eventually("there is space", || !log.is_disk_full()).await;
    log.commit(append(&stream, rows(accepted, 1))).await.unwrap();
}

#[tokio::test]
async fn a_log_on_a_full_disk_opens_and_takes_what_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let log = Log::open(dir.path(), on(&faults, dir.path())).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 100))).await.unwrap();
    log.close().await.unwrap();
    let with = on(&faults, dir.path());
    *faults.quota.lock().unwrap() = Some((dir.path().to_owned(), RESERVE_BYTES / 2));
    let log = Log::open(dir.path(), with).unwrap();
    assert!(log.is_disk_full());
    assert!(matches!(log.commit(append(&stream, rows(100, 1))).await, Err(Error::Full { .. })));
    let mut commit = Commit::new();
    commit.put("key", "value");
    log.commit(commit).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (0..100).collect::<Vec<_>>());

    let none = LogOptions { reserve_bytes: 0, ..on(&faults, dir.path()) };
    *faults.quota.lock().unwrap() = Some((dir.path().to_owned(), RESERVE_BYTES / 2));
    drop(log);
    let log = Log::open(dir.path(), none).unwrap();
    log.commit(append(&stream, rows(100, 1))).await.unwrap();
}

#[test]
fn the_file_system_tells_its_space() {
    let dir = tempfile::tempdir().unwrap();
    let space = OsDisk.space(dir.path()).unwrap();
    assert!(space.available_bytes <= space.total_bytes && space.total_bytes > 0, "{space:?}");
}
