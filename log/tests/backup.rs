//! Backup and restore: a copy is one durable instant of the log, whatever goes on meanwhile; damage is named; a copy that
//! fails leaves the log as it was.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::faulty_disk::{Faults, faulty_disk};
use common::{append, eventually, journal_files, numbers_stream, options, read_numbers, rows, schema};
use thermocline_log::{
    Commit, CopyProgress, Durability, Error, Log, LogOptions, Retention, Stream, StreamSpec, backup, is_backup,
    restore, verify, verify_backup,
};

const BATCH_ROWS: i64 = 50;

fn quiet(_: CopyProgress) {}

/// All files below `dir`, the lock aside.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("LOCK") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// One commit of the writer under load: rows, the cursor past them, and a value that names a state file.
async fn batch(log: &Log, stream: &Stream, kept: &Stream, number: i64) {
    let name = format!("{number:010}.snapshot");
    log.write_state_file(&name, format!("state of {number}").as_bytes()).unwrap();
    let mut commit = append(stream, rows(number * BATCH_ROWS, BATCH_ROWS));
    commit.append(kept.id(), rows(number * BATCH_ROWS, BATCH_ROWS));
    commit.move_cursor("reader", stream.id(), 0, (number + 1).cast_unsigned() * BATCH_ROWS.cast_unsigned());
    commit.put("number", number.to_string()).put("snapshot", name.clone());
    log.commit(commit).await.unwrap();
    if number % 3 == 0 {
        for entry in std::fs::read_dir(log.state_dir()).unwrap() {
            let found = entry.unwrap().file_name().into_string().unwrap();
            if found < name {
                log.remove_state_file(&found).unwrap();
            }
        }
    }
}

/// Checks that the log holds whole batches only, each with all that was committed with it; returns how many.
fn check_instant(log: &Log) -> i64 {
    let (stream, kept) = (log.stream("numbers").unwrap(), log.stream("kept").unwrap());
    let number: i64 = String::from_utf8(log.value("number").unwrap()).unwrap().parse().unwrap();
    let end = (number + 1) * BATCH_ROWS;
    assert_eq!(read_numbers(log, &stream, 0), (0..end).collect::<Vec<_>>());
    assert_eq!(log.cursor("reader", stream.id(), 0), Some(end.cast_unsigned()), "rows and cursor are of one instant");
    let mut rows_kept = 0;
    for partition in 0..3 {
        rows_kept += end_of_what_is_kept(log, &kept, partition);
    }
    assert_eq!(rows_kept, end.cast_unsigned(), "both streams are of one instant");
    let name = String::from_utf8(log.value("snapshot").unwrap()).unwrap();
    let state = std::fs::read_to_string(log.state_dir().join(name)).unwrap();
    assert_eq!(state, format!("state of {number}"), "the file that the value names");
    number + 1
}

/// Reads all rows that retention, which goes on meanwhile, has left; returns the offset behind the last.
fn end_of_what_is_kept(log: &Log, kept: &Stream, partition: u32) -> u64 {
    let range = log.range(kept.id(), partition).unwrap();
    let mut reader = log.reader(kept.id(), partition, range.start, None).unwrap();
    loop {
        let at = reader.position();
        match reader.next(1000) {
            Ok(Some(rows)) => assert_eq!(rows.start_offset, at, "offsets are contiguous"),
            Ok(None) => return at,
            Err(Error::OffsetRemoved { oldest, .. }) => reader.seek(oldest),
            Err(other) => panic!("{other}"),
        }
    }
}

