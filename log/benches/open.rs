//! Opening a data directory: one with 1,000 segments of 100 MB (sparse files, their names say all that opening needs),
//! and ones with a journal of 256 MB of unsealed rows, in large and in small commits. Files are in the page cache.
//!
//! `cargo bench -p thermocline-log --bench open [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use thermocline_log::{Durability, Log, LogOptions, StreamSpec};

use crate::common::{Readings, append, folder, heading, median};

const ROUNDS: usize = 5;
const SEGMENTS: u64 = 1000;
const SEGMENT_BYTES: u64 = 100 << 20;
const SEGMENT_ROWS: u64 = 1000;
const JOURNAL_BYTES: u64 = 256 << 20;

/// Rows stay in the journal, and nothing waits for the disk.
fn unsealed() -> LogOptions {
    LogOptions { durability: Durability::Os, tail_bytes: 4 << 30, seal_bytes: 4 << 30, ..LogOptions::default() }
}

/// Seconds to open the log, and what it holds then.
async fn time_open(dir: &Path, options: &LogOptions) -> (f64, thermocline_log::LogStats) {
    let started = Instant::now();
    let log = Log::open(dir, options.clone()).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let stats = log.stats();
    log.close().await.unwrap();
    (seconds, stats)
}

/// A real log whose segments are replaced by many large ones without content.
async fn make_segments(dir: &Path) {
    let log = Log::open(dir, LogOptions { durability: Durability::Os, ..LogOptions::default() }).unwrap();
    let rows = (SEGMENTS * SEGMENT_ROWS) as i64;
    let rows = Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("n", rows)]).unwrap();
    let stream = log.create_stream(StreamSpec::new("numbers", rows.schema())).await.unwrap();
    log.commit(append(&stream, rows)).await.unwrap();
    log.seal().await.unwrap();
    let segments = log.segments(stream.id(), 0).unwrap();
    log.close().await.unwrap();
    let folder = segments[0].path.parent().unwrap().to_owned();
    segments.iter().for_each(|segment| std::fs::remove_file(&segment.path).unwrap());
    for number in 0..SEGMENTS {
        let (start, end) = (number * SEGMENT_ROWS, (number + 1) * SEGMENT_ROWS);
        let name = format!("{start:020}-{end:020}-1700000000000-00000000.parquet");
        std::fs::File::create(folder.join(name)).unwrap().set_len(SEGMENT_BYTES).unwrap();
    }
}

fn list(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        bytes += match entry.file_type().unwrap().is_dir() {
            true => list(&entry.path()),
            false => entry.metadata().unwrap().len(),
        };
    }
    bytes
}

async fn segments(dir: &Path) {
    let dir = dir.join("segments");
    make_segments(&dir).await;
    let (mut ours, mut listing) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (seconds, stats) = time_open(&dir, &LogOptions::default()).await;
        assert_eq!((stats.segments, stats.segment_bytes), (SEGMENTS, SEGMENTS * SEGMENT_BYTES));
        ours.push(seconds * 1e3);
        let started = Instant::now();
        black_box(list(&dir));
        listing.push(started.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "{SEGMENTS} segments of 100 MiB: opened in {:.1} ms (target: under 200 ms); listing the files alone {:.1} ms",
        median(ours),
        median(listing)
    );
}

async fn journal(dir: &Path, name: &str, mut commit: impl FnMut() -> RecordBatch) {
    let dir = dir.join("journal");
    let log = Log::open(&dir, unsealed()).unwrap();
    let stream = log.create_stream(StreamSpec::new("rows", commit().schema())).await.unwrap();
    let mut commits = 0;
    while log.stats().journal_bytes < JOURNAL_BYTES {
        // Not awaited one by one: what waits together is one group, as under load.
        let queued: Vec<_> = (0..64).map(|_| log.commit(append(&stream, commit()))).collect();
        for durable in queued {
            durable.await.unwrap();
            commits += 1;
        }
    }
    log.close().await.unwrap();
    let (mut ours, mut reading) = (vec![], vec![]);
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let (seconds, stats) = time_open(&dir, &unsealed()).await;
        assert_eq!(stats.segments, 0, "everything is in the journal");
        ours.push(seconds);
        let started = Instant::now();
        bytes = 0;
        for file in std::fs::read_dir(dir.join("journal")).unwrap() {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            black_box(crc32c::crc32c(&content));
            bytes += content.len();
        }
        reading.push(started.elapsed().as_secs_f64());
    }
    println!(
        "journal of {:.0} MiB, {commits} commits of {name}: opened in {:.2} s (target: under 2 s); reading the files and \
         one checksum alone {:.2} s",
        bytes as f64 / f64::from(1 << 20),
        median(ours),
        median(reading)
    );
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::main]
async fn main() {
    heading("open");
    let dir = folder();
    segments(dir.path()).await;
    let mut readings = Readings::new();
    journal(dir.path(), "1,000 readings", || readings.batch(1000, None)).await;
    let mut n = 0;
    let message = || {
        n += 1;
        let text = Arc::new(StringArray::from(vec![format!("{n:0200}")])) as ArrayRef;
        RecordBatch::try_from_iter([("message", text)]).unwrap()
    };
    journal(dir.path(), "one row of 200 B", message).await;
}
