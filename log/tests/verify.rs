//! `verify` and `inspect`: clean directories are clean, all damage is named, nothing is changed, and a directory in use
//! is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{append, copy_dir, journal_files, numbers_stream, options, rows};
use thermocline_log::{Error, Log, LogOptions, inspect, verify};

/// A closed log with two segments, several journal files and unsealed rows.
async fn log_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let small = LogOptions { journal_file_bytes: 8 << 10, ..options() };
    let log = Log::open(dir.path(), small).unwrap();
    let stream = numbers_stream(&log).await;
    for from in [0, 50] {
        log.commit(append(&stream, rows(from, 50))).await.unwrap();
        log.seal().await.unwrap();
    }
    for n in 0..20 {
        log.commit(append(&stream, rows(100 + n * 20, 20))).await.unwrap();
    }
    log.close().await.unwrap();
    dir
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let folder = dir.join("segments/numbers/0");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn flip(path: &Path, byte: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[byte] ^= 4;
    std::fs::write(path, content).unwrap();
}

/// Begin of every frame, by the format's documentation.
fn frames(path: &Path) -> Vec<usize> {
    let content = std::fs::read(path).unwrap();
    let mut frames = Vec::new();
    let mut at = 64;
    while content.get(at..at + 4) == Some(b"TCFR") {
        frames.push(at);
        at += 64 + usize::try_from(u64::from_le_bytes(content[at + 40..at + 48].try_into().unwrap())).unwrap();
    }
    frames
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn a_clean_directory_is_clean_and_stays_as_it_is() {
    let dir = log_dir().await;
    let before = contents(dir.path());
    assert_eq!(verify(dir.path()).unwrap(), []);
    let found = inspect(dir.path()).unwrap();
    let partition = &found.streams[0].partitions[0];
    assert_eq!((partition.start_offset, partition.sealed_offset, partition.end_offset), (0, 100, 500));
    assert_eq!(partition.segments.len(), 2);
    assert_eq!(found.journal_files, journal_files(dir.path()).len() as u64);
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn all_damage_is_named_with_its_place() {
    let dir = log_dir().await;
    let (journal, segments) = (journal_files(dir.path()), segment_files(dir.path()));
    assert!(journal.len() > 1, "the journal has rolled");
    let (first, second) = (frames(&journal[0]), frames(&journal[1]));
    flip(&journal[0], first[1] + 20); // a header
    flip(&journal[0], first[2] + 90); // the body of the frame behind it
    flip(&journal[1], second[0] + 70); // a checkpoint
    flip(&segments[1], 100);
    let before = contents(dir.path());
    let found = verify(dir.path()).unwrap();
    let places: Vec<_> = found.iter().map(|damage| (damage.path.clone(), damage.offset)).collect();
    let expected = [
        (journal[0].clone(), first[1] as u64),
        (journal[0].clone(), first[2] as u64),
        (journal[1].clone(), second[0] as u64),
        (segments[1].clone(), 0),
    ];
    assert_eq!(places, expected, "{found:#?}");
    assert!(found.iter().all(|damage| damage.what.contains("checksum: expected")), "{found:#?}");
    assert_eq!(contents(dir.path()), before);
    assert!(matches!(inspect(dir.path()), Err(Error::Corrupt { path, .. }) if path == journal[0]));
}

#[tokio::test]
async fn what_is_missing_is_damage() {
    let dir = log_dir().await;
    let (journal, segments) = (journal_files(dir.path()), segment_files(dir.path()));
    for missing in [&journal[1], &segments[0], &dir.path().join("LOG")] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        std::fs::remove_file(copy.path().join(missing.strip_prefix(dir.path()).unwrap())).unwrap();
        assert_eq!(verify(copy.path()).unwrap().len(), 1, "without {}", missing.display());
    }
}

#[tokio::test]
async fn a_torn_end_is_no_damage_and_is_left_alone() {
    let dir = log_dir().await;
    let last = journal_files(dir.path()).pop().unwrap();
    let end = *frames(&last).last().unwrap();
    let mut content = std::fs::read(&last).unwrap();
    content.truncate(end + 30);
    std::fs::write(&last, &content).unwrap();
    assert_eq!(verify(dir.path()).unwrap(), []);
    let torn_bytes = inspect(dir.path()).unwrap().torn_bytes;
    assert!((1..=30).contains(&torn_bytes), "{torn_bytes}");
    assert_eq!(std::fs::read(&last).unwrap(), content);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let dir = log_dir().await;
    let log = Log::open(dir.path(), options()).unwrap();
    assert!(matches!(verify(dir.path()), Err(Error::Locked { .. })));
    assert!(matches!(inspect(dir.path()), Err(Error::Locked { .. })));
    log.close().await.unwrap();
    assert_eq!(verify(dir.path()).unwrap(), []);
}

#[test]
fn a_folder_without_a_log_is_refused_and_left_empty() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(verify(dir.path()), Err(Error::Io { .. })));
    assert!(matches!(inspect(dir.path().join("nowhere")), Err(Error::Io { .. })));
    assert_eq!(contents(dir.path()).len(), 0);
}
