//! How fast rows become durable, beside what the disk itself allows in the same run: bare syncs, single rows from many
//! writers, batches, and a sustained load that includes sealing.
//!
//! `cargo bench -p thermocline-log --bench append [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thermocline_log::{Commit, Error, Log, LogOptions, Stream, StreamSpec};

const MEASURE: Duration = Duration::from_secs(3);

/// Readings of six columns, about 60 bytes a row.
fn readings(from: usize, rows: usize) -> RecordBatch {
    let numbers = from..from + rows;
    let float = |scale: f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(numbers.clone().map(|n| n as f64 * scale)))
    };
    let device = numbers.clone().map(|n| format!("device-{:04}", n % 1000));
    let ts = numbers.clone().map(|n| 1_700_000_000_000_000 + i64::try_from(n).unwrap() * 100);
    RecordBatch::try_from_iter(vec![
        ("device_id", Arc::new(StringArray::from_iter_values(device)) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(ts).with_timezone("UTC"))),
        ("temperature", float(0.01)),
        ("pressure", float(0.1)),
        ("vibration", float(0.0001)),
        ("status", Arc::new(StringArray::from_iter_values(numbers.clone().map(|_| "ok")))),
    ])
    .unwrap()
}

/// One row of 200 bytes.
fn message(n: usize) -> RecordBatch {
    let text = format!("{n:0200}");
    RecordBatch::try_from_iter(vec![("message", Arc::new(StringArray::from(vec![text])) as ArrayRef)]).unwrap()
}

fn append(stream: &Stream, rows: RecordBatch) -> Commit {
    let mut commit = Commit::new();
    commit.append(stream.id(), rows);
    commit
}

fn quantiles(name: &str, mut micros: Vec<f64>, seconds: f64) {
    micros.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let at = |q: f64| micros[((micros.len() - 1) as f64 * q) as usize];
    println!(
        "{name:<44} {:>10.0}/s   p50 {:>8.0} µs   p99 {:>8.0} µs   p999 {:>8.0} µs",
        micros.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

/// How the file of a bare sync test is prepared.
#[derive(Clone, Copy)]
enum Prepared {
    Growing,
    Allocated,
    ZeroFilled,
}

/// Latency of appending `bytes` and syncing.
fn bare_syncs(dir: &Path, name: &str, prepared: Prepared, bytes: usize) {
    let path = dir.join("bare");
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
    let len = 64_u64 << 20;
    match prepared {
        Prepared::Growing => {}
        Prepared::Allocated => rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).unwrap(),
        Prepared::ZeroFilled => file.write_all_at(&vec![0; usize::try_from(len).unwrap()], 0).unwrap(),
    }
    file.sync_all().unwrap();
    let block = vec![7; bytes];
    let mut micros = Vec::new();
    let started = Instant::now();
    let mut at = 0;
    while started.elapsed() < MEASURE / 2 && at + bytes as u64 <= len {
        let before = Instant::now();
        file.write_all_at(&block, at).unwrap();
        file.sync_data().unwrap();
        micros.push(before.elapsed().as_secs_f64() * 1e6);
        at += bytes as u64;
    }
    quantiles(name, micros, started.elapsed().as_secs_f64());
    std::fs::remove_file(path).unwrap();
}

/// Single rows, each writer waiting for its acknowledgement before the next.
async fn single_rows(dir: &Path, writers: usize) {
    let log = Log::open(dir.join(format!("single-{writers}")), LogOptions::default()).unwrap();
    let stream = log.create_stream(StreamSpec::new("messages", message(0).schema())).await.unwrap();
    // Rows keep one schema in memory, as a gateway's do.
    let row = RecordBatch::try_new(Arc::clone(stream.schema()), message(1).columns().to_vec()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (log, stream, row, stop) = (log.clone(), stream.clone(), row.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut micros = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    match log.commit(append(&stream, row.clone())).await {
                        Ok(_) => micros.push(before.elapsed().as_secs_f64() * 1e6),
                        Err(Error::Overloaded { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                        Err(other) => panic!("{other}"),
                    }
                }
                micros
            })
        })
        .collect();
    tokio::time::sleep(MEASURE).await;
    stop.store(true, Ordering::Relaxed);
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await.unwrap());
    }
    quantiles(&format!("log, single rows of 200 B, {writers} writers"), micros, started.elapsed().as_secs_f64());
    log.close().await.unwrap();
}

/// Batches as a gateway's or a connector's, sealing included.
async fn batches(dir: &Path, rows: usize, batch_rows: usize, in_flight: usize) {
    let options = LogOptions::default();
    let log = Log::open(dir.join(format!("batches-{batch_rows}-{in_flight}")), options).unwrap();
    let stream = log.create_stream(StreamSpec::new("readings", readings(0, 1).schema())).await.unwrap();
    let batch = readings(0, batch_rows);
    let batch = RecordBatch::try_new(Arc::clone(stream.schema()), batch.columns().to_vec()).unwrap();
    let started = Instant::now();
    let mut waiting = std::collections::VecDeque::new();
    let mut refused = 0;
    for _ in 0..rows / batch_rows {
        if waiting.len() == in_flight {
            let oldest: tokio::task::JoinHandle<Result<_, Error>> = waiting.pop_front().unwrap();
            refused += usize::from(oldest.await.unwrap().is_err());
        }
        while log.stats().tail_bytes > LogOptions::default().tail_bytes * 3 / 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waiting.push_back(tokio::spawn(log.commit(append(&stream, batch.clone()))));
    }
    for commit in waiting {
        refused += usize::from(commit.await.unwrap().is_err());
    }
    let durable = started.elapsed();
    log.seal().await.unwrap();
    let sealed = started.elapsed();
    println!(
        "log, {rows} rows in batches of {batch_rows}, {in_flight} in flight: durable {:.2} s ({:.2} M rows/s), \
         sealed {:.2} s, {refused} refused",
        durable.as_secs_f64(),
        rows as f64 / durable.as_secs_f64() / 1e6,
        sealed.as_secs_f64(),
    );
    for (name, projection) in [("all columns", None), ("2 of 6 columns", Some(vec![0, 2]))] {
        let started = Instant::now();
        let mut reader = log.reader(stream.id(), 0, 0, projection).unwrap();
        let mut read = 0;
        while let Some(rows) = reader.next(8192).unwrap() {
            read += rows.batch.num_rows();
        }
        println!("  replay, {name}: {:.1} M rows/s", read as f64 / started.elapsed().as_secs_f64() / 1e6);
    }
    log.close().await.unwrap();
}

#[tokio::main]
async fn main() {
    let argument = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let parent = argument.map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent).unwrap();
    for (kind, prepared) in
        [("growing", Prepared::Growing), ("allocated", Prepared::Allocated), ("zero-filled", Prepared::ZeroFilled)]
    {
        for bytes in [512, 4096, 64 << 10] {
            bare_syncs(dir.path(), &format!("disk, {bytes} B and fdatasync, {kind} file"), prepared, bytes);
        }
    }
    for writers in [1, 8, 64, 512, 4096] {
        single_rows(dir.path(), writers).await;
    }
    for (batch_rows, in_flight) in [(1000, 1), (1000, 16), (8192, 4)] {
        batches(dir.path(), 10_000_000, batch_rows, in_flight).await;
    }
}
