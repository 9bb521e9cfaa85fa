//! Snapshots of a state that is much larger than what changes of it: a whole one, increments, and files that are put together.
//! Crashes, full disks and flipped bits at any of them change nothing in the output.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::crash_disk::CrashDisk;
use common::{Pipeline, Row};
use thermocline_log::{DiskHooks, DiskOp, HookedDisk, OsDisk};

/// One query whose groups stay, one whose panes come and go; sessions, of which some end; a number and a state for each key.
const SQL: &str = "CREATE STREAM readings (device TEXT, ts TIMESTAMP, temperature DOUBLE, WATERMARK FOR ts AS ts);
CREATE STREAM hours (device TEXT, n BIGINT, mean DOUBLE, middle DOUBLE, until TIMESTAMP);
INSERT INTO hours SELECT device, count(*), avg(temperature), median(temperature), window_end
    FROM TUMBLE(readings, ts, INTERVAL '1 hour') GROUP BY device, window_start, window_end;
CREATE STREAM sliding (device TEXT, n BIGINT, spread DOUBLE, until TIMESTAMP);
INSERT INTO sliding SELECT device, count(*), stddev(temperature), window_end
    FROM HOP(readings, ts, INTERVAL '10 seconds', INTERVAL '40 seconds') GROUP BY device, window_start, window_end;
CREATE STREAM sessions (device TEXT, n BIGINT, mean DOUBLE, middle DOUBLE, until TIMESTAMP);
INSERT INTO sessions SELECT device, count(*), avg(temperature), median(temperature), window_end
    FROM SESSION(readings, ts, INTERVAL '200 seconds') GROUP BY device, window_start, window_end;
CREATE STREAM numbered (device TEXT, n BIGINT, total DOUBLE, ts TIMESTAMP);
INSERT INTO numbered SELECT device, CAST(row_number() OVER w AS BIGINT), sum(temperature) OVER w, ts
    FROM readings WINDOW w AS (PARTITION BY device ORDER BY ts);
";
const OUTPUTS: [&str; 4] = ["hours", "sliding", "sessions", "numbered"];
const CHUNK: usize = 16;
const CHUNKS: usize = 20;

/// First a row of each of many devices, then chunk by chunk some of few of them.
fn readings() -> Vec<Row> {
    let row = |n: usize| {
        let device = if n < 64 { n } else { (n / CHUNK * 3 + n % 3) % 64 };
        let temperature = (n * 31 % 977) as f64 / 7.0;
        Row { device: format!("dev-{device}"), ts_ms: 1_700_000_000_000 + n as i64 * 1_000, temperature }
    };
    (0..CHUNK * CHUNKS).map(row).collect()
}

/// The same where each device has a watermark of its own.
fn by_key() -> String {
    SQL.replace("WATERMARK FOR ts AS ts)", "WATERMARK FOR ts AS ts PER device) PARTITION BY (device)")
}

fn pipeline(sql: &str) -> Pipeline {
    Pipeline::new(sql).checkpoint_rows(CHUNK as u64)
}

/// The state files of a query, oldest first, as they are committed.
async fn chain(pipeline: &mut Pipeline, query: &str) -> Vec<String> {
    let value = pipeline.start().await.log.value(&format!("query/{query}/snapshot/0")).unwrap_or_default();
    String::from_utf8(value).unwrap().lines().map(str::to_owned).collect()
}

/// The offset up to which a chain goes.
fn offset(chain: &[String]) -> u64 {
    let last = chain.last().and_then(|name| name.rsplit('-').next());
    last.map_or(0, |last| last.strip_suffix(".snapshot").unwrap().parse().unwrap())
}

/// Appends what is not in the log yet, chunk by chunk.
async fn go_on(pipeline: &mut Pipeline, rows: &[Row]) {
    let done = pipeline.rows_in("readings").await as usize;
    for rows in rows[done..].chunks(CHUNK) {
        pipeline.append(rows).await;
        pipeline.settle().await;
    }
}

/// The chains of each query, after each chunk.
type Chains = HashMap<&'static str, Vec<Vec<String>>>;

/// The same; after each chunk all queries have a snapshot of it, for none is left out while another is being written.
/// `Err` when the disk died.
async fn run(pipeline: &mut Pipeline, rows: &[Row], is_dead: impl Fn() -> bool) -> Result<Chains, String> {
    let mut chains = Chains::new();
    let done = pipeline.rows_in("readings").await as usize;
    for rows in rows[done..].chunks(CHUNK) {
        let stream = pipeline.start().await.log.stream("readings").unwrap();
        let batch = common::readings_batch(rows, &stream);
        pipeline.append_batch("readings", batch).await.map_err(|error| error.to_string())?;
        pipeline.try_settle().await?;
        let end = pipeline.rows_in("readings").await;
        for query in OUTPUTS {
            while offset(&chain(pipeline, query).await) < end {
                let failed = pipeline.start().await.engine.status().find_map(|(_, status)| status.error());
                if let Some(error) = failed.or(is_dead().then(|| "the disk is dead".to_owned())) {
                    return Err(error);
                }
                tokio::task::yield_now().await;
            }
        }
        for query in OUTPUTS {
            chains.entry(query).or_default().push(chain(pipeline, query).await);
        }
    }
    Ok(chains)
}

