//! CSV with a header line: columns by name, a column that the header lacks is NULL, an empty field is NULL, an empty
//! quoted field of a TEXT column is an empty text.

use std::sync::Arc;

use super::Decoded;
use super::csv_record::{fields, record_at};
use super::ndjson::not_utf8;
use super::rows::{Rows, Scratch};
use super::shape::RowShape;
use super::value::{Kind, Value, shorten};
use crate::error::{Error, Result};

/// Which column each field of a record is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Column of each field; `None` where the stream has no such column.
    columns: Vec<Option<usize>>,
    names: Vec<String>,
}

/// A header line and what comes after it.
#[derive(Debug)]
pub(crate) struct HeaderLine {
    pub(crate) header: Header,
    /// Bytes up to the first record.
    pub(crate) length: usize,
    /// Lines up to the first record.
    pub(crate) lines: u64,
}

impl Header {
    /// Reads the header line at the start of `body`, blank lines before it skipped; `None` when there is no line.
    ///
    /// # Errors
    /// The header is malformed, names a column twice or names none of the stream's columns.
    pub(crate) fn read(shape: &RowShape, body: &[u8]) -> Result<Option<HeaderLine>> {
        let mut length = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut lines = 0;
        while length < body.len() {
            let record = record_at(body, length);
            let raw = &body[length..record.end];
            (length, lines) = (record.next, lines + record.lines);
            if let Some(reason) = record.problem {
                return Err(malformed(format!("the header line: {reason}")));
            }
            if !raw.trim_ascii().is_empty() {
                let text = std::str::from_utf8(raw)
                    .map_err(|error| malformed(format!("the header line: {}", not_utf8(&error))))?;
                return Ok(Some(HeaderLine { header: Self::of(shape, text)?, length, lines }));
            }
        }
        Ok(None)
    }

    /// Fields are the stream's columns, in their order.
    pub(crate) fn by_position(shape: &RowShape) -> Self {
        let columns = (0..shape.columns.len()).map(Some).collect();
        Self { columns, names: shape.columns.iter().map(|column| column.name.clone()).collect() }
    }

    fn of(shape: &RowShape, line: &str) -> Result<Self> {
        let names: Vec<String> = fields(line).map(|field| field.text.trim().to_owned()).collect();
        let columns: Vec<_> = names.iter().map(|name| shape.column(name)).collect();
        let expected = || shape.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(",");
        if columns.iter().all(Option::is_none) {
            let (expected, found) = (expected(), shorten(line));
            return Err(malformed(format!("expected a header line with columns of {expected:?}, found {found:?}")));
        }
        for (i, name) in names.iter().enumerate() {
            if columns[i].is_some() && names[..i].contains(name) {
                return Err(malformed(format!("the header line: expected column {name:?} once, found twice")));
            }
        }
        Ok(Self { columns, names })
    }
}

/// Decodes a body that starts with its header line.
///
/// # Errors
/// The header is at fault; nothing was taken.
pub(crate) fn decode(shape: &Arc<RowShape>, body: &[u8], now_us: i64) -> Result<Decoded> {
    let Some(line) = Header::read(shape, body)? else { return Ok(Decoded::default()) };
    let mut decoded = decode_records(shape, &line.header, &body[line.length..], now_us)?;
    decoded.rejected.shift_lines(line.lines);
    decoded.lines += line.lines;
    Ok(decoded)
}

/// Decodes records, the first of them on line 1.
pub(crate) fn decode_records(shape: &Arc<RowShape>, header: &Header, body: &[u8], now_us: i64) -> Result<Decoded> {
    let mut rows = Rows::new(shape, body.len() / 64, now_us);
    let mut scratch = Scratch::new(shape);
    let text = std::str::from_utf8(body).ok();
    let (mut at, mut line) = (0, 1);
    while at < body.len() {
        let record = record_at(body, at);
        let raw = &body[at..record.end];
        if let Some(reason) = record.problem {
            rows.reject(line, raw, reason);
        } else if !raw.trim_ascii().is_empty() {
            match text.map_or_else(|| std::str::from_utf8(raw), |text| Ok(&text[at..record.end])) {
                Ok(text) => {
                    scratch.clear();
                    let read = read(header, text, &mut scratch, &mut rows);
                    rows.take(line, raw, &scratch, read);
                }
                Err(error) => rows.reject(line, raw, &not_utf8(&error)),
            }
        }
        (at, line) = (record.next, line + record.lines);
    }
    rows.finish(line - 1)
}

fn read<'a>(header: &Header, record: &'a str, scratch: &mut Scratch<'a>, rows: &mut Rows) -> Result<(), String> {
    let mut count = 0;
    let mut wrong = None;
    for field in fields(record) {
        match header.columns.get(count) {
            Some(&Some(column)) => {
                let is_text = rows.shape().columns[column].kind == Kind::Text;
                let is_null = field.text.is_empty() && !(field.quoted && is_text);
                let value = if is_null { Value::Null } else { Value::Bare(field.text) };
                if let Err(reason) = scratch.set(rows.shape(), column, value) {
                    wrong.get_or_insert(reason);
                }
            }
            Some(None) => rows.ignore_field(&header.names[count]),
            None => {}
        }
        count += 1;
    }
    let expected = header.columns.len();
    if count != expected {
        return Err(format!("expected {expected} fields, found {count}"));
    }
    wrong.map_or(Ok(()), Err)
}

fn malformed(reason: String) -> Error {
    Error::Malformed { format: "CSV", reason }
}
