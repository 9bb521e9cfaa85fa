//! NDJSON decoded while it comes in, in pieces of any size: the rows are those of the whole body. A piece is decoded while
//! the processor's cache still holds it, and only a line that is cut is copied.

use std::sync::Arc;

use super::json_row::ObjectReader;
use super::ndjson::{rows_expected, take_lines};
use super::rows::Rows;
use super::{Decoded, RowShape};
use crate::error::Result;

/// Rows of about so many bytes of text become one batch.
const BATCH_BYTES: usize = 2 << 20;
/// Room is made for at most so many rows before they are there.
const MAX_ROWS_EXPECTED: usize = 64 << 10;

/// Decodes a body piece by piece.
pub(crate) struct NdjsonStream {
    shape: Arc<RowShape>,
    reader: ObjectReader,
    /// The batch being built, and the bytes it was read from.
    rows: Option<Rows>,
    batch_bytes: usize,
    /// The start of a line whose end has not come yet.
    cut_line: Vec<u8>,
    /// What is still expected to come, as far as the client said.
    expected_bytes: usize,
    max_batch_bytes: usize,
    decoded: Decoded,
}

impl NdjsonStream {
    /// Nothing yet; the whole body may have `expected_bytes`.
    pub(crate) fn new(shape: &Arc<RowShape>, expected_bytes: usize) -> Self {
        Self {
            shape: Arc::clone(shape),
            reader: ObjectReader::default(),
            rows: None,
            batch_bytes: 0,
            cut_line: Vec::new(),
            expected_bytes,
            max_batch_bytes: BATCH_BYTES,
            decoded: Decoded::default(),
        }
    }

