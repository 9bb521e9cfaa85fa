//! Compares what the killed processes saw acknowledged with what is read back. What was read once, acknowledged or not,
//! has to stay as well.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use thermocline_log::{Error, Log, LogOptions, Stream};

use crate::attempt::Attempt;
use crate::child::{BOUNDED, NUMBERS, STREAMS, WRITERS, base, name_of, partition_of};

/// Rows of one commit in one partition, which got the offsets `start..end` and count up from `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    stream: usize,
    partition: u32,
    start: u64,
    end: u64,
    first: i64,
}

/// A partition as it was read last.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Offset of the oldest row.
    start: u64,
    /// The numbers in the rows from offset 0 on; those before `start` are of no interest.
    numbers: Vec<i64>,
}

/// What one directory must hold.
#[derive(Debug, Default, Clone)]
pub struct Checker {
    known: BTreeMap<(usize, u32), Known>,
    /// Acknowledged since the last check.
    acknowledged: Vec<Range>,
    /// Begun and not acknowledged: the last one of each writer whose commits have an identity.
    begun: BTreeMap<i64, Attempt>,
    /// The last number of each writer.
    last: [Option<i64>; WRITERS as usize],
    pub checks: u64,
    pub rows_acknowledged: u64,
    pub rows_read: u64,
}

impl Checker {
    /// Takes note of a commit that the child begins, which must have seen the one before it acknowledged.
    pub fn begin(&mut self, attempt: Attempt) {
        let unseen = self.begun.insert(attempt.writer(), attempt);
        assert_eq!(unseen, None, "{attempt:?} before that was acknowledged");
    }

    /// What the next process has to make again.
    pub fn begun(&self) -> impl Iterator<Item = &Attempt> {
        self.begun.values()
    }

