//! Producers that are faster than the disk: memory stays near the tail's cap, producers are slowed to the disk's rate,
//! and what is stored is what was acknowledged. The disk is a real one that lets 20 MB/s through.
//!
//! `cargo bench -p thermocline-log --bench overload [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use thermocline_log::{Error, Log, LogOptions, StreamSpec};

use crate::common::disk::{Throttle, watched_disk};
use crate::common::{Readings, append, folder, heading, resident_mib};

const MEASURE: Duration = Duration::from_secs(20);
const DISK_BYTES_PER_SECOND: f64 = 20e6;
const TAIL_BYTES: u64 = 64 << 20;
const PRODUCERS: usize = 16;
const BATCH_ROWS: usize = 1000;

/// The same rows in memory of their own, as rows that came in would be.
fn copied(batch: &RecordBatch) -> RecordBatch {
    let all = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
    take_record_batch(batch, &all).unwrap()
}

#[tokio::main]
async fn main() {
    heading("overload");
    let dir = folder();
    let options = LogOptions {
        tail_bytes: TAIL_BYTES,
        seal_bytes: 8 << 20,
        disk: watched_disk(Throttle::new(DISK_BYTES_PER_SECOND)).0,
        ..LogOptions::default()
    };
    let log = Log::open(dir.path().join("log"), options).unwrap();
    let stream = log.create_stream(StreamSpec::new("readings", Readings::schema())).await.unwrap();
    let mut readings = Readings::new();
    let batches: Arc<Vec<_>> = Arc::new((0..100).map(|_| readings.batch(BATCH_ROWS, Some(stream.schema()))).collect());
    let idle_mib = resident_mib();
    let started = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (log, stream, batches) = (log.clone(), stream.clone(), Arc::clone(&batches));
            tokio::spawn(async move {
                let (mut acknowledged, mut refused) = (0, 0_u64);
                for batch in batches.iter().cycle().skip(producer * 7) {
                    let batch = copied(batch);
                    // As the doors do: a refused commit is tried again a little later.
                    while let Err(error) = log.commit(append(&stream, batch.clone())).await {
                        assert!(matches!(error, Error::Overloaded { .. }), "{error}");
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    acknowledged += batch.num_rows() as u64;
                    if started.elapsed() > MEASURE {
                        break;
                    }
                }
                (acknowledged, refused)
            })
        })
        .collect();
    let (mut peak_mib, mut peak_tail) = (0.0_f64, 0);
    while started.elapsed() < MEASURE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        peak_mib = peak_mib.max(resident_mib());
        peak_tail = peak_tail.max(log.stats().tail_bytes);
    }
    let (mut acknowledged, mut refused) = (0, 0);
    for producer in producers {
        let (rows, times) = producer.await.unwrap();
        acknowledged += rows;
        refused += times;
    }
    let seconds = started.elapsed().as_secs_f64();
    let stored = log.range(stream.id(), 0).unwrap().end;
    println!(
        "disk {:.0} MB/s, tail's cap {} MiB, {PRODUCERS} producers",
        DISK_BYTES_PER_SECOND / 1e6,
        TAIL_BYTES >> 20
    );
    println!("acknowledged {acknowledged} rows, stored {stored}; {:.0} rows/s", acknowledged as f64 / seconds);
    println!("commits refused for now: {refused}");
    println!(
        "resident: {idle_mib:.0} MiB before, {peak_mib:.0} MiB at most (+{:.0}); tail {} MiB at most",
        peak_mib - idle_mib,
        peak_tail >> 20
    );
    assert_eq!(acknowledged, stored, "nothing is dropped and nothing is there twice");
    log.close().await.unwrap();
}
