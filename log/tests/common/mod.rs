//! What the tests of the log share: a small stream, rows to append, and reading all of a partition.

#![allow(dead_code, clippy::unwrap_used, missing_docs)] // each test binary uses a part of it

pub mod faulty_disk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use thermocline_log::{Commit, Log, LogOptions, Stream, StreamSpec};

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("device", DataType::Utf8, false),
        Field::new("n", DataType::Int64, false),
        Field::new("note", DataType::Utf8, true),
    ]))
}

/// Rows whose column `n` counts from `from`.
pub fn rows(from: i64, count: i64) -> RecordBatch {
    let n: Vec<i64> = (from..from + count).collect();
    let device: Vec<String> = n.iter().map(|n| format!("device-{}", n % 7)).collect();
    let note: Vec<Option<String>> = n.iter().map(|n| (n % 3 == 0).then(|| format!("note {n}"))).collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(StringArray::from(device)) as ArrayRef,
            Arc::new(Int64Array::from(n)),
            Arc::new(StringArray::from(note)),
        ],
    )
    .unwrap()
}

pub fn append(stream: &Stream, rows: RecordBatch) -> Commit {
    let mut commit = Commit::new();
    commit.append(stream.id(), rows);
    commit
}

pub async fn numbers_stream(log: &Log) -> Stream {
    log.create_stream(StreamSpec::new("numbers", schema())).await.unwrap()
}

/// Never seals by itself unless a test asks for it.
pub fn options() -> LogOptions {
    LogOptions { seal_age: Duration::from_secs(1 << 30), journal_file_bytes: 1 << 20, ..LogOptions::default() }
}

/// Column `n` of all rows of a partition that can be read now.
pub fn read_numbers(log: &Log, stream: &Stream, partition: u32) -> Vec<i64> {
    let range = log.range(stream.id(), partition).unwrap();
    let mut reader = log.reader(stream.id(), partition, range.start, None).unwrap();
    let mut numbers = Vec::new();
    let mut at = range.start;
    while let Some(rows) = reader.next(1000).unwrap() {
        assert_eq!(rows.start_offset, at, "offsets are contiguous");
        at = rows.end_offset();
        let found = rows.batch.column(1).as_primitive::<Int64Type>();
        for (row, n) in found.values().iter().enumerate() {
            assert_eq!(rows.batch.column(0).as_string::<i32>().value(row), format!("device-{}", n % 7));
            assert_eq!(rows.batch.column(2).is_null(row), n % 3 != 0);
        }
        numbers.extend(found.values());
    }
    assert_eq!(at, reader.position());
    numbers
}

/// The journal files, oldest first.
pub fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files.sort();
    files
}

/// Copies a data directory as a crash would leave it, the lock aside.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                // A journal file that was needed no more.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// Waits for something that happens in the background without telling.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
