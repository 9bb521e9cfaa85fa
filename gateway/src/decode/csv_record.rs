//! Where CSV records and their fields begin and end (RFC 4180, LF or CRLF).
//!
//! Strict about quotes: a quote opens a field only at its start and closes it only before a comma or the end. That way a
//! stray quote is noticed where it stands and costs one line, not everything up to the next quote.

use std::borrow::Cow;

/// A quoted field that runs on over more than this is taken for a quote that was never closed.
pub(crate) const MAX_RECORD_BYTES: usize = 1 << 20;

/// One record of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// End of its bytes, without the line end.
    pub(crate) end: usize,
    /// Where the next record starts.
    pub(crate) next: usize,
    /// Lines that it takes.
    pub(crate) lines: u64,
    /// Why it is malformed; it then is the one line that it started on.
    pub(crate) problem: Option<&'static str>,
    /// Whether it ends where the body does, in the middle of a quoted field: more bytes may complete it.
    pub(crate) open: bool,
}

const STRAY: &str = "malformed CSV: expected quotes only around a whole field, found one inside";
const UNCLOSED: &str = "malformed CSV: expected a closing quote, found the end";

/// The record that starts at byte `start`.
pub(crate) fn record_at(body: &[u8], start: usize) -> Record {
    let line = &body[start..];
    let end = memchr::memchr(b'\n', line).map_or(body.len(), |length| start + length);
    if memchr::memchr(b'"', &body[start..end]).is_none() {
        return ended(body, start, end, 1);
    }
    match quoted_end(&line[..line.len().min(MAX_RECORD_BYTES)]) {
        Ok(length) => {
            let lines = 1 + memchr::memchr_iter(b'\n', &line[..length]).count() as u64;
            ended(body, start, start + length, lines)
        }
        Err(problem) => {
            let open = problem == UNCLOSED && line.len() < MAX_RECORD_BYTES;
            Record { problem: Some(problem), open, ..ended(body, start, end, 1) }
        }
    }
}

/// Bytes of `body` up to the end of its last complete record.
pub(crate) fn complete_records(body: &[u8]) -> usize {
    if memchr::memchr(b'"', body).is_none() {
        return memchr::memrchr(b'\n', body).map_or(0, |at| at + 1);
    }
    let mut at = 0;
    while at < body.len() {
        let record = record_at(body, at);
        if record.open || body[record.next - 1] != b'\n' {
            return at;
        }
        at = record.next;
    }
    at
}

/// A field of a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) quoted: bool,
}

/// The fields of one record that [`record_at`] found in order.
pub(crate) fn fields(record: &str) -> impl Iterator<Item = Field<'_>> {
    let mut rest = Some(record);
    std::iter::from_fn(move || {
        let record = rest.take()?;
        let (field, length) = match record.strip_prefix('"') {
            Some(quoted) => {
                let length = closing_quote(quoted.as_bytes()).unwrap_or(quoted.len());
                let text = &quoted[..length];
                let text = if text.contains('"') { text.replace("\"\"", "\"").into() } else { text.into() };
                (Field { text, quoted: true }, (length + 2).min(record.len()))
            }
            None => {
                let length = memchr::memchr(b',', record.as_bytes()).unwrap_or(record.len());
                (Field { text: record[..length].into(), quoted: false }, length)
            }
        };
        rest = record[length..].strip_prefix(',');
        Some(field)
    })
}

fn ended(body: &[u8], start: usize, end: usize, lines: u64) -> Record {
    let next = (end + 1).min(body.len());
    let end = if end > start && body[end - 1] == b'\r' { end - 1 } else { end };
    Record { end, next, lines, problem: None, open: false }
}

/// Length of a record with quotes, up to its line end.
fn quoted_end(record: &[u8]) -> Result<usize, &'static str> {
    let mut at = 0;
    loop {
        if record.get(at) == Some(&b'"') {
            at += 2 + closing_quote(&record[at + 1..]).ok_or(UNCLOSED)?;
            at += usize::from(record[at..].starts_with(b"\r\n"));
            match record.get(at) {
                None | Some(b'\n') => return Ok(at),
                Some(b',') => at += 1,
                Some(_) => return Err(STRAY),
            }
        } else {
            match memchr::memchr3(b',', b'\n', b'"', &record[at..]).map(|length| at + length) {
                None => return Ok(record.len()),
                Some(end) if record[end] == b'\n' => return Ok(end),
                Some(end) if record[end] == b',' => at = end + 1,
                Some(_) => return Err(STRAY),
            }
        }
    }
}

/// Position of the quote that closes a field whose opening quote was before `bytes`; a doubled quote is a quote.
fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'"', &bytes[at..])?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(body: &str) -> Vec<Vec<String>> {
        let (mut at, mut records) = (0, Vec::new());
        while at < body.len() {
            let record = record_at(body.as_bytes(), at);
            assert_eq!(record.problem, None, "{body:?} at {at}");
            records.push(fields(&body[at..record.end]).map(|field| field.text.into_owned()).collect());
            at = record.next;
        }
        records
    }

    #[test]
    fn fields_with_and_without_quotes() {
        assert_eq!(records("a,b\r\nc,\n"), [["a", "b"], ["c", ""]]);
        assert_eq!(records("\"a,\"\"x\"\"\nb\",c\r\nd,\"\"\r\n"), [["a,\"x\"\nb", "c"], ["d", ""]]);
        assert_eq!(records("\"a\"\r\n\"b\""), [["a"], ["b"]]);
    }

    #[test]
    fn a_stray_quote_costs_its_line() {
        let body = b"5\" pipe,1\nb,2\n\"x\"y,3\nd,\"never closed\ne,5\n";
        let mut at = 0;
        let mut found = Vec::new();
        while at < body.len() {
            let record = record_at(body, at);
            found.push((record.problem, std::str::from_utf8(&body[at..record.end]).unwrap()));
            at = record.next;
        }
        assert_eq!(
            found,
            [
                (Some(STRAY), "5\" pipe,1"),
                (None, "b,2"),
                (Some(STRAY), "\"x\"y,3"),
                (Some(UNCLOSED), "d,\"never closed"),
                (None, "e,5")
            ]
        );
    }

    #[test]
    fn a_cut_falls_between_records() {
        assert_eq!(complete_records(b"a,b\nc,d"), 4);
        assert_eq!(complete_records(b"a,\"b\nc\"\nd,\"e\n"), 8);
        assert_eq!(complete_records(b"a,\"b\nc"), 0);
        assert_eq!(complete_records(b"a,\"b\"\n"), 6);
        assert_eq!(complete_records(b""), 0);
    }

    proptest! {
        #[test]
        fn every_byte_belongs_to_one_record(body in "[a\",\n\r]{0,40}") {
            let mut at = 0;
            let mut lines = 0;
            while at < body.len() {
                let record = record_at(body.as_bytes(), at);
                prop_assert!(at <= record.end && record.end <= record.next && record.next > at);
                let _ = fields(&body[at..record.end]).count();
                at = record.next;
                lines += record.lines;
            }
            prop_assert_eq!(lines, body.lines().count() as u64);
            prop_assert!(complete_records(body.as_bytes()) <= body.len());
        }

        #[test]
        fn reads_back_what_was_quoted(rows in prop::collection::vec(prop::collection::vec("[a\",\n\r é]{1,6}", 2..4), 1..5)) {
            let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
            let body: String = rows.iter().map(line).collect();
            prop_assert_eq!(records(&body), rows);
        }
    }
}