async fn two_streams(log: &Log) -> (Stream, Stream) {
    let retention = Retention { max_age: None, max_bytes: Some(20_000) };
    let spec = StreamSpec {
        partitions: 3,
        partition_key: vec!["device".to_owned()],
        retention,
        ..StreamSpec::new("kept", schema())
    };
    (numbers_stream(log).await, log.create_stream(spec).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_under_load_are_one_instant_each_and_hold_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogOptions { seal_bytes: 5_000, journal_file_bytes: 32 << 10, ..options() };
    let log = Log::open(dir.path().join("data"), small).unwrap();
    let (stream, kept) = two_streams(&log).await;
    batch(&log, &stream, &kept, 0).await;
    let acknowledged = Arc::new(AtomicU64::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    // Held while a copy is looked at, so that the log grows with the rounds and not with the time that they take.
    let paused = Arc::new(tokio::sync::Mutex::new(()));
    let writer = tokio::spawn({
        let (log, acknowledged, stop) = (log.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
        let paused = Arc::clone(&paused);
        async move {
            for number in 1.. {
                let _going_on = paused.lock().await;
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                batch(&log, &stream, &kept, number).await;
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for round in 0..12 {
        // Between two backups the log moves on: rows sealed, segments merged and removed, journal files trimmed.
        let goal = acknowledged.load(Ordering::SeqCst) + 25;
        eventually("the writer goes on", || acknowledged.load(Ordering::SeqCst) >= goal).await;
        let before = acknowledged.load(Ordering::SeqCst);
        let copy = dir.path().join(format!("backups/{round}"));
        let report = log.backup(&copy, quiet).await.unwrap();
        let _pause = paused.lock().await;
        let found = files(&copy);
        assert_eq!(report.files + 1, found.len() as u64, "all files but the list of them");
        let bytes: u64 = found.iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!(report.bytes, bytes - copy.join("BACKUP").metadata().unwrap().len());
        assert_eq!(verify(&copy).unwrap(), []);
        assert_eq!(verify_backup(&copy).unwrap(), []);

        let restored = dir.path().join(format!("restored/{round}"));
        assert_eq!(restore(&copy, &restored, quiet).unwrap(), report);
        assert_eq!(verify(&restored).unwrap(), []);
        let opened = Log::open(&restored, options()).unwrap();
        let batches = check_instant(&opened);
        assert!(batches.cast_unsigned() >= before, "{batches} batches in the copy, {before} acknowledged before it");
        // A log like any other: it goes on.
        let stream = opened.stream("numbers").unwrap();
        opened.commit(append(&stream, rows(batches * BATCH_ROWS, 1))).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    log.seal().await.unwrap();
    eventually("the journal is trimmed again", || journal_files(&dir.path().join("data")).len() <= 2).await;
    check_instant(&log);
}

/// A backup that waits at the first bytes it copies, until it is let go.
struct Held {
    backup: tokio::task::JoinHandle<Result<thermocline_log::BackupReport, Error>>,
    go_on: mpsc::Sender<()>,
}

impl Held {
    async fn at_the_journal(log: &Log, dest: PathBuf) -> Self {
        Self::after_bytes(log, dest, 1).await
    }

    /// Waits when at least `bytes` are copied.
    async fn after_bytes(log: &Log, dest: PathBuf, bytes: u64) -> Self {
        let (go_on, wait) = mpsc::channel();
        let (reached, is_reached) = tokio::sync::oneshot::channel();
        let mut reached = Some(reached);
        let progress = move |so_far: CopyProgress| {
            if so_far.copied_bytes >= bytes
                && let Some(reached) = reached.take()
            {
                reached.send(()).unwrap();
                // An error means that the test let go by dropping its end.
                let _ = wait.recv();
            }
        };
        let log = log.clone();
        let backup = tokio::spawn(async move { log.backup(dest, progress).await });
        is_reached.await.unwrap();
        Self { backup, go_on }
    }

    async fn end(self) -> Result<thermocline_log::BackupReport, Error> {
        drop(self.go_on);
        self.backup.await.unwrap()
    }
}

#[tokio::test]
async fn nothing_that_a_backup_needs_goes_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = Log::open(&data, LogOptions { journal_file_bytes: 16 << 10, ..options() }).unwrap();
    let (stream, kept) = two_streams(&log).await;
    for number in 0..10 {
        batch(&log, &stream, &kept, number).await;
        if number % 2 == 0 {
            log.seal().await.unwrap();
        }
    }
    let journal = journal_files(&data);
    let segments = log.segments(stream.id(), 0).unwrap();
    let paths: Vec<_> = segments.iter().map(|segment| segment.path.clone()).collect();
    drop(segments);
    let held = Held::at_the_journal(&log, dir.path().join("copy")).await;
    assert!(matches!(log.backup(dir.path().join("other"), quiet).await, Err(Error::BackupRunning)));
    for number in 10..40 {
        batch(&log, &stream, &kept, number).await;
        log.seal().await.unwrap();
    }
    eventually("segments are merged", || log.segments(stream.id(), 0).unwrap().len() < 10).await;
    assert!(log.range(kept.id(), 0).unwrap().start > 0, "retention has removed rows");
    assert!(journal.iter().chain(&paths).all(|path| path.exists()), "held");
    assert!(!log.remove_state_file("0000000009.snapshot").unwrap(), "held");
    held.end().await.unwrap();
    eventually("the journal is trimmed", || journal.iter().all(|path| !path.exists())).await;
    assert!(paths.iter().all(|path| !path.exists()), "let go");
    assert!(log.remove_state_file("0000000009.snapshot").unwrap());
    assert!(!log.state_dir().join("0000000009.snapshot").exists());
    assert_eq!(check_instant(&log), 40);
    restore(dir.path().join("copy"), dir.path().join("restored"), quiet).unwrap();
    let restored = Log::open(dir.path().join("restored"), options()).unwrap();
    assert_eq!(check_instant(&restored), 10, "as it was when the backup began");
}

#[tokio::test]
async fn the_journal_is_trimmed_again_while_segments_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = Log::open(&data, LogOptions { journal_file_bytes: 8 << 10, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 10_000))).await.unwrap();
    log.seal().await.unwrap();
    eventually("the journal is short", || journal_files(&data).len() <= 2).await;
    let journal_bytes = log.stats().journal_bytes;
    let held = Held::after_bytes(&log, dir.path().join("copy"), journal_bytes + 1).await;
    let segment = log.segments(stream.id(), 0).unwrap()[0].path.clone();
    let old = journal_files(&data);
    for n in 0..20 {
        log.commit(append(&stream, rows(10_000 + n * 200, 200))).await.unwrap();
        log.seal().await.unwrap();
    }
    eventually("journal files of the cut are removed", || old.iter().all(|path| !path.exists())).await;
    // A segment that is replaced stays for the copy.
    let retention = Retention { max_age: None, max_bytes: Some(1) };
    log.create_stream(StreamSpec { retention, ..StreamSpec::new("numbers", schema()) }).await.unwrap();
    log.seal().await.unwrap();
    assert_eq!(log.range(stream.id(), 0).unwrap(), 14_000..14_000);
    assert!(segment.exists());
    held.end().await.unwrap();
    assert!(!segment.exists());
    restore(dir.path().join("copy"), dir.path().join("restored"), quiet).unwrap();
    let restored = Log::open(dir.path().join("restored"), options()).unwrap();
    assert_eq!(read_numbers(&restored, &stream, 0), (0..10_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn closing_the_log_or_giving_up_ends_a_backup_and_removes_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path().join("data"), options()).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 1000))).await.unwrap();
    let copy = dir.path().join("copy");
    let held = Held::at_the_journal(&log, copy.clone()).await;
    held.backup.abort();
    assert!(held.backup.await.unwrap_err().is_cancelled());
    drop(held.go_on);
    eventually("what was copied is removed", || files(&copy).is_empty()).await;

    // The same place again, once the first has ended.
    while let Err(error) = log.backup(&copy, quiet).await {
        assert!(matches!(error, Error::BackupRunning | Error::Locked { .. }), "{error}");
        tokio::task::yield_now().await;
    }
    let held = Held::at_the_journal(&log, dir.path().join("second")).await;
    let closing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(log.close())
    });
    assert!(matches!(Log::open(dir.path().join("data"), options()), Err(Error::Locked { .. })), "it is still read");
    // Either the copy is told, or it had come to its end just before.
    match held.end().await {
        Err(Error::Closed) => assert!(files(&dir.path().join("second")).is_empty()),
        ended => assert!(ended.is_ok(), "{ended:?}"),
    }
    closing.join().unwrap().unwrap();
    assert_eq!(verify_backup(&copy).unwrap(), []);
    let log = Log::open(dir.path().join("data"), options()).unwrap();
    log.close().await.unwrap();
    assert!(matches!(log.backup(dir.path().join("third"), quiet).await, Err(Error::Closed)));
}

/// A backup with all kinds of files.
async fn made(dir: &Path) -> PathBuf {
    let log = Log::open(dir.join("data"), LogOptions { journal_file_bytes: 16 << 10, ..options() }).unwrap();
    let (stream, kept) = two_streams(&log).await;
    for number in 0..6 {
        batch(&log, &stream, &kept, number).await;
        if number % 2 == 0 {
            log.seal().await.unwrap();
        }
    }
    std::fs::write(log.state_dir().join("next.partial"), "half").unwrap();
    let copy = dir.join("copy");
    log.backup(&copy, quiet).await.unwrap();
    copy
}

#[tokio::test]
async fn every_damaged_or_missing_file_is_named_and_nothing_is_restored_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let copy = made(dir.path()).await;
    let restored = dir.path().join("restored");
    let files_found = files(&copy);
    assert!(!files_found.iter().any(|path| path.ends_with("next.partial")), "what was only being written is left out");
    for folder in ["journal", "segments", "state"] {
        assert!(files_found.iter().any(|path| path.starts_with(copy.join(folder))), "{folder}");
    }
    for path in files_found {
        let content = std::fs::read(&path).unwrap();
        let mut flipped = content.clone();
        flipped[content.len() / 2] ^= 0x10;
        let mut longer = content.clone();
        longer.push(0);
        for damaged in [Some(&flipped[..]), Some(&content[..content.len() - 1]), Some(&longer), None] {
            match damaged {
                Some(damaged) => std::fs::write(&path, damaged).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let refused = restore(&copy, &restored, quiet).unwrap_err();
            match &refused {
                Error::Corrupt { path: named, .. } => assert_eq!(*named, path),
                Error::NoBackup { .. } => assert!(path.ends_with("BACKUP") && damaged.is_none()),
                other => panic!("{}: {other}", path.display()),
            }
            if !matches!(refused, Error::NoBackup { .. }) {
                let found = verify_backup(&copy).unwrap();
                assert_eq!(found.iter().map(|damage| &damage.path).collect::<Vec<_>>(), [&path]);
            }
            assert_eq!(if restored.exists() { files(&restored) } else { Vec::new() }, Vec::<PathBuf>::new());
        }
        std::fs::write(&path, content).unwrap();
    }
    restore(&copy, &restored, quiet).unwrap();
    assert_eq!(check_instant(&Log::open(&restored, options()).unwrap()), 6);
}

#[tokio::test]
async fn a_copy_that_was_interrupted_is_neither_a_backup_nor_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let copy = made(dir.path()).await;
    assert!(is_backup(&copy));
    // Both are written last, in this order.
    for missing in ["BACKUP", "LOG"] {
        std::fs::remove_file(copy.join(missing)).unwrap();
        assert!(!is_backup(&copy));
        let refused = restore(&copy, dir.path().join("restored"), quiet).unwrap_err();
        assert!(matches!(&refused, Error::NoBackup { path } if *path == copy), "{refused}");
    }
    let refused = Log::open(&copy, options()).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { path, .. } if path.ends_with("LOG")), "{refused}");
}

