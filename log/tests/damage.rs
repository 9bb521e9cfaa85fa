//! Torn writes are cut, damage of acknowledged data is named, and nothing is changed then.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use common::faulty_disk::{Faults, faulty_disk};
use common::{append, copy_dir, journal_files, numbers_stream, options, read_numbers, rows};
use thermocline_log::{Durability, Error, Log, LogOptions};

const FRAME_HEADER_BYTES: usize = 64;

/// Small files and no syncs, so that many copies are opened quickly.
fn small() -> LogOptions {
    let faults = Faults::none();
    faults.skip_syncs.store(true, Ordering::SeqCst);
    LogOptions { journal_file_bytes: 16 << 10, disk: faulty_disk(&faults), ..options() }
}

/// Start, end and number of entries of every frame, by the format's documentation.
fn frames(content: &[u8]) -> Vec<(usize, usize, u32)> {
    let mut frames = Vec::new();
    let mut at = 64;
    while content.get(at..at + 4) == Some(b"TCFR") {
        let body = u64::from_le_bytes(content[at + 40..at + 48].try_into().unwrap());
        let entries = u32::from_le_bytes(content[at + 52..at + 56].try_into().unwrap());
        let end = at + FRAME_HEADER_BYTES + usize::try_from(body).unwrap();
        frames.push((at, end, entries));
        at = end;
    }
    frames
}

/// A directory as `kill -9` would leave it after three commits of 3, 2 and 1 rows, and its journal file.
async fn killed(durability: Durability) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = Log::open(&live, LogOptions { durability, ..small() }).unwrap();
    let stream = numbers_stream(&log).await;
    for (from, count) in [(0, 3), (3, 2), (5, 1)] {
        let mut commit = append(&stream, rows(from, count));
        commit.put("count", (from + count).to_le_bytes().to_vec());
        log.commit(commit).await.unwrap();
    }
    copy_dir(&live, &dir.path().join("killed"));
    drop(log);
    let file = journal_files(&dir.path().join("killed")).pop().unwrap();
    (dir, file)
}

fn open(dir: &Path) -> Result<Log, Error> {
    Log::open(dir, small())
}

/// The rows that are left, and the value that the last commit among them set.
fn left(dir: &Path) -> (Vec<i64>, i64) {
    let log = open(dir).unwrap();
    let stream = log.stream("numbers").unwrap();
    let count = i64::from_le_bytes(log.value("count").unwrap().try_into().unwrap());
    (read_numbers(&log, &stream, 0), count)
}

