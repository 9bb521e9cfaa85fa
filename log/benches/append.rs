//! Single rows of 200 bytes from many writers, each waiting for its durable acknowledgement, beside what a bare
//! `fdatasync` takes in the same run.
//!
//! `cargo bench -p thermocline-log --bench append [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use thermocline_log::{Error, Log, LogOptions, StreamSpec};

use crate::common::{append, folder, heading, print_quantiles};

const MEASURE: Duration = Duration::from_secs(3);

/// One row of 200 bytes.
fn message(n: usize) -> RecordBatch {
    let text = format!("{n:0200}");
    RecordBatch::try_from_iter(vec![("message", Arc::new(StringArray::from(vec![text])) as ArrayRef)]).unwrap()
}

/// How the file of a bare sync test is prepared.
#[derive(Clone, Copy)]
enum Prepared {
    Growing,
    Allocated,
    ZeroFilled,
}

/// Latency of appending `bytes` and syncing: its median, in microseconds.
fn bare_syncs(dir: &Path, name: &str, prepared: Prepared, bytes: usize) -> f64 {
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
    let median = print_quantiles(name, micros, started.elapsed().as_secs_f64());
    std::fs::remove_file(path).unwrap();
    median
}

/// Single rows, each writer waiting for its acknowledgement before the next: acknowledgements a second and the median
/// wait in microseconds.
async fn single_rows(dir: &Path, writers: usize) -> (f64, f64) {
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
    let seconds = started.elapsed().as_secs_f64();
    let per_second = micros.len() as f64 / seconds;
    let median = print_quantiles(&format!("log, single rows of 200 B, {writers} writers"), micros, seconds);
    log.close().await.unwrap();
    (per_second, median)
}

#[tokio::main]
async fn main() {
    heading("append");
    let dir = folder();
    let mut bare = f64::INFINITY;
    for (kind, prepared) in
        [("growing", Prepared::Growing), ("allocated", Prepared::Allocated), ("zero-filled", Prepared::ZeroFilled)]
    {
        for bytes in [512, 4096, 64 << 10] {
            let median =
                bare_syncs(dir.path(), &format!("disk, {bytes} B and fdatasync, {kind} file"), prepared, bytes);
            if bytes == 512 && matches!(prepared, Prepared::Allocated) {
                bare = median;
            }
        }
    }
    for writers in [1, 8, 64, 512, 4096] {
        let (per_second, median) = single_rows(dir.path(), writers).await;
        match writers {
            1 => println!("  one writer waits {:.2} times a bare sync of 512 B (target: at most 1.5)", median / bare),
            512 => println!("  {per_second:.0} acknowledgements a second (target: at least 300,000)"),
            _ => {}
        }
    }
}