    /// Takes the next piece of the body; its event times are held against `now_us`.
    ///
    /// # Errors
    /// Only when Arrow refuses the columns, which have the schema's types.
    pub(crate) fn push(&mut self, piece: &[u8], now_us: i64) -> Result<()> {
        let mut rest = piece;
        if !self.cut_line.is_empty() {
            let line_end = memchr::memchr(b'\n', piece).map(|at| at + 1);
            let (end_of_line, lines) = piece.split_at(line_end.unwrap_or(piece.len()));
            self.cut_line.extend_from_slice(end_of_line);
            if line_end.is_none() {
                return Ok(());
            }
            let mut line = std::mem::take(&mut self.cut_line);
            self.take(&line, now_us)?;
            line.clear();
            self.cut_line = line;
            rest = lines;
        }
        let (lines, cut_line) = rest.split_at(memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1));
        self.cut_line.extend_from_slice(cut_line);
        self.take(lines, now_us)
    }

    /// What the body held.
    ///
    /// # Errors
    /// Only when Arrow refuses the columns, which have the schema's types.
    pub(crate) fn finish(mut self, now_us: i64) -> Result<Decoded> {
        let last_line = std::mem::take(&mut self.cut_line);
        self.take(&last_line, now_us)?;
        self.end_batch()?;
        Ok(self.decoded)
    }

    /// Takes whole lines.
    fn take(&mut self, lines: &[u8], now_us: i64) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let expected_bytes = self.expected_bytes.clamp(lines.len(), self.max_batch_bytes.max(lines.len()));
        let rows = self.rows.get_or_insert_with(|| {
            let expected = rows_expected(lines, expected_bytes).min(MAX_ROWS_EXPECTED);
            Rows::new(&self.shape, expected, now_us)
        });
        rows.set_now(now_us);
        self.decoded.lines = take_lines(&mut self.reader, rows, self.decoded.lines, lines);
        self.batch_bytes += lines.len();
        self.expected_bytes = self.expected_bytes.saturating_sub(lines.len());
        if self.batch_bytes >= self.max_batch_bytes {
            self.end_batch()?;
        }
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let batch = rows.finish(0)?;
        self.batch_bytes = 0;
        self.decoded.rows.extend(batch.rows);
        // They have their lines of the whole body already.
        self.decoded.rejected.append(batch.rejected, 0);
        self.decoded.unknown_fields += batch.unknown_fields;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use proptest::prelude::*;

    use super::super::{EventTime, ndjson};
    use super::*;
    use crate::input::TimestampUnit;

    const NOW_US: i64 = 10_000_000;

    fn shape() -> Arc<RowShape> {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8, false),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("x", DataType::Float64, true),
        ]);
        let event_time = EventTime { column: 1, max_skew_us: Some(0) };
        Arc::new(RowShape::new("s", Arc::new(schema), Some(event_time), TimestampUnit::Second))
    }

    /// Good lines, bad ones, and bytes that are no text.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => "\\{\"k\":\"[a-zé\\\\n]{0,20}\",\"ts\":[0-9]{1,2},\"x\":-?[0-9]{1,9}\\.[0-9]{1,9}\\}\r?".prop_map(String::into_bytes),
            1 => "\\{\"ts\":[0-9]{1,2},\"y\":1,\"k\":\"[a-z]{9,18}\"\\} ?".prop_map(String::into_bytes),
            1 => "[ {}\":,a\r\t]{0,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_what_the_whole_gives(
            lines in prop::collection::vec(line(), 0..20),
            ends_with_line_feed: bool,
            cuts in prop::collection::vec(0_usize..1000, 0..8),
            (max_batch_bytes, expected_bytes) in (1_usize..400, 0_usize..2000),
        ) {
            let mut body = lines.join(&b'\n');
            if ends_with_line_feed {
                body.push(b'\n');
            }
            let shape = shape();
            let whole = ndjson::decode(&shape, &body, NOW_US).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < body.len()).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let mut stream = NdjsonStream { max_batch_bytes, ..NdjsonStream::new(&shape, expected_bytes) };
            for cut in cuts.windows(2) {
                stream.push(&body[cut[0]..cut[1]], NOW_US).unwrap();
            }
            let pieces = stream.finish(NOW_US).unwrap();
            prop_assert_eq!(pieces.lines, whole.lines);
            prop_assert_eq!(pieces.unknown_fields, whole.unknown_fields);
            prop_assert_eq!(
                concat_batches(shape.schema(), &pieces.rows).unwrap(),
                concat_batches(shape.schema(), &whole.rows).unwrap()
            );
            prop_assert_eq!(pieces.rejected.first(), whole.rejected.first());
            prop_assert_eq!(
                pieces.rejected.into_batch(NOW_US, "test").unwrap(),
                whole.rejected.into_batch(NOW_US, "test").unwrap()
            );
        }
    }

    proptest! {
        /// The scanner looks at bytes behind a line; alone, a line has none.
        #[test]
        fn a_line_means_the_same_whatever_follows_it(lines in prop::collection::vec(line(), 0..12)) {
            let shape = shape();
            let whole = ndjson::decode(&shape, &lines.join(&b'\n'), NOW_US).unwrap();
            let (mut rows, mut rejected) = (Vec::new(), Vec::new());
            let lines: Vec<&[u8]> = lines.iter().flat_map(|line| line.split(|byte| *byte == b'\n')).collect();
            for (number, line) in (1..).zip(lines) {
                let alone = ndjson::decode(&shape, line, NOW_US).unwrap();
                rows.extend(alone.rows);
                rejected.extend(alone.rejected.first().iter().map(|reason| (number, reason.reason.clone())));
            }
            rejected.truncate(whole.rejected.first().len());
            prop_assert_eq!(
                concat_batches(shape.schema(), &whole.rows).unwrap(),
                concat_batches(shape.schema(), &rows).unwrap()
            );
            let found: Vec<_> = whole.rejected.first().iter().map(|reason| (reason.line, reason.reason.clone())).collect();
            prop_assert_eq!(found, rejected);
        }
    }

    #[test]
    fn a_gap_does_not_reach_over_the_end_of_a_line() {
        let decoded = ndjson::decode(&shape(), b"{\"k\":\r\"a\"}\n{\"k\":\r\n{\"k\":\r\"b\"}\r\n", NOW_US).unwrap();
        assert_eq!(decoded.accepted(), 2);
        let reason = &decoded.rejected.first()[0];
        assert_eq!(
            (reason.line, reason.reason.as_str()),
            (2, "malformed JSON at byte 6: expected a value, found the end")
        );
    }

    #[test]
    fn each_piece_has_its_own_now() {
        let shape = shape();
        let mut stream = NdjsonStream::new(&shape, 0);
        let line = b"{\"k\":\"a\",\"ts\":11}\n";
        stream.push(line, NOW_US).unwrap();
        stream.push(line, NOW_US + 1_000_000).unwrap();
        let decoded = stream.finish(NOW_US).unwrap();
        assert_eq!((decoded.accepted(), decoded.rejected.first()[0].line), (1, 1));
    }
}
