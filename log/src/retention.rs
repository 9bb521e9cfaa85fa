//! Removes the oldest segments of a stream by age and by size. The new start is journaled before a file goes, so that
//! a missing segment is always either removed or damage.

use std::sync::Arc;

use crate::catalog::StreamEntry;
use crate::error::Result;
use crate::intake;
use crate::journal::Entry;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::shared::Shared;

/// One look at all streams.
pub(crate) fn pass(shared: &Shared) -> Result<()> {
    for entry in shared.catalog.entries() {
        let retention = entry.stream.spec().retention;
        if let Some(max_age) = retention.max_age {
            let max_age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
            let oldest_ms = shared.options.clock.now_ms().saturating_sub(max_age_ms);
            for partition in &entry.partitions {
                remove_aged(shared, partition, oldest_ms)?;
            }
        }
        if let Some(max_bytes) = retention.max_bytes {
            remove_beyond(shared, &entry, max_bytes)?;
        }
    }
    Ok(())
}

/// Removes the segments whose rows were all appended before `oldest_ms` and passed by every cursor of the partition.
fn remove_aged(shared: &Shared, partition: &Partition, oldest_ms: i64) -> Result<()> {
    let slowest = shared.metadata.slowest_cursor(partition.stream, partition.number).unwrap_or(u64::MAX);
    let removable =
        |segment: &&Arc<Segment>| segment.name.append_ms.cast_signed() < oldest_ms && segment.name.end <= slowest;
    let segments = partition.segments();
    match segments.iter().take_while(removable).last() {
        Some(last) => remove_before(shared, partition, last.name.end),
        None => Ok(()),
    }
}

/// Removes the oldest segments until the stream's hold at most `max_bytes`.
fn remove_beyond(shared: &Shared, entry: &StreamEntry, max_bytes: u64) -> Result<()> {
    let mut segments: Vec<(u64, &Arc<Partition>, Arc<Segment>)> = Vec::new();
    for partition in &entry.partitions {
        // Rows are at least as young as those before them, also where the clock was set back in between.
        let mut youngest_ms = 0;
        for segment in partition.segments() {
            youngest_ms = segment.name.append_ms.max(youngest_ms);
            segments.push((youngest_ms, partition, segment));
        }
    }
    let mut bytes: u64 = segments.iter().map(|(_, _, segment)| segment.bytes).sum();
    segments.sort_by_key(|(append_ms, partition, segment)| (*append_ms, partition.number, segment.name.start));
    for (_, partition, segment) in segments {
        if bytes <= max_bytes {
            break;
        }
        let oldest = partition.range().start;
        if segment.name.end > oldest {
            bytes = bytes.saturating_sub(bytes_before(partition, segment.name.end));
            remove_before(shared, partition, segment.name.end)?;
        }
    }
    Ok(())
}

/// Bytes of the segments that go when everything before `offset` is removed.
fn bytes_before(partition: &Partition, offset: u64) -> u64 {
    partition.segments().iter().filter(|segment| segment.name.end <= offset).map(|segment| segment.bytes).sum()
}

fn remove_before(shared: &Shared, partition: &Partition, start: u64) -> Result<()> {
    let removed = start - partition.range().start;
    let entry = Entry::Start { stream: partition.stream, partition: partition.number, start };
    let durable = intake::queue_entries(shared, vec![entry], true)?;
    (shared.wait)(durable)?;
    partition.remove_old_segments();
    tracing::debug!(stream = partition.stream.0, partition = partition.number, start, "rows removed by retention");
    metrics::counter!("thermocline_log_removed_rows_total").increment(removed);
    Ok(())
}
