//! The background thread that moves rows from the tail into segments and frees what they took: memory, journal files,
//! and by retention the segments themselves.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, io_error};
use crate::options::Durability;
use crate::partition::Partition;
use crate::segment::{self, Segment, SegmentWriter, merge};
use crate::shared::Shared;
use crate::{intake, journal, retention};

/// Niceness of the sealer's thread: a third of the weight of one that is not nice.
#[cfg(target_os = "linux")]
const SEALER_NICE: i32 = 5;
/// Longest time between two looks at ages.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a failure, such as a full disk.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A segment takes at most this many times the bytes at which sealing begins.
const MAX_SEAL_FACTOR: u64 = 4;
/// With more journal files than this, the rows in the oldest are sealed whatever their size and age.
const MAX_JOURNAL_FILES: usize = 16;

/// Runs until the log is closed.
pub(crate) fn run(shared: &Shared) {
    let _ended = Ended(shared);
    yield_to_appends();
    let mut pause = Duration::ZERO;
    while !shared.sealer.is_closing() {
        let request = shared.sealer.wait(pause);
        let done = pass(shared, request.is_some());
        pause = MAX_PAUSE;
        shared.sealer.disk_full.store(matches!(done, Err(Error::Full { .. })), Ordering::Relaxed);
        if let Err(error) = &done
            && !shared.sealer.is_closing()
        {
            tracing::warn!(%error, "sealing failed; it will be tried again");
            metrics::counter!("thermocline_log_seal_errors_total").increment(1);
        }
        let failed = done.is_err();
        if let Some(request) = request {
            // Who asked may have stopped waiting.
            let _ = request.send(done);
        }
        if failed && !shared.sealer.is_closing() {
            // Signals come with every commit; a failing disk is not asked as often.
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

/// Lowers the priority of this thread: when processors are short, who appends waits for the journal, while
/// sealing can wait until the tail is at its cap. It still gets a quarter of a processor beside a busy thread.
#[cfg(target_os = "linux")]
fn yield_to_appends() {
    if let Err(error) = rustix::process::setpriority_process(None, SEALER_NICE) {
        tracing::debug!(%error, "sealing goes on with the priority of the process");
    }
}

/// Elsewhere priorities are those of processes.
#[cfg(not(target_os = "linux"))]
fn yield_to_appends() {}

/// Tells who waits that the sealer has ended, in whatever way it did.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.sealer.end();
    }
}

/// One look at everything; with `all`, every row is sealed.
pub(crate) fn pass(shared: &Shared, all: bool) -> Result<()> {
    if let Some(poisoned) = shared.poison.error() {
        // Nothing is promised any more; what is in the tail is in the journal as far as it was acknowledged.
        return if all { Err(poisoned) } else { Ok(()) };
    }
    shared.look_at_space();
    for partition in shared.catalog.partitions() {
        partition.coalesce()?;
    }
    if all {
        for partition in shared.catalog.partitions() {
            let end = partition.range().end;
            while partition.sealed() < end {
                seal(shared, &partition)?;
            }
        }
    }
    while let Some(partition) = most_urgent(shared) {
        seal(shared, &partition)?;
        trim_journal(shared)?;
    }
    trim_journal(shared)?;
    retention::pass(shared)?;
    if shared.space.is_low() {
        // A merge needs space before it frees some.
        return Ok(());
    }
    merge_small(shared)
}

/// The partition whose tail should be sealed next, if any: one that is full or old, or under pressure any; the
/// largest first.
fn most_urgent(shared: &Shared) -> Option<Arc<Partition>> {
    let options = &shared.options;
    let now_ms = options.clock.now_ms();
    let seal_age_ms = i64::try_from(options.seal_age.as_millis()).unwrap_or(i64::MAX);
    // Segments are smaller than the journal that they free.
    let pressed = shared.space.is_low() || shared.memory.tail.load(Ordering::Relaxed) >= options.tail_bytes / 2;
    let holders = shared.journal.holders_beyond(MAX_JOURNAL_FILES);
    let due = |partition: &Arc<Partition>| {
        let bytes = partition.tail_bytes();
        let old = partition.oldest_tail_ms().is_some_and(|oldest| now_ms.saturating_sub(oldest) >= seal_age_ms);
        let holds_journal = holders.contains(&(partition.stream, partition.number));
        bytes > 0 && (pressed || old || bytes >= options.seal_bytes || holds_journal)
    };
    shared.catalog.partitions().into_iter().filter(due).max_by_key(|partition| partition.tail_bytes())
}

/// Writes the oldest rows of a partition's tail into a segment.
fn seal(shared: &Shared, partition: &Partition) -> Result<()> {
    let max_bytes = shared.options.seal_bytes.saturating_mul(MAX_SEAL_FACTOR);
    let rows = partition.oldest_tail(max_bytes);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
    if shared.options.durability != Durability::Sync {
        // A segment is durable at once: the journal must not end before it after a power loss.
        sync_journal(shared)?;
    }
    let started = Instant::now();
    // Looked at after the rows, so that its schema is theirs or a later one.
    let entry = shared.catalog.expect(partition.stream)?;
    let (disk, schema) = (&shared.options.disk, entry.stream.schema());
    let folder = segment::folder_of(&shared.dir, entry.stream.name(), partition.number);
    if partition.segments().is_empty() {
        segment::create_folder(disk.as_ref(), &folder)?;
    }
    let mut writer = SegmentWriter::create(disk, &folder, schema, first.base_offset, last.end_offset())?;
    for batch in &rows {
        if shared.sealer.is_closing() {
            return Err(Error::Closed);
        }
        writer.write(&batch.under(&entry.stream)?, batch.append_ms)?;
    }
    let segment = writer.finish()?;
    note(&segment, started.elapsed());
    let freed = partition.seal(segment);
    shared.memory.tail.fetch_sub(freed, Ordering::Relaxed);
    shared.memory.report();
    Ok(())
}

/// Merges runs of small segments, one after the other.
fn merge_small(shared: &Shared) -> Result<()> {
    for entry in shared.catalog.entries() {
        let max_age = entry.stream.spec().retention.max_age;
        for partition in &entry.partitions {
            let segments = partition.segments();
            let Some(run) = merge::plan(&segments, max_age) else { continue };
            let folder = segment::folder_of(&shared.dir, entry.stream.name(), partition.number);
            let go_on = || !shared.sealer.is_closing();
            let merged = merge::merge(&shared.options.disk, &folder, &entry.stream, &segments[run.clone()], go_on)?;
            tracing::debug!(path = %merged.path.display(), segments = run.len(), "merged");
            metrics::counter!("thermocline_log_merged_segments_total").increment(run.len() as u64);
            partition.merge(merged);
            // More may be left to merge; what is due to be sealed comes first.
            shared.sealer.notify();
        }
    }
    Ok(())
}

fn note(segment: &Segment, took: Duration) {
    let rows = segment.name.end - segment.name.start;
    tracing::debug!(path = %segment.path.display(), rows, bytes = segment.bytes, ?took, "sealed");
    metrics::counter!("thermocline_log_sealed_rows_total").increment(rows);
    metrics::counter!("thermocline_log_segment_bytes_total").increment(segment.bytes);
    metrics::histogram!("thermocline_log_seal_seconds").record(took.as_secs_f64());
}

/// Waits until everything published is synced.
pub(crate) fn sync_journal(shared: &Shared) -> Result<()> {
    let synced = intake::queue_entries(shared, Vec::new(), true)?;
    (shared.wait)(synced).map(|_| ())
}

/// Takes away the journal files whose rows are all sealed. One of about the usual size is kept for the journal to write
/// over, unless space is short.
fn trim_journal(shared: &Shared) -> Result<()> {
    let sealed = |stream, partition| shared.catalog.partition(stream, partition).map_or(u64::MAX, |p| p.sealed());
    let (disk, folder) = (&shared.options.disk, shared.dir.join(journal::FOLDER));
    let usual_bytes = shared.options.journal_file_bytes;
    let is_low = shared.space.is_low();
    if is_low {
        journal::discard(disk.as_ref(), &folder)?;
    }
    let remove = |path: &Path, bytes: u64| {
        if !is_low && (usual_bytes / 2..=usual_bytes.saturating_mul(2)).contains(&bytes) {
            journal::keep(disk.as_ref(), &folder, path)?;
        } else {
            journal::remove(disk.as_ref(), path)?;
        }
        tracing::debug!(path = %path.display(), "journal file removed");
        Ok(())
    };
    // One after the other, so that neither a failure nor a power loss leaves a gap between files.
    let sync = || disk.sync_dir(&folder).map_err(io_error("sync directory", &folder));
    while shared.journal.remove_sealed(sealed, remove, sync)? {}
    Ok(())
}
