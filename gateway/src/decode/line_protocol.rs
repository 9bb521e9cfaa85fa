//! Influx line protocol: `measurement,tag=value field=value,… timestamp`. The measurement names the stream; tags and
//! fields are its columns; the timestamp goes to the stream's event-time column, the clock's time when a line has none.
//!
//! Tags have no types and are read as their column is, fields are what they say: `1.5`, `42i`, `42u`, `"text"`, `true`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Decoded;
use super::line_point::{Point, line_end};
use super::ndjson::not_utf8;
use super::rejected::{REASONS_IN_ANSWER, Reason};
use super::rows::{Rows, Scratch};
use super::shape::RowShape;
use super::timestamp::{MAX_US, MIN_US};
use super::value::{Value, shorten};
use crate::error::Result;

/// What the timestamps of a body count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Nanosecond,
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
}

impl Precision {
    /// Reads the `precision` parameter of either API version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ns" | "n" => Self::Nanosecond,
            "us" | "u" | "µ" | "µs" => Self::Microsecond,
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            _ => return None,
        })
    }

    fn to_us(self, timestamp: i64) -> Option<i64> {
        let us = match self {
            Self::Nanosecond => timestamp.div_euclid(1_000),
            Self::Microsecond => timestamp,
            Self::Millisecond => timestamp.checked_mul(1_000)?,
            Self::Second => timestamp.checked_mul(1_000_000)?,
            Self::Minute => timestamp.checked_mul(60_000_000)?,
            Self::Hour => timestamp.checked_mul(3_600_000_000)?,
        };
        (MIN_US..=MAX_US).contains(&us).then_some(us)
    }
}

/// Lines of one body, by stream.
#[derive(Debug)]
pub struct DecodedLines<S> {
    /// What each stream gets.
    pub streams: Vec<(S, Decoded)>,
    /// Lines that no stream takes: the measurement is unknown or cannot be read.
    pub homeless: u64,
    /// The first of them, with the reason.
    pub first_homeless: Vec<Reason>,
}

/// Decodes a body. `find` says which stream a measurement is, and its shape.
///
/// # Errors
/// Only when Arrow refuses the columns, which have the schema's types.
pub fn decode_lines<S>(
    body: &[u8],
    precision: Precision,
    now_us: i64,
    find: impl Fn(&str) -> Option<(S, Arc<RowShape>)>,
) -> Result<DecodedLines<S>> {
    let mut lines = Lines {
        body,
        precision,
        now_us,
        find,
        by_measurement: HashMap::new(),
        streams: Vec::new(),
        homeless: 0,
        first_homeless: Vec::new(),
    };
    let count = lines.read();
    let streams =
        lines.streams.into_iter().map(|open| Ok((open.stream, open.rows.finish(count)?))).collect::<Result<_>>()?;
    Ok(DecodedLines { streams, homeless: lines.homeless, first_homeless: lines.first_homeless })
}

struct Lines<'a, S, F> {
    body: &'a [u8],
    precision: Precision,
    now_us: i64,
    find: F,
    /// Place in `streams` of a measurement; `None` when there is no such stream.
    by_measurement: HashMap<Cow<'a, str>, Option<usize>>,
    streams: Vec<Open<'a, S>>,
    homeless: u64,
    first_homeless: Vec<Reason>,
}

struct Open<'a, S> {
    stream: S,
    rows: Rows,
    scratch: Scratch<'a>,
}

impl<'a, S, F: Fn(&str) -> Option<(S, Arc<RowShape>)>> Lines<'a, S, F> {
    /// Reads all lines; how many there are.
    fn read(&mut self) -> u64 {
        let body = self.body;
        let (mut at, mut line) = (0, 1);
        while at < body.len() {
            let end = line_end(body, at);
            let raw = body[at..end].strip_suffix(b"\r").unwrap_or(&body[at..end]);
            let content = raw.trim_ascii_start();
            if !content.is_empty() && content[0] != b'#' {
                self.take(line, content);
            }
            line += 1 + memchr::memchr_iter(b'\n', &body[at..end]).count() as u64;
            at = end + 1;
        }
        line - 1
    }

    fn take(&mut self, line: u64, raw: &'a [u8]) {
        let (text, cut) = match std::str::from_utf8(raw) {
            Ok(text) => (text, None),
            // What can be read of it says which stream's rejected rows it belongs to.
            Err(error) => {
                (std::str::from_utf8(&raw[..error.valid_up_to()]).unwrap_or_default(), Some(not_utf8(&error)))
            }
        };
        let mut point = Point::new(text);
        let place = point.measurement().and_then(|measurement| {
            self.place(measurement.clone()).ok_or_else(|| format!("no stream named {:?}", shorten(&measurement)))
        });
        match place {
            Ok(place) => {
                let Open { rows, scratch, .. } = &mut self.streams[place];
                scratch.clear();
                let read = cut.map_or_else(|| read_point(&mut point, self.precision, scratch, rows), Err);
                rows.take(line, raw, scratch, read);
            }
            Err(reason) => {
                self.homeless += 1;
                if self.first_homeless.len() < REASONS_IN_ANSWER {
                    self.first_homeless.push(Reason { line, reason });
                }
            }
        }
    }

    fn place(&mut self, measurement: Cow<'a, str>) -> Option<usize> {
        if let Some(place) = self.by_measurement.get(&measurement) {
            return *place;
        }
        let place = (self.find)(&measurement).map(|(stream, shape)| {
            let (scratch, rows) = (Scratch::new(&shape), Rows::new(&shape, 0, self.now_us));
            self.streams.push(Open { stream, rows, scratch });
            self.streams.len() - 1
        });
        // Bounded, whatever names a body throws at it.
        if place.is_some() || self.by_measurement.len() < 1024 {
            self.by_measurement.insert(measurement, place);
        }
        place
    }
}

fn read_point<'a>(
    point: &mut Point<'a>,
    precision: Precision,
    scratch: &mut Scratch<'a>,
    rows: &mut Rows,
) -> Result<(), String> {
    let mut wrong = None;
    let mut set = |name: &str, value: Value<'a>, scratch: &mut Scratch<'a>| match rows.shape().column(name) {
        Some(column) => {
            if let Err(reason) = scratch.set(rows.shape(), column, value) {
                wrong.get_or_insert(reason);
            }
        }
        None => rows.ignore_field(name),
    };
    while let Some((key, value)) = point.tag()? {
        set(&key, Value::Bare(value), scratch);
    }
    let mut is_first = true;
    while let Some((key, value)) = point.field(is_first)? {
        set(&key, value, scratch);
        is_first = false;
    }
    let timestamp = point.timestamp()?;
    if let Some(event_time) = rows.shape().event_time {
        match timestamp {
            Some(timestamp) => {
                let us = precision.to_us(timestamp);
                let us = us.ok_or_else(|| format!("expected a timestamp in the years 1 to 9999, found {timestamp}"))?;
                scratch.set_event_time(rows.shape(), event_time.column, us)?;
            }
            None if scratch.is_missing(event_time.column) => {
                scratch.set_event_time(rows.shape(), event_time.column, rows.now_us())?;
            }
            None => {}
        }
    }
    wrong.map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "line_protocol_tests.rs"]
mod tests;
