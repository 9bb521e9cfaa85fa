//! An Arrow IPC stream. Its messages are cut and checked one by one before Arrow reads them, because sizes that a
//! message claims (rows, bytes after decompression) would be allocated before anything notices that they are not there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{Message, MessageHeader, RecordBatch as BatchHeader, root_as_message};

use super::Decoded;
use super::batch::BatchFitter;
use super::shape::RowShape;
use crate::error::{Error, Result};

const FORMAT: &str = "an Arrow IPC stream";
const CONTINUATION: [u8; 4] = [0xff; 4];
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// More rows than this in one body are refused.
const MAX_ROWS: u64 = 1 << 24;

/// Decodes a whole stream; its batches may take `max_bytes` when decompressed.
///
/// # Errors
/// The bytes are no Arrow IPC stream, end in the middle of a message, have a column of another type, or become larger
/// than they may; nothing was taken.
pub(crate) fn decode(shape: &Arc<RowShape>, body: &[u8], max_bytes: u64, now_us: i64) -> Result<Decoded> {
    // Arrow's reader unwraps what a damaged schema may lack; nothing outlives the closure but its result.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_checked(shape, body, max_bytes, now_us)));
    decoded.unwrap_or_else(|_| Err(malformed("expected whole messages, found one that arrow cannot read".to_owned())))
}

fn decode_checked(shape: &Arc<RowShape>, body: &[u8], max_bytes: u64, now_us: i64) -> Result<Decoded> {
    let mut decoder = StreamDecoder::new();
    let mut decoded = Decoded::default();
    let mut fitter = None;
    let mut end = Some(END_OF_STREAM.as_slice());
    let mut frames = Frames { body, at: 0, bytes_left: max_bytes, rows_left: MAX_ROWS.min(body.len() as u64) };
    // The end marker makes the decoder finish a last message that has no body.
    while let Some(frame) = frames.next()?.or_else(|| end.take()) {
        // A buffer of its own: a batch must not keep the bytes of all others alive.
        let mut buffer = Buffer::from(frame);
        while !buffer.is_empty() {
            let batch = decoder.decode(&mut buffer).map_err(|error| malformed(error.to_string()))?;
            let Some(batch) = batch else { continue };
            let fitter = match &mut fitter {
                Some(fitter) => fitter,
                None => fitter.insert(BatchFitter::new(shape, batch.schema_ref(), FORMAT, max_bytes)?),
            };
            fitter.fit(&batch, now_us, &mut decoded)?;
        }
    }
    if decoder.schema().is_none() && !body.is_empty() {
        return Err(malformed("expected a schema, found none".to_owned()));
    }
    Ok(decoded)
}

/// Cuts a stream into its messages.
struct Frames<'a> {
    body: &'a [u8],
    at: usize,
    bytes_left: u64,
    rows_left: u64,
}

impl<'a> Frames<'a> {
    fn next(&mut self) -> Result<Option<&'a [u8]>> {
        let rest = &self.body[self.at..];
        let prefix = if rest.starts_with(&CONTINUATION) { 8 } else { 4 };
        let Some(length) = rest.get(prefix - 4..prefix) else {
            return if rest.is_empty() { Ok(None) } else { Err(self.cut()) };
        };
        let length = u32::from_le_bytes(length.try_into().expect("four bytes were taken")) as usize;
        if length == 0 {
            return Ok(None);
        }
        let metadata = rest.get(prefix..).and_then(|rest| rest.get(..length)).ok_or_else(|| self.cut())?;
        let message = root_as_message(metadata).map_err(|error| malformed(format!("at byte {}: {error}", self.at)))?;
        let start = prefix + length;
        let body_length = usize::try_from(message.bodyLength()).map_err(|_| self.cut())?;
        let body = rest.get(start..).and_then(|rest| rest.get(..body_length)).ok_or_else(|| self.cut())?;
        self.check(&message, body)?;
        self.at += start + body_length;
        Ok(Some(&rest[..start + body_length]))
    }

    /// What a message claims must be covered by what may be allocated for it.
    fn check(&mut self, message: &Message<'_>, body: &[u8]) -> Result<()> {
        if message.header_type() != MessageHeader::NONE && message.header().is_none() {
            return Err(malformed(format!("expected a message header at byte {}, found none", self.at)));
        }
        let header = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
            _ => None,
        };
        let Some(header) = header else { return Ok(()) };
        let too_many = || malformed(format!("expected at most {MAX_ROWS} rows and one a byte, found more"));
        let claimed = u64::try_from(header.length()).map_err(|_| too_many())?;
        self.rows_left = self.rows_left.checked_sub(claimed).ok_or_else(too_many)?;
        let nodes = header.nodes().into_iter().flatten();
        if nodes.into_iter().any(|node| u64::try_from(node.length()).is_ok_and(|length| length > MAX_ROWS)) {
            return Err(too_many());
        }
        let unpacked = if header.compression().is_some() { unpacked_bytes(&header, body) } else { body.len() as u64 };
        let left = self.bytes_left.checked_sub(unpacked);
        self.bytes_left = left.ok_or(Error::TooLarge { limit_bytes: self.bytes_left })?;
        Ok(())
    }

    fn cut(&self) -> Error {
        malformed(format!("expected a whole message at byte {}, found the end of the body", self.at))
    }
}

/// Bytes of the buffers of a compressed batch; each starts with its size, -1 when it is not compressed after all.
fn unpacked_bytes(header: &BatchHeader<'_>, body: &[u8]) -> u64 {
    let claimed = |offset: i64, length: i64| -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let size = body.get(start..)?.get(..8)?;
        match i64::from_le_bytes(size.try_into().ok()?) {
            -1 => u64::try_from(length).ok(),
            // A negative size is damage; as an enormous one it is refused before Arrow sees it.
            size => Some(u64::try_from(size).unwrap_or(u64::MAX)),
        }
    };
    let buffers = header.buffers().into_iter().flatten();
    buffers.filter_map(|buffer| claimed(buffer.offset(), buffer.length())).fold(0, u64::saturating_add)
}

fn malformed(reason: String) -> Error {
    Error::Malformed { format: FORMAT, reason }
}
