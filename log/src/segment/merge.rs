//! Joins neighbouring small segments, so that a quiet stream that is sealed by age does not end as a folder of crumbs.
//!
//! Segments fall into classes by size, each [`FANOUT`] times the one before; [`FANOUT`] neighbours of a class or below
//! become one of a higher class. So every row is rewritten at most once for each class.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::segment::{Segment, SegmentReader, SegmentWriter, Wanted};
use crate::stream::Stream;

/// How many neighbours make a merge worth it.
const FANOUT: usize = 8;
/// Sizes below which a segment is of a class, smallest class first.
const CLASS_BYTES: [u64; 3] = [64 << 10, 512 << 10, 4 << 20];
/// Bound on the input of one merge.
const MAX_MERGE_BYTES: u64 = 32 << 20;

/// Which neighbours to merge next, if any. With a retention by age a merged segment spans at most an eighth of it,
/// so that its rows do not outlive their time by much.
pub(crate) fn plan(segments: &[Arc<Segment>], max_age: Option<Duration>) -> Option<Range<usize>> {
    let max_span_ms = max_age.map_or(u64::MAX, |age| u64::try_from(age.as_millis() / 8).unwrap_or(u64::MAX));
    CLASS_BYTES.iter().find_map(|class_bytes| {
        let mut from = 0;
        while from < segments.len() {
            let run = run_from(&segments[from..], *class_bytes, max_span_ms);
            if run >= FANOUT {
                return Some(from..from + run);
            }
            from += run.max(1);
        }
        None
    })
}

/// How many segments from the first on are of the class and fit one merge.
fn run_from(segments: &[Arc<Segment>], class_bytes: u64, max_span_ms: u64) -> usize {
    let first_ms = segments[0].name.append_ms;
    let mut bytes = 0;
    let fits = |segment: &&Arc<Segment>| {
        bytes += segment.bytes;
        segment.bytes < class_bytes
            && bytes <= MAX_MERGE_BYTES
            && segment.name.append_ms.abs_diff(first_ms) <= max_span_ms
    };
    segments.iter().take_while(fits).count()
}

/// Writes one segment with the rows of `segments`, which are neighbours, under the schema that `stream` has now. `go_on` is
/// asked between batches.
pub(crate) fn merge(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    stream: &Stream,
    segments: &[Arc<Segment>],
    go_on: impl Fn() -> bool,
) -> Result<Segment> {
    let start = segments.first().map_or(0, |segment| segment.name.start);
    let end = segments.last().map_or(0, |segment| segment.name.end);
    let mut writer = SegmentWriter::create(disk, folder, stream.schema(), start, end)?;
    copy(&mut writer, stream, segments, go_on)?;
    writer.finish()
}

fn copy(
    writer: &mut SegmentWriter,
    stream: &Stream,
    segments: &[Arc<Segment>],
    go_on: impl Fn() -> bool,
) -> Result<()> {
    for segment in segments {
        let append_ms = segment.name.append_ms.cast_signed();
        let mut reader = SegmentReader::open(segment, stream, segment.name.start, &Wanted::default())?;
        while let Some(batch) = reader.next()? {
            if !go_on() {
                return Err(Error::Closed);
            }
            writer.write(&batch, append_ms)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::OsDisk;
    use crate::segment::SegmentName;

    fn segments(sizes: &[u64]) -> Vec<Arc<Segment>> {
        let segment = |(start, bytes): (u64, &u64)| {
            let name = SegmentName { start, end: start + 1, append_ms: start * 1000, crc: 0 };
            Arc::new(Segment::new(Arc::new(OsDisk), PathBuf::new(), name, *bytes))
        };
        (0..).zip(sizes).map(segment).collect()
    }

    #[test]
    fn merges_runs_of_small_neighbours_only() {
        assert_eq!(plan(&segments(&[100; 7]), None), None);
        assert_eq!(plan(&segments(&[100; 8]), None), Some(0..8));
        assert_eq!(plan(&segments(&[5 << 20; 20]), None), None);
        let mut mixed = vec![8 << 20];
        mixed.extend([100; 9]);
        assert_eq!(plan(&segments(&mixed), None), Some(1..10));
    }

    #[test]
    fn a_larger_class_is_merged_when_it_is_full() {
        let mut sizes = vec![100 << 10; 7];
        sizes.extend([100; 3]);
        assert_eq!(plan(&segments(&sizes), None), Some(0..10));
    }

    #[test]
    fn does_not_span_more_than_an_eighth_of_the_retention() {
        assert_eq!(plan(&segments(&[100; 20]), Some(Duration::from_secs(40))), None);
        assert_eq!(plan(&segments(&[100; 20]), Some(Duration::from_secs(80))), Some(0..11));
    }
}