#[tokio::test]
async fn a_full_destination_is_told_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let disk = faulty_disk(&faults);
    let data = dir.path().join("data");
    let log = Log::open(&data, LogOptions { disk, journal_file_bytes: 16 << 10, ..options() }).unwrap();
    let (stream, kept) = two_streams(&log).await;
    let copy = dir.path().join("copy");
    for number in 0..6 {
        batch(&log, &stream, &kept, number).await;
    }
    log.seal().await.unwrap();
    batch(&log, &stream, &kept, 6).await;
    let mut space = 0;
    let needed = loop {
        faults.set_space(Some(space));
        match log.backup(&copy, quiet).await {
            Ok(report) => break report.bytes,
            Err(Error::Full { path }) => assert!(path.starts_with(&copy), "{}", path.display()),
            Err(other) => panic!("expected a full disk, found {other}"),
        }
        assert_eq!(files(&copy), Vec::<PathBuf>::new(), "the space is free again");
        space += 1500;
    };
    assert!(space.cast_unsigned() >= needed && space > 10_000);
    faults.set_space(None);
    let journal = journal_files(&data);
    for number in 7..20 {
        batch(&log, &stream, &kept, number).await;
        log.seal().await.unwrap();
    }
    eventually("the journal is trimmed", || journal.iter().all(|path| !path.exists())).await;
    assert_eq!(check_instant(&log), 20);
    restore(&copy, dir.path().join("restored"), quiet).unwrap();
    assert_eq!(check_instant(&Log::open(dir.path().join("restored"), options()).unwrap()), 7);
}

