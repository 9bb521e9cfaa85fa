//! The reserve: appends end before the disk is full, so that what frees space again (sealing, trimming the journal,
//! retention) and what is small (cursors, values) always has some.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::DiskSpace;
use crate::options::LogOptions;

/// The reserve is at most this part of the file system: a gateway with 4 GiB of flash keeps 128 MiB.
const MAX_PART_OF_DISK: u64 = 32;
/// With less room than this, or than a journal file where that is smaller, there is none.
pub(crate) const MIN_ROOM_BYTES: u64 = 1 << 20;
/// Appends begin again with this part of the reserve above it, so that they do not begin and end with every row.
const HYSTERESIS_PART: u64 = 8;

/// Whether there is space for appends.
#[derive(Debug, Default)]
pub(crate) struct Space {
    low: AtomicBool,
}

impl Space {
    /// Whether appends are refused.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Looks at the disk; returns the bytes that appends may still take. A disk that does not tell has no end.
    pub(crate) fn look(&self, dir: &Path, options: &LogOptions) -> u64 {
        let space = match options.disk.space(dir) {
            Ok(space) => space,
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "free space not known");
                DiskSpace::UNKNOWN
            }
        };
        let DiskSpace { available_bytes, total_bytes } = space;
        let reserve_bytes = options.reserve_bytes.min(total_bytes / MAX_PART_OF_DISK);
        let room_bytes = available_bytes.saturating_sub(reserve_bytes);
        let mut least_bytes = match reserve_bytes {
            0 => 0,
            _ => MIN_ROOM_BYTES.min(options.journal_file_bytes),
        };
        if self.is_low() {
            least_bytes += reserve_bytes / HYSTERESIS_PART;
        }
        self.note(room_bytes < least_bytes, dir, space, reserve_bytes);
        room_bytes
    }

    fn note(&self, low: bool, dir: &Path, space: DiskSpace, reserve_bytes: u64) {
        let DiskSpace { available_bytes, .. } = space;
        if space != DiskSpace::UNKNOWN {
            #[allow(clippy::cast_precision_loss)] // shown, not reckoned with
            metrics::gauge!("thermocline_log_disk_available_bytes").set(available_bytes as f64);
        }
        metrics::gauge!("thermocline_log_disk_full").set(if low { 1.0 } else { 0.0 });
        if self.low.swap(low, Ordering::Relaxed) == low {
            return;
        }
        let dir = dir.display();
        if low {
            tracing::error!(%dir, available_bytes, reserve_bytes, "the disk is nearly full: rows are refused");
        } else {
            tracing::info!(%dir, available_bytes, reserve_bytes, "there is space again: rows are accepted");
        }
    }
}
