//! The memory of ad-hoc queries: all together have a share of the limit; operators that can spill write to a directory of
//! the data directory, others are refused.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::error::{Error, Result};

/// Directory of a data directory that ad-hoc queries spill to.
const SPILL_DIR: &str = "spill";

/// Operators that are named where memory is short.
const NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three");

/// Bytes on disk for each byte of memory, at most: what an ad-hoc query may take of the log's disk.
const SPILL_FACTOR: u64 = 16;

/// What runs the ad-hoc queries of a data directory under a limit for all queries. What an earlier process has left of
/// spilled rows is removed.
pub(crate) fn adhoc_runtime(data_dir: &Path, limit_bytes: u64) -> Result<Arc<RuntimeEnv>> {
    let spill = data_dir.join(SPILL_DIR);
    match std::fs::remove_dir_all(&spill) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::Io { action: "remove", path: spill, source });
        }
        _ => {}
    }
    let share = limit_bytes / 4;
    let pool = FairSpillPool::new(usize::try_from(share).unwrap_or(usize::MAX));
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill]))
        .with_max_temp_directory_size(share.saturating_mul(SPILL_FACTOR));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(pool, NAMED)))
        .with_disk_manager_builder(disk);
    Ok(runtime.build_arc()?)
}
