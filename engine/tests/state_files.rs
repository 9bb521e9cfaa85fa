//! State files on a disk that fails: what a query emits is what an undisturbed run gives, for a snapshot only saves reading
//! rows again.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Pipeline, Row};
use thermocline_log::{DiskFile, DiskHooks, DiskOp, HookedDisk, OsDisk};

const SQL: &str = "CREATE STREAM readings (device TEXT, ts TIMESTAMP, temperature DOUBLE, WATERMARK FOR ts AS ts);
CREATE STREAM sums (device TEXT, total DOUBLE, n BIGINT, until TIMESTAMP NOT NULL);
INSERT INTO sums SELECT device, sum(temperature), count(*), window_end
    FROM TUMBLE(readings, ts, INTERVAL '50 seconds') GROUP BY device, window_start, window_end;
";

fn readings(seconds: std::ops::Range<i64>) -> Vec<Row> {
    let row = |s| Row { device: format!("dev-{}", s % 3), ts_ms: 1_700_000_000_000 + s * 1000, temperature: s as f64 };
    seconds.map(row).collect()
}

fn is_state_file(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("state"))
}

/// What goes wrong with state files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Half of the content is written.
    Torn,
    Create,
    Sync,
    Rename,
    /// Reads fail.
    Read,
    /// A bit has flipped.
    Flipped,
}

#[derive(Debug)]
struct StateFaults {
    fault: Fault,
    /// How often it struck.
    struck: AtomicU64,
}

impl StateFaults {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self { fault, struck: AtomicU64::new(0) })
    }

    fn strikes(&self, fault: Fault, path: &Path) -> bool {
        let strikes = self.fault == fault && is_state_file(path);
        self.struck.fetch_add(u64::from(strikes), Ordering::SeqCst);
        strikes
    }
}

impl DiskHooks for StateFaults {
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let fault = match op {
            DiskOp::Create => Fault::Create,
            DiskOp::Sync => Fault::Sync,
            DiskOp::Rename => Fault::Rename,
            DiskOp::Read => Fault::Read,
            _ => return Ok(()),
        };
        if self.strikes(fault, path) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn read(&self, file: &dyn DiskFile, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buffer, offset)?;
        if self.strikes(Fault::Flipped, path) {
            let middle = buffer.len() / 2;
            buffer[middle] ^= 4;
        }
        Ok(())
    }

    fn write(&self, file: &dyn DiskFile, path: &Path, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        if self.strikes(Fault::Torn, path) {
            file.write_all_at(&[&parts[0][..parts[0].len() / 2]], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(parts, offset)
    }
}

/// Rows, a crash, rows; the first part on a disk with one fault, the second with the other.
async fn run(before: Fault, after: Fault) -> [u64; 2] {
    let expected = Pipeline::new(SQL).run(&[&readings(0..170), &readings(170..333)]).await;
    assert!(!expected["sums"].is_empty(), "{expected:?}");
    let (first, second) = (StateFaults::new(before), StateFaults::new(after));
    let mut pipeline = Pipeline::new(SQL).checkpoint_rows(16);
    pipeline.set_disk(HookedDisk::new(&first));
    pipeline.append(&readings(0..170)).await;
    pipeline.settle().await;
    // A snapshot is written while the query reads on.
    while before == Fault::None && pipeline.start().await.log.value("query/sums/snapshot/0").is_none() {
        tokio::task::yield_now().await;
    }
    pipeline.crash().await;
    pipeline.set_disk(HookedDisk::new(&second));
    pipeline.append(&readings(170..333)).await;
    pipeline.settle().await;
    pipeline.crash().await;
    pipeline.set_disk(Arc::new(OsDisk));
    assert_eq!(pipeline.finish().await, expected, "{before:?}, then {after:?}");
    [first, second].map(|faults| faults.struck.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_cannot_be_written_is_done_without() {
    for fault in [Fault::Torn, Fault::Create, Fault::Sync, Fault::Rename] {
        let [before, after] = run(fault, Fault::None).await;
        assert!(before > 0 && after == 0, "{fault:?} struck {before} times");
        let [_, after] = run(Fault::None, fault).await;
        assert!(after > 0, "{fault:?} struck {after} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_that_cannot_be_read_is_made_again_of_the_rows() {
    for fault in [Fault::Read, Fault::Flipped] {
        let [_, after] = run(Fault::None, fault).await;
        assert!(after > 0, "{fault:?} struck {after} times");
    }
}