async fn undisturbed(sql: &str, rows: &[Row]) -> HashMap<String, Vec<String>> {
    let streams = Pipeline::new(sql).unsynced().run(&[rows]).await;
    assert!(OUTPUTS.iter().all(|stream| streams[*stream].len() > 60), "{streams:?}");
    streams
}

fn check_same(found: &HashMap<String, Vec<String>>, expected: &HashMap<String, Vec<String>>, place: &str) {
    for stream in OUTPUTS {
        assert_eq!(found[stream], expected[stream], "{stream}, {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_file_of_a_chain_changes_nothing() {
    crash_at_any_file(SQL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_file_of_a_chain_by_key_changes_nothing() {
    crash_at_any_file(&by_key()).await;
}

async fn crash_at_any_file(sql: &str) {
    let rows = readings();
    let expected = undisturbed(sql, &rows).await;
    let mut pipeline_of_all = pipeline(sql);
    let chains = run(&mut pipeline_of_all, &rows, || false).await.unwrap();
    for query in ["hours", "sessions", "numbered"] {
        let chains = &chains[query];
        assert!(chains.iter().any(|chain| chain.len() > 2), "{query}: there are increments: {chains:?}");
        let bases: Vec<&String> = chains[4..].iter().map(|chain| &chain[0]).collect();
        assert!(bases.iter().any(|base| *base != bases[0]), "{query}: and all were put together: {chains:?}");
    }
    check_same(&pipeline_of_all.finish().await, &expected, "no crash");

    let every = std::env::var("THERMOCLINE_CRASH_EVERY").map_or(29, |every| every.parse().unwrap());
    let mut crashes = 0;
    for operations in (1..).step_by(every) {
        let mut pipeline = pipeline(sql);
        let disk = Arc::new(CrashDisk::after_operations(operations));
        pipeline.set_disk(HookedDisk::new(&disk));
        let ended = match pipeline.try_start().await {
            Ok(()) => run(&mut pipeline, &rows, || disk.is_dead()).await,
            Err(error) => Err(error.to_string()),
        };
        if ended.is_ok() && !disk.is_dead() {
            break;
        }
        crashes += 1;
        pipeline.crash().await;
        pipeline.set_disk(Arc::new(OsDisk));
        go_on(&mut pipeline, &rows).await;
        check_same(&pipeline.finish().await, &expected, &format!("crash at operation {operations}"));
    }
    assert!(crashes > 5, "{crashes} crashes");
}

/// Every file is of the committed chain, or of the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_no_chain_needs_are_removed() {
    for sql in [SQL.to_owned(), by_key()] {
        let mut pipeline = pipeline(&sql).unsynced();
        let chains = run(&mut pipeline, &readings(), || false).await.unwrap();
        for query in ["hours", "sessions"] {
            let mut kept: Vec<&String> = chains[query][CHUNKS - 2..].iter().flatten().collect();
            kept.sort();
            kept.dedup();
            let files = files_of(&mut pipeline, query).await;
            assert!(files.iter().all(|file| kept.contains(&file)), "{files:?}, not only {kept:?}");
        }
        // After a restart only the committed ones.
        pipeline.crash().await;
        for query in ["hours", "sessions"] {
            assert_eq!(files_of(&mut pipeline, query).await, chains[query][CHUNKS - 1]);
        }
        pipeline.crash().await;
    }
}

async fn files_of(pipeline: &mut Pipeline, query: &str) -> Vec<String> {
    let mut files = pipeline.start().await.log.state_files().unwrap();
    files.retain(|file| file.starts_with(&format!("{query}-")));
    files.sort();
    files
}

/// A disk on which state files find no space.
#[derive(Debug, Default)]
struct StateDisk {
    is_full: AtomicBool,
    refused: AtomicU64,
}

impl DiskHooks for StateDisk {
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let is_state = path.parent().is_some_and(|folder| folder.ends_with("state"));
        if op == DiskOp::Write && is_state && self.is_full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_disk_was_full_is_in_the_next_increment() {
    for sql in [SQL.to_owned(), by_key()] {
        fill_the_disk(&sql).await;
    }
}

async fn fill_the_disk(sql: &str) {
    let rows = readings();
    let expected = undisturbed(sql, &rows).await;
    for full_at in 3..12 {
        let disk = Arc::new(StateDisk::default());
        let mut pipeline = pipeline(sql).unsynced();
        pipeline.set_disk(HookedDisk::new(&disk));
        run(&mut pipeline, &rows[..full_at * CHUNK], || false).await.unwrap();
        disk.is_full.store(true, Ordering::SeqCst);
        for chunk in rows[full_at * CHUNK..(full_at + 2) * CHUNK].chunks(CHUNK) {
            let refused = disk.refused.load(Ordering::SeqCst);
            pipeline.append(chunk).await;
            pipeline.settle().await;
            while disk.refused.load(Ordering::SeqCst) < refused + OUTPUTS.len() as u64 {
                tokio::task::yield_now().await;
            }
        }
        disk.is_full.store(false, Ordering::SeqCst);
        for query in OUTPUTS {
            let before = chain(&mut pipeline, query).await;
            assert_eq!(offset(&before), (full_at * CHUNK) as u64, "{query}: no later one is committed");
        }
        run(&mut pipeline, &rows[..(full_at + 4) * CHUNK], || false).await.unwrap();
        pipeline.crash().await;
        go_on(&mut pipeline, &rows).await;
        check_same(&pipeline.finish().await, &expected, &format!("full at chunk {full_at}"));
    }
}

/// Returns what the file holds then.
fn flip(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(path, &bytes).unwrap();
    bytes
}

/// Where a query's chain of three files stands.
async fn with_three_files(sql: &str, query: &str, rows: &[Row]) -> (Pipeline, Vec<String>) {
    let mut pipeline = pipeline(sql).unsynced();
    for chunks in 1..CHUNKS {
        run(&mut pipeline, &rows[..chunks * CHUNK], || false).await.unwrap();
        let chain = chain(&mut pipeline, query).await;
        if chain.len() > 2 {
            return (pipeline, chain);
        }
    }
    panic!("no chain has three files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_file_of_a_chain_changes_nothing() {
    flip_any_file(SQL, "hours").await;
    flip_any_file(SQL, "sessions").await;
    flip_any_file(&by_key(), "hours").await;
}

async fn flip_any_file(sql: &str, query: &str) {
    let rows = readings();
    let expected = undisturbed(sql, &rows).await;
    for is_running in [false, true] {
        for damaged in 0..3 {
            let (mut pipeline, before) = with_three_files(sql, query, &rows).await;
            let state = pipeline.start().await.log.state_dir();
            if !is_running {
                pipeline.crash().await;
            }
            let broken = flip(&state.join(&before[damaged]));
            // All rows are there: the state is made again of them, or it is stored anew as it is in memory.
            go_on(&mut pipeline, &rows).await;
            for name in chain(&mut pipeline, query).await.iter().filter(|_| !is_running) {
                assert_ne!(std::fs::read(state.join(name)).unwrap(), broken, "file {damaged}");
            }
            pipeline.crash().await;
            pipeline.start().await;
            check_same(&pipeline.finish().await, &expected, &format!("{query}, file {damaged}, running: {is_running}"));
        }
    }
}

/// Without a key there is one state, without arguments rows without columns.
#[tokio::test(flavor = "multi_thread")]
async fn queries_without_keys_go_on_after_a_crash_at_any_snapshot() {
    let sql = "CREATE STREAM readings (device TEXT, ts TIMESTAMP, temperature DOUBLE, WATERMARK FOR ts AS ts - INTERVAL '5 seconds');
        CREATE STREAM counted (n BIGINT, until TIMESTAMP);
        INSERT INTO counted SELECT count(*), window_end FROM COUNT_WINDOW(readings, 3) GROUP BY window_start, window_end;
        CREATE STREAM sessions (n BIGINT, until TIMESTAMP);
        INSERT INTO sessions SELECT count(*), window_end FROM SESSION(readings, ts, INTERVAL '4 seconds')
            GROUP BY window_start, window_end;
        CREATE STREAM numbered (n BIGINT);
        INSERT INTO numbered SELECT CAST(row_number() OVER (ORDER BY ts) AS BIGINT) FROM readings;";
    let outputs = ["counted", "sessions", "numbered"];
    // Out of order within the delay, with a gap now and then.
    let second = |n: i64| (n ^ 3) + n / 20 * 9;
    let row = |n| Row { device: "a".to_owned(), ts_ms: 1_700_000_000_000 + second(n) * 1_000, temperature: 1.0 };
    let rows: Vec<Row> = (0..100).map(row).collect();
    let expected = Pipeline::new(sql).unsynced().run(&[&rows]).await;
    let mut pipeline = Pipeline::new(sql).checkpoint_rows(4).unsynced();
    for rows in rows.chunks(10) {
        let before = chains_of(&mut pipeline, outputs).await;
        pipeline.append(rows).await;
        pipeline.settle().await;
        while chains_of(&mut pipeline, outputs).await.iter().zip(&before).any(|(now, before)| now == before) {
            tokio::task::yield_now().await;
        }
        pipeline.crash().await;
    }
    let found = pipeline.finish().await;
    for stream in outputs {
        assert!(!expected[stream].is_empty(), "{stream}");
        assert_eq!(found[stream], expected[stream], "{stream}");
    }
}

async fn chains_of<const N: usize>(pipeline: &mut Pipeline, queries: [&str; N]) -> Vec<Vec<String>> {
    let mut chains = Vec::new();
    for query in queries {
        chains.push(chain(pipeline, query).await);
    }
    chains
}
