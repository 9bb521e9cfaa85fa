//! Decoding off the async threads: small bodies in place, larger ones on blocking threads, large NDJSON cut at lines
//! and decoded by several.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Decoded, Format, RowShape, decode};
use crate::error::Result;

/// Bodies up to this size take less time to decode than to hand over.
const IN_PLACE_BYTES: usize = 16 << 10;
/// Lines are cut in parts of about this size: large enough to be decoded well, small enough to share out.
const PART_BYTES: usize = 2 << 20;

/// Decodes a whole body, with at most `threads` blocking threads at a time.
///
/// # Errors
/// As [`decode`].
pub(crate) async fn decode_body(
    format: Format,
    shape: &Arc<RowShape>,
    body: Bytes,
    max_bytes: u64,
    now_us: i64,
    threads: usize,
) -> Result<Decoded> {
    if body.len() <= IN_PLACE_BYTES {
        return decode(format, shape, &body, max_bytes, now_us);
    }
    let parts = if format == Format::Ndjson { cut_at_lines(&body, PART_BYTES) } else { vec![body] };
    let decode_part = |part: Bytes| {
        let shape = Arc::clone(shape);
        async move { tokio::task::spawn_blocking(move || decode(format, &shape, &part, max_bytes, now_us)).await? }
    };
    stream::iter(parts).map(decode_part).buffered(threads.max(1)).try_fold(Decoded::default(), append).await
}

async fn append(mut decoded: Decoded, part: Decoded) -> Result<Decoded> {
    decoded.rows.extend(part.rows);
    decoded.rejected.append(part.rejected, decoded.lines);
    decoded.unknown_fields += part.unknown_fields;
    decoded.lines += part.lines;
    Ok(decoded)
}

/// Parts of at least `part_bytes` (but the last), each ending after a line feed (but the last).
fn cut_at_lines(body: &Bytes, part_bytes: usize) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < body.len() {
        let at_least = (start + part_bytes - 1).min(body.len());
        let end = memchr::memchr(b'\n', &body[at_least..]).map_or(body.len(), |length| at_least + length + 1);
        parts.push(body.slice(start..end));
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_only_after_lines() {
        let body = Bytes::from_static(b"ab\ncd\n\nefgh\ni");
        for part_bytes in 1..20 {
            let parts = cut_at_lines(&body, part_bytes);
            assert_eq!(parts.concat(), body);
            assert!(parts[..parts.len() - 1].iter().all(|part| part.ends_with(b"\n") && part.len() >= part_bytes));
        }
        assert!(cut_at_lines(&Bytes::new(), 4).is_empty());
    }
}
