//! The header `Idempotency-Key`, after draft-ietf-httpapi-idempotency-key-header: a body that is sent again with the
//! same key is stored once and gets the same answer again.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::ApiError;

/// Longest key in the header.
const MAX_KEY_BYTES: usize = 255;
const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
pub(crate) const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));

/// The key of a request as the log remembers it, and what tells its body from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey {
    /// `http/<stream>/<key>`: the same key may be used for another stream.
    pub(crate) key: String,
    pub(crate) fingerprint: u64,
}

/// The key in the header, if there is one.
///
/// # Errors
/// 400 when there are several, or the one is not 1 to 255 printable ASCII characters.
pub(crate) fn read_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = |found: String| {
        let message = format!("expected an idempotency key of 1 to {MAX_KEY_BYTES} ASCII characters, found {found}");
        ApiError::new(StatusCode::BAD_REQUEST, message).hint("a random UUID makes a good key")
    };
    if values.next().is_some() {
        return Err(malformed("several".to_owned()));
    }
    let Ok(text) = value.to_str() else { return Err(malformed("other characters".to_owned())) };
    // The draft has the key in quotes, most clients send it without.
    let key = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').ok_or_else(|| malformed("an opening quote alone".to_owned()))?,
        None => text,
    };
    match key.len() {
        0 => Err(malformed("an empty one".to_owned())),
        1..=MAX_KEY_BYTES => Ok(Some(key)),
        found => Err(malformed(format!("{found}"))),
    }
}

impl IdempotencyKey {
    pub(crate) fn new(stream: &str, key: &str, body: Fingerprint) -> Self {
        Self { key: format!("http/{stream}/{key}"), fingerprint: body.bytes << 32 | u64::from(body.crc) }
    }
}

/// Length and checksum of a body, in whatever pieces it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint {
    bytes: u64,
    crc: u32,
}

impl Fingerprint {
    pub(crate) fn of(body: &[u8]) -> Self {
        let mut fingerprint = Self::default();
        fingerprint.add(body);
        fingerprint
    }

    /// Adds the next piece of the body.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_does_not_depend_on_how_a_body_was_cut() {
        let mut pieces = Fingerprint::default();
        for piece in [&b"12"[..], b"", b"3456789"] {
            pieces.add(piece);
        }
        assert_eq!(pieces, Fingerprint::of(b"123456789"));
        // What earlier versions have stored: the length, and the CRC-32C's check value.
        assert_eq!(IdempotencyKey::new("s", "k", pieces).fingerprint, 9 << 32 | 0xe306_9283);
    }
}
