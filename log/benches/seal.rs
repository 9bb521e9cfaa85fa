//! Bytes that a row takes in the journal and in a segment, and what sealing costs as a share of a core under a steady
//! load of 100,000 rows a second, beside writing the same rows as Parquet in memory.
//!
//! `cargo bench -p thermocline-log --bench seal [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use thermocline_log::{Log, LogOptions, StreamSpec};

use crate::common::disk::{JournalTrace, totals, watched_disk};
use crate::common::{Readings, append, folder, heading, own_cpu_seconds, thread_cpu_seconds};

const SECONDS: usize = 20;
const BATCH_ROWS: usize = 1000;
const BATCHES_PER_SECOND: usize = 100;

/// Parquet as plain as it gets with the log's compression, in memory: CPU seconds.
fn plain_parquet(batches: &[RecordBatch]) -> f64 {
    let level = ZstdLevel::try_new(1).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    let before = own_cpu_seconds();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    own_cpu_seconds() - before
}

#[tokio::main]
async fn main() {
    heading("seal");
    let dir = folder();
    let (disk, watched) = watched_disk(JournalTrace::default());
    let trace = &watched.0;
    let options = LogOptions { disk, ..LogOptions::default() };
    let log = Log::open(dir.path().join("log"), options).unwrap();
    let stream = log.create_stream(StreamSpec::new("readings", Readings::schema())).await.unwrap();
    let _ = trace.take();
    let mut readings = Readings::new();
    let batches: Vec<_> =
        (0..SECONDS * BATCHES_PER_SECOND).map(|_| readings.batch(BATCH_ROWS, Some(stream.schema()))).collect();
    let started = Instant::now();
    let period = Duration::from_secs(1) / BATCHES_PER_SECOND as u32;
    for (number, batch) in (0_u32..).zip(&batches) {
        tokio::time::sleep_until((started + period * number).into()).await;
        log.commit(append(&stream, batch.clone())).await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    // What is left in the tail belongs to the cost too.
    log.seal().await.unwrap();
    let (sealer_s, journal_s) = (thread_cpu_seconds("thermocline-sea"), thread_cpu_seconds("thermocline-jou"));
    let rows = (batches.len() * BATCH_ROWS) as f64;
    let (journal_bytes, syncs) = totals(&trace.take());
    let stats = log.stats();
    let plain_s = plain_parquet(&batches);
    println!("{rows} rows in {seconds:.1} s ({:.0} rows/s), batches of {BATCH_ROWS}, {syncs} syncs", rows / seconds);
    println!(
        "bytes a row: journal {:.1}, segments {:.2}",
        journal_bytes as f64 / rows,
        stats.segment_bytes as f64 / rows
    );
    let share = |cpu_s: f64| cpu_s / seconds * 100.0;
    println!("sealing: {:.1} % of a core, {:.0} ns a row", share(sealer_s), sealer_s / rows * 1e9);
    println!("plain Parquet in memory: {:.1} % of a core, {:.0} ns a row", share(plain_s), plain_s / rows * 1e9);
    println!("the journal's thread: {:.1} % of a core, {:.0} ns a row", share(journal_s), journal_s / rows * 1e9);
    log.close().await.unwrap();
}
