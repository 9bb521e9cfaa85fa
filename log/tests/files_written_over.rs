//! A journal file that is written over holds whole frames of its former life behind its last one, even right behind it:
//! they are never read as rows and never told as damage.

#![allow(clippy::unwrap_used)]

mod common;

use common::{append, copy_dir, journal_files, numbers_stream, options, read_numbers, rows};
use thermocline_log::{Log, LogOptions, verify};

const FRAME_MAGIC: &[u8] = b"TCFR";

fn small() -> LogOptions {
    LogOptions { journal_file_bytes: 16 << 10, ..options() }
}

/// How many frames, of whatever life, begin behind `from`.
fn frames_behind(content: &[u8], from: usize) -> usize {
    (from..content.len()).step_by(8).filter(|at| content[*at..].starts_with(FRAME_MAGIC)).count()
}

#[tokio::test]
async fn older_frames_behind_the_last_one_are_no_rows_and_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let log = Log::open(&live, small()).unwrap();
    let stream = numbers_stream(&log).await;
    let (mut n, mut with_older_frames, mut right_behind) = (0, 0, 0);
    for round in 0..6 {
        // Commits of one shape: their frames have the same places in every file.
        for step in 0..60 {
            log.commit(append(&stream, rows(1_000_000 + n, 3))).await.unwrap();
            n += 3;
            if step % 20 != round {
                continue;
            }
            let killed = dir.path().join(format!("killed-{n}"));
            copy_dir(&live, &killed);
            let last = std::fs::read(journal_files(&killed).pop().unwrap()).unwrap();
            assert!(verify(&killed).unwrap().is_empty());
            let killed_log = Log::open(&killed, small()).unwrap();
            let start = log.range(stream.id(), 0).unwrap().start;
            let expected: Vec<i64> = (1_000_000..1_000_000 + n).skip(usize::try_from(start).unwrap()).collect();
            assert_eq!(read_numbers(&killed_log, &stream, 0), expected);
            // The file as it was read: cut at its end.
            let end = std::fs::metadata(&journal_files(&killed)[journal_files(&killed).len() - 2]).unwrap().len();
            let end = usize::try_from(end).unwrap();
            with_older_frames += usize::from(frames_behind(&last, end) > 0);
            right_behind += usize::from(last[end..].starts_with(FRAME_MAGIC));
            killed_log.close().await.unwrap();
            assert!(verify(&killed).unwrap().is_empty());
        }
        log.seal().await.unwrap();
    }
    assert!(with_older_frames > 3 && right_behind > 0, "{with_older_frames} {right_behind}");
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_spare_is_kept_over_a_restart_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let spare = dir.path().join("journal/spare");
    let log = Log::open(dir.path(), small()).unwrap();
    let stream = numbers_stream(&log).await;
    while !spare.exists() {
        for _ in 0..20 {
            log.commit(append(&stream, rows(0, 3))).await.unwrap();
        }
        log.seal().await.unwrap();
    }
    log.close().await.unwrap();
    let bytes = std::fs::read(&spare).unwrap();
    let log = Log::open(dir.path(), small()).unwrap();
    assert!(!spare.exists());
    let written_over = std::fs::read(journal_files(dir.path()).pop().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    assert_eq!(written_over[middle..bytes.len()], bytes[middle..]);
    log.close().await.unwrap();
}