#[tokio::test]
async fn a_torn_last_frame_is_cut_wherever_it_tore() {
    let (dir, file) = killed(Durability::Sync).await;
    let content = std::fs::read(&file).unwrap();
    let last = *frames(&content).iter().rfind(|(_, _, entries)| *entries > 0).unwrap();
    let file_name = file.file_name().unwrap();
    for cut in last.0..=last.1 {
        let mut zero_filled = content.clone();
        zero_filled[cut..].fill(0);
        for torn in [&content[..cut], &zero_filled] {
            let copy = dir.path().join("torn");
            copy_dir(&dir.path().join("killed"), &copy);
            std::fs::write(copy.join("journal").join(file_name), torn).unwrap();
            let whole = torn[..last.1.min(torn.len())] == content[..last.1];
            let expected = if whole { ((0..6).collect(), 6) } else { ((0..5).collect(), 5) };
            assert_eq!(left(&copy), expected, "cut at byte {cut} of {last:?}");
            if cut % 16 == 0 {
                assert_eq!(left(&copy), expected, "after a second open, cut at byte {cut}");
            }
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
}

#[tokio::test]
async fn after_a_torn_end_the_log_goes_on() {
    let (dir, file) = killed(Durability::Sync).await;
    let content = std::fs::read(&file).unwrap();
    let last = *frames(&content).iter().rfind(|(_, _, entries)| *entries > 0).unwrap();
    std::fs::write(&file, &content[..last.0 + 10]).unwrap();
    let log = open(&dir.path().join("killed")).unwrap();
    let stream = log.stream("numbers").unwrap();
    let receipt = log.commit(append(&stream, rows(5, 4))).await.unwrap();
    assert_eq!((receipt.ranges[0].start, receipt.ranges[0].end), (5, 9));
    drop(log);
    let log = open(&dir.path().join("killed")).unwrap();
    assert_eq!(read_numbers(&log, &stream, 0), (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flipped_bit_in_acknowledged_data_is_named_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 3))).await.unwrap();
    log.commit(append(&stream, rows(3, 2))).await.unwrap();
    log.close().await.unwrap();
    drop(log);
    let file = journal_files(dir.path()).pop().unwrap();
    let content = std::fs::read(&file).unwrap();
    let acknowledged = frames(&content).iter().rfind(|(_, _, entries)| *entries > 0).unwrap().1;
    for byte in 0..acknowledged {
        let mut damaged = content.clone();
        damaged[byte] ^= 1 << (byte % 8);
        std::fs::write(&file, &damaged).unwrap();
        match open(dir.path()) {
            Err(Error::Corrupt { path, offset, .. }) => {
                assert_eq!(path, file);
                assert!(offset <= byte as u64, "damage at {byte}, named at {offset}");
            }
            other => panic!("byte {byte}: expected the damage to be named, found {other:?}"),
        }
        assert_eq!(std::fs::read(&file).unwrap(), damaged, "nothing is changed, byte {byte}");
        assert_eq!(journal_files(dir.path()).len(), 1);
    }
    std::fs::write(&file, &content).unwrap();
    assert_eq!(read_numbers(&open(dir.path()).unwrap(), &stream, 0), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn damage_that_was_never_synced_is_cut_with_the_valid_frames_behind_it() {
    let (dir, file) = killed(Durability::Os).await;
    let mut content = std::fs::read(&file).unwrap();
    let frames: Vec<_> = frames(&content).into_iter().filter(|(_, _, entries)| *entries > 0).collect();
    // Checkpoint, stream, then the three commits: damage the second.
    let second = frames[frames.len() - 2];
    content[second.0 + FRAME_HEADER_BYTES + 20] ^= 1;
    std::fs::write(&file, &content).unwrap();
    assert_eq!(left(&dir.path().join("killed")), ((0..3).collect(), 3));
}

#[tokio::test]
async fn a_journal_file_that_was_only_begun_is_cut() {
    let (dir, file) = killed(Durability::Sync).await;
    let content = std::fs::read(&file).unwrap();
    let mut header_only = content[..64].to_vec();
    header_only[16] = 2;
    // Groups are counted from 1, one a frame.
    header_only[40..48].copy_from_slice(&(frames(&content).len() as u64 + 1).to_le_bytes());
    let crc = crc32c::crc32c(&header_only[..60]);
    header_only[60..].copy_from_slice(&crc.to_le_bytes());
    for begun in [Vec::new(), vec![0; 16 << 10], vec![7; 1000], header_only] {
        let copy = dir.path().join("begun");
        copy_dir(&dir.path().join("killed"), &copy);
        let next = copy.join("journal").join("00000000000000000002.wal");
        assert!(!next.exists());
        std::fs::write(&next, begun).unwrap();
        assert_eq!(left(&copy), ((0..6).collect(), 6));
        assert_eq!(left(&copy), ((0..6).collect(), 6));
        std::fs::remove_dir_all(&copy).unwrap();
    }
}

#[tokio::test]
async fn a_missing_journal_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..60 {
        log.commit(append(&stream, rows(n * 20, 20))).await.unwrap();
    }
    drop(log);
    let files = journal_files(dir.path());
    assert!(files.len() > 2, "the journal has rolled");
    std::fs::remove_file(&files[1]).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Corrupt { path, .. }) if path == files[1]));
}

#[tokio::test]
async fn zeros_in_the_middle_of_an_older_file_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    let stream = numbers_stream(&log).await;
    for n in 0..60 {
        log.commit(append(&stream, rows(n * 20, 20))).await.unwrap();
    }
    drop(log);
    let file = &journal_files(dir.path())[0];
    let mut content = std::fs::read(file).unwrap();
    let last = *frames(&content).last().unwrap();
    content[last.0..].fill(0);
    std::fs::write(file, &content).unwrap();
    assert!(
        matches!(open(dir.path()), Err(Error::Corrupt { path, offset, .. }) if path == *file && offset == last.0 as u64)
    );
}

#[tokio::test]
async fn another_version_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let file = journal_files(dir.path()).pop().unwrap();
    let mut content = std::fs::read(&file).unwrap();
    content[8..10].copy_from_slice(&9_u16.to_le_bytes());
    let crc = crc32c::crc32c(&content[..60]);
    content[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&file, &content).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Version { expected: 2, found: 9, .. })));
}

#[tokio::test]
async fn a_damaged_identity_is_named() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let file = dir.path().join("LOG");
    let content = std::fs::read(&file).unwrap();
    for byte in 0..content.len() {
        let mut damaged = content.clone();
        damaged[byte] ^= 0x10;
        std::fs::write(&file, damaged).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::Corrupt { path, .. }) if path == file), "byte {byte}");
    }
}
