//! Reading rows back: from segments, all columns and two of six, beside reading and checking the same files; and from
//! the tail, by one reader and by many at once, which share the rows in memory.
//!
//! `cargo bench -p thermocline-log --bench replay [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use thermocline_log::{Durability, Log, LogOptions, Stream, StreamSpec};

use crate::common::{Readings, append, folder, heading, median, resident_mib};

const ROUNDS: usize = 5;
const READ_ROWS: usize = 8192;
const SEGMENT_ROWS: usize = 5_000_000;
const TAIL_ROWS: usize = 2_000_000;

/// A log with rows, appended a thousand at a time.
async fn filled(dir: &Path, rows: usize, options: LogOptions) -> (Log, Stream) {
    let log = Log::open(dir, LogOptions { durability: Durability::Os, ..options }).unwrap();
    let stream = log.create_stream(StreamSpec::new("readings", Readings::schema())).await.unwrap();
    let mut readings = Readings::new();
    for _ in (0..rows).step_by(1000) {
        while log.stats().tail_bytes > LogOptions::default().tail_bytes * 3 / 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        log.commit(append(&stream, readings.batch(1000, Some(stream.schema())))).await.unwrap();
    }
    (log, stream)
}

/// Reads everything: rows.
fn read(log: &Log, stream: &Stream, projection: Option<Vec<usize>>) -> usize {
    let mut reader = log.reader(stream.id(), 0, 0, projection).unwrap();
    let mut rows = 0;
    while let Some(read) = reader.next(READ_ROWS).unwrap() {
        rows += black_box(&read.batch).num_rows();
    }
    rows
}

/// Median of several runs, in million rows a second.
fn measure(rows: usize, mut run: impl FnMut() -> usize) -> f64 {
    median(
        (0..ROUNDS)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(run(), rows);
                rows as f64 / started.elapsed().as_secs_f64() / 1e6
            })
            .collect(),
    )
}

async fn from_segments(dir: &Path) {
    let (log, stream) = filled(&dir.join("segments"), SEGMENT_ROWS, LogOptions::default()).await;
    log.seal().await.unwrap();
    let segments = log.segments(stream.id(), 0).unwrap();
    let files = measure(SEGMENT_ROWS, || {
        for segment in &segments {
            black_box(crc32c::crc32c(&std::fs::read(&segment.path).unwrap()));
        }
        SEGMENT_ROWS
    });
    let all = measure(SEGMENT_ROWS, || read(&log, &stream, None));
    let two = measure(SEGMENT_ROWS, || read(&log, &stream, Some(vec![0, 2])));
    println!("from {} segments, {SEGMENT_ROWS} rows, files in the page cache", segments.len());
    println!("  reading the files and their checksums alone {files:>8.1} M rows/s");
    println!("  all columns                                 {all:>8.1} M rows/s");
    println!("  2 of 6 columns                              {two:>8.1} M rows/s");
    log.close().await.unwrap();
}

async fn from_the_tail(dir: &Path) {
    let options = LogOptions { tail_bytes: 1 << 30, seal_bytes: 1 << 30, ..LogOptions::default() };
    let (log, stream) = filled(&dir.join("tail"), TAIL_ROWS, options).await;
    let batches: Vec<RecordBatch> =
        log.tail_rows(stream.id(), 0, 0).unwrap().into_iter().map(|rows| rows.batch).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), TAIL_ROWS, "nothing is sealed yet");
    let sum = measure(TAIL_ROWS, || {
        let column = |batch: &RecordBatch| batch.column(2).as_primitive::<Float64Type>().values().iter().sum::<f64>();
        black_box(batches.iter().map(column).sum::<f64>());
        TAIL_ROWS
    });
    let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
    println!("from the tail, {TAIL_ROWS} rows, {:.0} MiB", bytes as f64 / f64::from(1 << 20));
    println!("  summing one column of it               {sum:>8.1} M rows/s");
    drop(batches);
    for readers in [1, 8, 64] {
        let before = resident_mib();
        let rate = measure(TAIL_ROWS * readers, || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..readers).map(|_| scope.spawn(|| read(&log, &stream, None))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            })
        });
        // Readers that stand still with everything they have read in hand share it too.
        let held: Vec<Vec<_>> = (0..readers)
            .map(|_| {
                let mut reader = log.reader(stream.id(), 0, 0, None).unwrap();
                std::iter::from_fn(|| reader.next(READ_ROWS).unwrap()).collect()
            })
            .collect();
        let grown = resident_mib() - before;
        println!(
            "  {readers:>2} readers, all columns              {rate:>8.1} M rows/s; all rows held by all: {grown:+.0} MiB"
        );
        drop(held);
    }
    log.close().await.unwrap();
}

#[tokio::main]
async fn main() {
    heading("replay");
    let dir = folder();
    from_segments(dir.path()).await;
    from_the_tail(dir.path()).await;
}
