//! How a log is opened.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, OsDisk};

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// `fdatasync` before the acknowledgement.
    #[default]
    Sync,
    /// A sync every interval: a power loss may take the rows acknowledged since the last one.
    Interval(Duration),
    /// The operating system decides: a power loss may take any unsynced row; a killed process loses nothing.
    Os,
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// What an acknowledgement means.
    pub durability: Durability,
    /// Cap on the memory of rows that are not sealed into segments yet; at the cap commits get `Overloaded`.
    pub tail_bytes: u64,
    /// A partition's tail is sealed at this many bytes …
    pub seal_bytes: u64,
    /// … or at this age.
    pub seal_age: Duration,
    /// Size of a journal file; a larger group gets a file of its own size.
    pub journal_file_bytes: u64,
    /// For this long after a commit its idempotency key is remembered …
    pub idempotency_window: Duration,
    /// … and for so many later keys. One takes about 250 bytes of memory, and 40 in the checkpoint at the beginning
    /// of every journal file, each plus the key and 24 for every range of the receipt. When all together would take more
    /// than 16 MiB in a checkpoint, fewer are remembered.
    pub idempotency_keys: usize,
    /// For this long after its last commit a producer is remembered …
    pub producer_window: Duration,
    /// … and for so many producers that committed later. One takes about 350 bytes of memory, and 48 in a
    /// checkpoint, each plus its name and up to five receipts, which have at most 64 ranges of 24 bytes together.
    pub producers: usize,
    /// Rows are refused with `Full` before less than this is left on the disk, or than a 32nd of it where that is less:
    /// sealing, retention, cursors and values may use it, so that the log comes back by itself. 0 for no reserve.
    pub reserve_bytes: u64,
    /// Where append times come from.
    pub clock: Arc<dyn Clock>,
    /// Where files are.
    pub disk: Arc<dyn Disk>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            tail_bytes: 512 << 20,
            seal_bytes: 32 << 20,
            seal_age: Duration::from_secs(300),
            journal_file_bytes: 64 << 20,
            idempotency_window: Duration::from_secs(24 * 60 * 60),
            idempotency_keys: 65_536,
            producer_window: Duration::from_secs(7 * 24 * 60 * 60),
            producers: 65_536,
            reserve_bytes: 128 << 20,
            clock: Arc::new(SystemClock),
            disk: Arc::new(OsDisk),
        }
    }
}
