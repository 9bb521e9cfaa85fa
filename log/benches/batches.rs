//! Batches of a thousand rows as they become durable, beside plain writes of the same bytes with the same syncs into
//! preallocated files, alternating in one run. Every batch is another one; sealing goes on meanwhile, and in turns it waits
//! until all is durable, which tells what it takes from the appends. The log has been running: its journal files are
//! written over older ones.
//!
//! `cargo bench -p thermocline-log --bench batches [-- DIR]`

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(missing_docs)]

mod common;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use thermocline_log::{Log, LogOptions, StreamSpec};

use crate::common::disk::{JournalTrace, Step, replay_plainly, totals, watched_disk};
use crate::common::{Readings, append, folder, heading, median};

const BATCH_ROWS: usize = 1000;
const BATCHES: usize = 2000;
const ROUNDS: usize = 5;
/// Batches of more than a journal file, so often that the files of the measurement are written over others.
const WARM_UP: usize = 1400;

struct Run {
    durable_s: f64,
    sealed_s: f64,
    /// In the calls that queue the commits: checking, encoding, checksums.
    calls_s: f64,
    journal_cpu_s: f64,
    /// Until all was durable.
    sealer_cpu_s: f64,
    /// Opening, creating the stream, and what the journal held already.
    before: Vec<Step>,
    trace: Vec<Step>,
}

/// Commits all batches, `in_flight` at a time.
async fn durable(dir: &Path, batches: &[RecordBatch], in_flight: usize, sealing: bool) -> Run {
    let (disk, watched) = watched_disk(JournalTrace::default());
    let trace = &watched.0;
    let mut options = LogOptions { disk, ..LogOptions::default() };
    if !sealing {
        options.seal_bytes = options.tail_bytes;
    }
    let tail_bytes = options.tail_bytes;
    let log = Log::open(dir.join("log"), options).unwrap();
    let stream = log.create_stream(StreamSpec::new("readings", Readings::schema())).await.unwrap();
    let batches: Vec<RecordBatch> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(Arc::clone(stream.schema()), batch.columns().to_vec()).unwrap())
        .collect();
    for _ in 0..2 {
        // A file is used again once the rows in it are sealed.
        let commits = batches[..WARM_UP].iter().map(|batch| log.commit(append(&stream, batch.clone())));
        for commit in commits.collect::<Vec<_>>() {
            commit.await.unwrap();
        }
        log.seal().await.unwrap();
    }
    let before = trace.take();
    let (journal_before_s, sealer_before_s) =
        (common::thread_cpu_seconds("thermocline-jou"), common::thread_cpu_seconds("thermocline-sea"));
    let mut waiting = VecDeque::new();
    let mut calls_s = 0.0;
    let started = Instant::now();
    for batch in batches {
        if waiting.len() == in_flight {
            let oldest: tokio::task::JoinHandle<Result<_, _>> = waiting.pop_front().unwrap();
            oldest.await.unwrap().unwrap();
        }
        while log.stats().tail_bytes > tail_bytes * 3 / 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let called = Instant::now();
        let commit = log.commit(append(&stream, batch));
        calls_s += called.elapsed().as_secs_f64();
        waiting.push_back(tokio::spawn(commit));
    }
    for commit in waiting {
        commit.await.unwrap().unwrap();
    }
    let durable_s = started.elapsed().as_secs_f64();
    let (trace, journal_cpu_s) = (trace.take(), common::thread_cpu_seconds("thermocline-jou") - journal_before_s);
    let sealer_cpu_s = common::thread_cpu_seconds("thermocline-sea") - sealer_before_s;
    log.seal().await.unwrap();
    let sealed_s = started.elapsed().as_secs_f64();
    log.close().await.unwrap();
    std::fs::remove_dir_all(dir.join("log")).unwrap();
    Run { durable_s, sealed_s, calls_s, journal_cpu_s, sealer_cpu_s, before, trace }
}

#[tokio::main]
async fn main() {
    heading("batches");
    let dir = folder();
    let mut readings = Readings::new();
    let batches: Vec<RecordBatch> = (0..BATCHES).map(|_| readings.batch(BATCH_ROWS, None)).collect();
    let rows = (BATCHES * BATCH_ROWS) as f64;
    println!(
        "{BATCHES} batches of {BATCH_ROWS} rows, medians of {ROUNDS} rounds; target: at least 70 % of plain writes"
    );
    for in_flight in [1, 4, 16, 64] {
        for sealing in [true, false] {
            let (mut ours, mut plain, mut sealed, mut journal, mut sealer, mut calls) =
                (vec![], vec![], vec![], vec![], vec![], vec![]);
            let mut trace = vec![];
            for _ in 0..ROUNDS {
                let run = durable(dir.path(), &batches, in_flight, sealing).await;
                plain.push(replay_plainly(dir.path(), &run.before, &run.trace));
                ours.push(run.durable_s);
                sealed.push(run.sealed_s);
                journal.push(run.journal_cpu_s);
                calls.push(run.calls_s);
                sealer.push(run.sealer_cpu_s);
                trace = run.trace;
            }
            let (bytes, syncs) = totals(&trace);
            let share = median(ours.iter().zip(&plain).map(|(ours, plain)| plain / ours * 100.0).collect());
            let (ours, plain) = (median(ours), median(plain));
            println!(
                "{in_flight:>3} in flight, {}: durable {ours:.3} s ({:.2} M rows/s, {:.0} MB/s), sealed {:.2} s; \
                 {syncs} syncs; plain writes {plain:.3} s ({:.0} MB/s): {share:.0} %; callers {:.3} s; CPU until durable: \
                 journal's thread {:.3} s, sealer's {:.3} s",
                if sealing { "sealing" } else { "not sealing" },
                rows / ours / 1e6,
                bytes as f64 / ours / 1e6,
                median(sealed),
                bytes as f64 / plain / 1e6,
                median(calls),
                median(journal),
                median(sealer),
            );
        }
    }
}