#[tokio::test]
async fn a_destination_that_is_too_small_is_not_filled_up_first() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let disk = faulty_disk(&faults);
    let log = Log::open(dir.path().join("data"), LogOptions { disk, reserve_bytes: 0, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 1000))).await.unwrap();
    let copy = dir.path().join("copy");
    *faults.quota.lock().unwrap() = Some((copy.clone(), 5000));
    let copied = |_: CopyProgress| panic!("expected nothing to be copied");
    let refused = log.backup(&copy, copied).await.unwrap_err();
    assert!(matches!(&refused, Error::Full { path } if *path == copy), "{refused}");
    *faults.quota.lock().unwrap() = None;
    log.backup(&copy, quiet).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_without_a_sync_is_in_the_copy_too() {
    for durability in [Durability::Os, Durability::Interval(Duration::from_secs(1000))] {
        let dir = tempfile::tempdir().unwrap();
        let small = LogOptions { durability, journal_file_bytes: 16 << 10, ..options() };
        let log = Log::open(dir.path().join("data"), small).unwrap();
        let (stream, kept) = two_streams(&log).await;
        for number in 0..7 {
            batch(&log, &stream, &kept, number).await;
            let copy = dir.path().join(number.to_string());
            log.backup(&copy, quiet).await.unwrap();
            let restored = dir.path().join(format!("restored-{number}"));
            restore(copy, &restored, quiet).unwrap();
            assert_eq!(check_instant(&Log::open(restored, options()).unwrap()), number + 1);
        }
    }
}

