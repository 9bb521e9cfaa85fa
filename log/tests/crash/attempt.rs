//! Commits that have an identity: they are made again by the next process when the acknowledgement was not seen.

use std::fmt;

use thermocline_log::Stream;

use crate::child::{BOUNDED, NUMBERS, WRITERS};

/// By what a writer's commits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    None,
    Producer,
    Key,
}

impl Identity {
    pub fn of(writer: i64) -> Self {
        match writer % 4 {
            1 => Self::Producer,
            2 => Self::Key,
            _ => Self::None,
        }
    }
}

/// What a commit held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The number of its first row.
    pub first: i64,
    /// Rows in each of the streams.
    pub rows: i64,
    /// Whether it appended to all streams, or to the first alone.
    pub all_streams: bool,
    /// The sequence of the producer, if it had one.
    pub sequence: u64,
}

impl Attempt {
    pub fn writer(&self) -> i64 {
        self.first / NUMBERS % WRITERS
    }

    /// The streams among all that it appended to.
    pub fn streams<'a>(&self, all: &'a [Stream]) -> &'a [Stream] {
        if self.all_streams { all } else { &all[..1] }
    }

    /// The number after its last row.
    pub fn next(&self, all: &[Stream]) -> i64 {
        let counted = self.streams(all).iter().filter(|stream| stream.name() != BOUNDED).count();
        self.first + self.rows * i64::try_from(counted).unwrap()
    }

    /// What its text was of. A line that a kill has cut does not end in a full stop.
    pub fn parse(line: &str) -> Option<Self> {
        let fields = line.strip_prefix("trying ")?.strip_suffix(" .")?;
        let fields: Vec<i64> = fields.split(' ').map(|field| field.parse().unwrap()).collect();
        let [first, rows, all_streams, sequence] = *fields else { panic!("four numbers, found {line}") };
        Some(Self { first, rows, all_streams: all_streams == 1, sequence: sequence.unsigned_abs() })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, rows, all_streams, sequence } = self;
        write!(f, "trying {first} {rows} {} {sequence} .", i64::from(*all_streams))
    }
}
