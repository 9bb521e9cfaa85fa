//! Rows that could not be taken, with the reason, on their way to `rejected.<stream>`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};

use crate::error::Result;
use crate::input::rejected_schema;

/// How many rejected rows an answer names.
pub const REASONS_IN_ANSWER: usize = 10;

/// Why one row was rejected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reason {
    /// Line of the body or file (number of the row where the format has no lines), from 1.
    pub line: u64,
    /// Column, what was expected, what was found.
    pub reason: String,
}

/// Malformed rows in the order they came.
#[derive(Debug, Default)]
pub struct RejectedRows {
    lines: Vec<u64>,
    reasons: StringBuilder,
    text: StringBuilder,
    bytes: BinaryBuilder,
    first: Vec<Reason>,
}

impl RejectedRows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The first of them, at most [`REASONS_IN_ANSWER`].
    #[must_use]
    pub fn first(&self) -> &[Reason] {
        &self.first
    }

    /// Adds a row as it came.
    pub(crate) fn push(&mut self, line: u64, reason: &str, row: &[u8]) {
        self.lines.push(line);
        self.reasons.append_value(reason);
        match std::str::from_utf8(row) {
            Ok(text) => {
                self.text.append_value(text);
                self.bytes.append_null();
            }
            Err(_) => {
                self.text.append_null();
                self.bytes.append_value(row);
            }
        }
        if self.first.len() < REASONS_IN_ANSWER {
            self.first.push(Reason { line, reason: reason.to_owned() });
        }
    }

    /// Shifts the line numbers: the rows were decoded as the part of a body that has `lines` lines before it.
    pub(crate) fn shift_lines(&mut self, lines: u64) {
        self.lines.iter_mut().for_each(|line| *line += lines);
        self.first.iter_mut().for_each(|reason| reason.line += lines);
    }

    /// Adds the rows of the next part of a body, which has `lines` lines before it.
    pub(crate) fn append(&mut self, mut part: Self, lines: u64) {
        part.shift_lines(lines);
        let (reasons, text, bytes) = (part.reasons.finish(), part.text.finish(), part.bytes.finish());
        self.lines.append(&mut part.lines);
        reasons.iter().for_each(|reason| self.reasons.append_option(reason));
        text.iter().for_each(|row| self.text.append_option(row));
        bytes.iter().for_each(|row| self.bytes.append_option(row));
        self.first.append(&mut part.first);
        self.first.truncate(REASONS_IN_ANSWER);
    }

    /// The rows as `rejected.<stream>` keeps them.
    ///
    /// # Errors
    /// Only when Arrow refuses the columns, which have the schema's types.
    pub(crate) fn into_batch(mut self, rejected_at_us: i64, source: &str) -> Result<RecordBatch> {
        let rows = self.len();
        let lines = self.lines.iter().map(|&line| i64::try_from(line).ok());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from_value(rejected_at_us, rows).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, rows))),
            Arc::new(lines.collect::<Int64Array>()),
            Arc::new(self.reasons.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.bytes.finish()),
        ];
        Ok(RecordBatch::try_new(rejected_schema(), columns)?)
    }
}