#[tokio::test]
async fn damage_of_the_log_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = Log::open(&data, options()).unwrap();
    let stream = numbers_stream(&log).await;
    log.commit(append(&stream, rows(0, 100))).await.unwrap();
    log.seal().await.unwrap();
    let segment = log.segments(stream.id(), 0).unwrap()[0].path.clone();
    let mut content = std::fs::read(&segment).unwrap();
    content[100] ^= 1;
    std::fs::write(&segment, content).unwrap();
    let copy = dir.path().join("copy");
    let running = log.backup(&copy, quiet).await.unwrap_err();
    assert!(matches!(&running, Error::Corrupt { path, .. } if *path == segment), "{running}");
    log.close().await.unwrap();
    let closed = backup(&data, &copy, quiet).unwrap_err();
    assert!(matches!(&closed, Error::Corrupt { path, .. } if *path == segment), "{closed}");
    assert_eq!(files(&copy), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_poisoned_log_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let disk = faulty_disk(&faults);
    let log = Log::open(dir.path().join("data"), LogOptions { disk, ..options() }).unwrap();
    let stream = numbers_stream(&log).await;
    faults.fail_syncs.store(true, Ordering::SeqCst);
    log.commit(append(&stream, rows(0, 10))).await.unwrap_err();
    faults.fail_syncs.store(false, Ordering::SeqCst);
    assert!(matches!(log.backup(dir.path().join("copy"), quiet).await, Err(Error::Poisoned { .. })));
}

#[tokio::test]
async fn a_closed_log_is_copied_without_its_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let log = Log::open(&data, options()).unwrap();
    let (stream, kept) = two_streams(&log).await;
    for number in 0..4 {
        batch(&log, &stream, &kept, number).await;
    }
    assert!(matches!(backup(&data, dir.path().join("copy"), quiet), Err(Error::Locked { .. })));
    log.close().await.unwrap();
    let last = journal_files(&data).pop().unwrap();
    let whole = last.metadata().unwrap().len();
    let torn: Vec<u8> = std::fs::read(&last).unwrap().into_iter().chain([0x5a; 100]).collect();
    std::fs::write(&last, torn).unwrap();
    let mut total = 0;
    let report = backup(&data, dir.path().join("copy"), |so_far| total = so_far.total_bytes).unwrap();
    assert_eq!(total, report.bytes);
    assert_eq!(dir.path().join("copy/journal").join(last.file_name().unwrap()).metadata().unwrap().len(), whole);
    assert_eq!(last.metadata().unwrap().len(), whole + 100, "nothing is changed");
    restore(dir.path().join("copy"), dir.path().join("restored"), quiet).unwrap();
    assert_eq!(check_instant(&Log::open(dir.path().join("restored"), options()).unwrap()), 4);
}

#[tokio::test]
async fn a_destination_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let copy = made(dir.path()).await;
    let data = dir.path().join("data");
    let before = files(&data);
    for refused in [backup(&data, &copy, quiet), restore(&copy, &data, quiet), restore(&copy, dir.path(), quiet)] {
        assert!(matches!(refused, Err(Error::NotEmpty { .. })), "{refused:?}");
    }
    assert!(matches!(backup(&data, data.join("copy"), quiet), Err(Error::InsideItself { .. })));
    assert!(matches!(restore(dir.path().join("nowhere"), dir.path().join("x"), quiet), Err(Error::NoBackup { .. })));
    assert_eq!(files(&data), before);
    assert_eq!(verify_backup(&copy).unwrap(), []);
    let log = Log::open(&data, options()).unwrap();
    assert!(matches!(log.backup(&copy, quiet).await, Err(Error::NotEmpty { .. })));
    for name in ["../LOG", "a/b", ""] {
        assert!(log.remove_state_file(name).is_err(), "{name}");
    }
    // A commit that holds nothing but a value belongs to the copy too.
    let mut commit = Commit::new();
    commit.put("number", "later");
    log.commit(commit).await.unwrap();
    log.backup(dir.path().join("second"), quiet).await.unwrap();
    restore(dir.path().join("second"), dir.path().join("restored"), quiet).unwrap();
    assert_eq!(Log::open(dir.path().join("restored"), options()).unwrap().value("number"), Some(b"later".to_vec()));
}
