//! NDJSON: one JSON object a line; blank lines are skipped. Lines are independent, so that a body can be cut at any line.

use std::sync::Arc;

use super::Decoded;
use super::json_row::ObjectReader;
use super::rows::Rows;
use super::shape::RowShape;
use crate::error::Result;

/// Decodes lines; the first is line 1.
pub(crate) fn decode(shape: &Arc<RowShape>, body: &[u8], now_us: i64) -> Result<Decoded> {
    let mut rows = Rows::new(shape, rows_expected(body, body.len()), now_us);
    let lines = take_lines(&mut ObjectReader::default(), &mut rows, 0, body);
    rows.finish(lines)
}

/// Takes the lines of `body` into `rows`. `line` is the number of the line before them; returns that of the last.
pub(crate) fn take_lines(reader: &mut ObjectReader, rows: &mut Rows, mut line: u64, body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).ok();
    let mut start = 0;
    while start < body.len() {
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length);
        line += 1;
        // Checked once for the whole body where that holds; line by line where some line is at fault.
        match text.map_or_else(|| std::str::from_utf8(&body[start..end]), |text| Ok(&text[start..end])) {
            Ok(text) if is_blank(text) => {}
            Ok(text) => {
                let text = text.strip_suffix('\r').unwrap_or(text);
                reader.take(line, text, &body[start..], rows);
            }
            Err(error) => rows.reject(line, &body[start..end], &not_utf8(&error)),
        }
        start = end + 1;
    }
    line
}

/// Why bytes are no text.
#[cold]
pub(crate) fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!("expected UTF-8, found other bytes at byte {}", error.valid_up_to() + 1)
}

#[inline]
fn is_blank(line: &str) -> bool {
    line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// An estimate of the rows in `bytes` from the first lines of a body, so that builders rarely grow.
pub(crate) fn rows_expected(body: &[u8], bytes: usize) -> usize {
    let sample = &body[..body.len().min(4096)];
    let lines = memchr::memchr_iter(b'\n', sample).count() + 1;
    (bytes * lines).div_ceil(sample.len().max(1)).min(1 << 20)
}
