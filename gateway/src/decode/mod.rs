//! Bytes → rows of a stream. Every row that came in is in the result once: as a row, or as a rejected row with the
//! reason. One file a format; the text formats fill [`rows::Rows`], the Arrow formats go through [`batch::BatchFitter`].

mod arrow_stream;
mod batch;
mod cast;
mod columns;
mod csv;
mod csv_record;
mod json;
mod json_gap;
mod json_row;
mod json_scan;
mod line_point;
mod line_protocol;
mod ndjson;
mod ndjson_stream;
mod number;
mod parallel;
mod rejected;
mod rows;
mod shape;
mod swar;
mod timestamp;
mod value;

use std::sync::Arc;

use arrow::array::RecordBatch;

pub(crate) use self::batch::BatchFitter;
pub(crate) use self::csv::{Header as CsvHeader, decode_records as decode_csv_records};
pub(crate) use self::csv_record::{MAX_RECORD_BYTES, complete_records as complete_csv_records};
pub use self::line_protocol::{DecodedLines, Precision, decode_lines};
pub(crate) use self::ndjson::decode as decode_ndjson;
pub(crate) use self::ndjson_stream::NdjsonStream;
pub(crate) use self::parallel::decode_body;
pub use self::rejected::{REASONS_IN_ANSWER, Reason, RejectedRows};
pub(crate) use self::rows::{Rows, Scratch};
pub(crate) use self::shape::sql_type;
pub use self::shape::{EventTime, RowShape};
pub(crate) use self::timestamp::parse_timestamp_us;
pub(crate) use self::value::{Kind, Scalar};
use crate::error::Result;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// One JSON object, or an array of objects.
    Json,
    /// A header line and records.
    Csv,
    /// An Arrow IPC stream.
    ArrowStream,
}

/// What a body held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The good rows, with the stream's schema, in the order they came.
    pub rows: Vec<RecordBatch>,
    /// The others.
    pub rejected: RejectedRows,
    /// Fields that no column takes.
    pub unknown_fields: u64,
    /// Lines of the body; rows where the format has no lines.
    pub lines: u64,
}

impl Decoded {
    /// Number of good rows.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }
}

/// Decodes a whole body on this thread. What compressed Arrow batches hold may take `max_bytes`; event times are held
/// against `now_us`, microseconds since the epoch.
///
/// # Errors
/// [`crate::Error::Malformed`] or [`crate::Error::TooLarge`] when the body as a whole cannot be read; a malformed row is
/// no error.
pub fn decode(format: Format, shape: &Arc<RowShape>, body: &[u8], max_bytes: u64, now_us: i64) -> Result<Decoded> {
    match format {
        Format::Ndjson => ndjson::decode(shape, body, now_us),
        Format::Json => json::decode(shape, body, now_us),
        Format::Csv => csv::decode(shape, body, now_us),
        Format::ArrowStream => arrow_stream::decode(shape, body, max_bytes, now_us),
    }
}

#[cfg(test)]
mod tests;