    /// Takes note of a line of the child: `acknowledged <first number>`, then stream, partition, start and end of each
    /// range. A line that the kill has cut does not end in a full stop.
    pub fn acknowledge(&mut self, line: &str) -> bool {
        let Some(fields) = line.strip_prefix("acknowledged ").and_then(|line| line.strip_suffix(" .")) else {
            return false;
        };
        let fields: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap()).collect();
        let (first, ranges) = (fields[0].cast_signed(), fields[1..].chunks_exact(4));
        self.begun.retain(|_, attempt| attempt.first != first);
        let mut next = first;
        for range in ranges {
            let [stream, partition, start, end] = *range else { unreachable!("chunks of four") };
            let stream = usize::try_from(stream).unwrap();
            let bounded = STREAMS[stream].0 == BOUNDED;
            let range = Range {
                stream,
                partition: u32::try_from(partition).unwrap(),
                start,
                end,
                first: if bounded { first } else { next },
            };
            self.acknowledged.push(range);
            self.rows_acknowledged += end - start;
            if !bounded {
                next += (end - start).cast_signed();
            }
        }
        true
    }

    /// Checks a copy as [`Checker::check`] does. Retention goes on in the copy, so that it tells nothing of what is to be
    /// expected in the directory later.
    pub fn check_copy(&mut self, dir: &Path, options: LogOptions, all: bool) {
        let mut of_copy = self.clone();
        of_copy.check(dir, options, all);
        (self.checks, self.rows_read) = (of_copy.checks, of_copy.rows_read);
    }

    /// Opens the directory as the next process would. Rows that were read before are read again when `all` of it is.
    pub fn check(&mut self, dir: &Path, options: LogOptions, all: bool) {
        let log = Log::open(dir, options).unwrap();
        let mut new = Vec::new();
        for (stream, (name, partitions)) in STREAMS.into_iter().enumerate() {
            // Killed before it was created.
            let Some(found) = log.stream(name) else { continue };
            for partition in 0..partitions {
                let numbers = self.check_partition(&log, &found, stream, partition, all);
                if name != BOUNDED {
                    new.extend(numbers);
                }
            }
        }
        self.check_acknowledged();
        self.check_whole_commits(new);
        self.check_progress(&log);
        self.checks += 1;
    }

    /// Reads a partition and compares it with what was read before. Returns the numbers that are new.
    fn check_partition(&mut self, log: &Log, found: &Stream, stream: usize, partition: u32, all: bool) -> Vec<i64> {
        let place = format!("stream {} partition {partition}", found.name());
        let known = self.known.entry((stream, partition)).or_default();
        let read_before = known.numbers.len() as u64;
        let (range, again, new) = loop {
            let range = log.range(found.id(), partition).unwrap();
            let from = read_before.max(range.start);
            let again = if all { read(log, found, partition, range.start..from, false) } else { Some(Vec::new()) };
            // Retention may go on while the rows are read.
            if let Some(again) = again
                && let Some(new) = read(log, found, partition, from..range.end, true)
            {
                break (range, again, new);
            }
        };
        assert!(range.end >= read_before, "{place}: rows {}..{read_before} are lost", range.end);
        assert!(range.start >= known.start, "{place}: rows that were removed are back");
        assert!(range.start == 0 || found.name() == BOUNDED, "{place}: rows before {} are lost", range.start);
        known.start = range.start;
        if all {
            let before = known.numbers.get(to_usize(range.start)..).unwrap_or_default();
            assert_eq!(again, before, "{place}: rows have changed");
        }
        self.rows_read += (again.len() + new.len()) as u64;
        let from = read_before.max(range.start);
        known.numbers.resize(to_usize(from), i64::MIN);
        let mut last = BTreeMap::new();
        for n in &new {
            let writer = n / NUMBERS % WRITERS;
            assert_eq!(partition, partition_of(writer, found.partitions()), "{place}: {n} belongs elsewhere");
            let earlier = last.insert(writer, *n);
            assert!(earlier < Some(*n), "{place}: {n} after {earlier:?}, rows are twice there or out of order");
        }
        known.numbers.extend(&new);
        new
    }

    /// Every acknowledged row is at its offset, unless retention has removed it.
    fn check_acknowledged(&mut self) {
        for range in self.acknowledged.drain(..) {
            let known = &self.known.get(&(range.stream, range.partition)).expect("the stream is there");
            for offset in range.start.max(known.start)..range.end {
                let expected = range.first + (offset - range.start).cast_signed();
                let found = known.numbers.get(to_usize(offset));
                assert_eq!(found, Some(&expected), "{range:?} was acknowledged, offset {offset} is not as it was");
            }
        }
    }

    /// A commit is there entirely or not at all, and once, however often it was made: over the streams without retention,
    /// the numbers of a writer in a round have no gap.
    fn check_whole_commits(&mut self, mut new: Vec<i64>) {
        new.sort_unstable();
        for n in new {
            let (round, writer) = (n / NUMBERS / WRITERS, n / NUMBERS % WRITERS);
            let last = &mut self.last[usize::try_from(writer).unwrap()];
            let expected = match *last {
                Some(last) if last / NUMBERS == n / NUMBERS => last + 1,
                _ => base(round, writer),
            };
            assert_eq!(n, expected, "round {round}: rows of writer {writer} are missing or twice there");
            assert!(*last < Some(n), "round {round}: writer {writer} went back");
            *last = Some(n);
        }
    }

    /// Value and cursor of a writer are of the same commit as its last row.
    fn check_progress(&self, log: &Log) {
        let Some(stream) = log.stream(STREAMS[0].0) else { return };
        for (writer, last) in (0..).zip(self.last) {
            let expected = last.map(|n| n + 1);
            let name = name_of(writer);
            let value = log.value(&name).map(|value| i64::from_le_bytes(value.try_into().unwrap()));
            assert_eq!(value, expected, "value and rows of {name} are of the same commit");
            let cursor = log.cursor(&name, stream.id(), partition_of(writer, stream.partitions()));
            assert_eq!(cursor.map(u64::cast_signed), expected, "cursor and rows of {name} are of the same commit");
        }
    }
}

/// The numbers of some rows, or `None` when retention removes one of them meanwhile; with `every_column`, the others are
/// checked against them.
fn read(
    log: &Log,
    stream: &Stream,
    partition: u32,
    range: std::ops::Range<u64>,
    every_column: bool,
) -> Option<Vec<i64>> {
    let projection = if every_column { vec![1, 0, 2] } else { vec![1] };
    let mut reader = log.reader(stream.id(), partition, range.start, Some(projection)).unwrap();
    let mut numbers = Vec::new();
    while reader.position() < range.end {
        let at = reader.position();
        let rows = match reader.next(to_usize(range.end - at).min(8192)) {
            Ok(rows) => rows.expect("rows up to the end are there"),
            Err(Error::OffsetRemoved { .. }) => return None,
            Err(error) => panic!("stream {} partition {partition} offset {at}: {error}", stream.name()),
        };
        assert_eq!(rows.start_offset, at, "offsets are contiguous");
        let found = rows.batch.column(0).as_primitive::<Int64Type>().values();
        if every_column {
            let (devices, notes) = (rows.batch.column(1).as_string::<i32>(), rows.batch.column(2).as_string::<i32>());
            for (row, n) in found.iter().enumerate() {
                assert_eq!(devices.value(row).strip_prefix("device-"), Some((n % 7).to_string().as_str()));
                assert_eq!(notes.is_null(row), n % 3 != 0);
            }
        }
        numbers.extend(found);
    }
    Some(numbers)
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap()
}
