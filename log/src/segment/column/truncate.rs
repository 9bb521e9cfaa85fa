//! Bounds of texts, cut to a length at which they still bound.

/// Bytes of a bound at most, if a shorter one exists.
const MAX_BYTES: usize = 64;

pub(super) struct Bound {
    pub bytes: Vec<u8>,
    /// Whether it is a value of the column.
    pub exact: bool,
}

/// What is not above `min`.
pub(super) fn lower(mut min: Vec<u8>, utf8: bool) -> Bound {
    let exact = min.len() <= MAX_BYTES;
    min.truncate(cut(&min, utf8));
    Bound { bytes: min, exact }
}

/// What is not below `max`.
pub(super) fn upper(max: Vec<u8>, utf8: bool) -> Bound {
    if max.len() <= MAX_BYTES {
        return Bound { bytes: max, exact: true };
    }
    let short = &max[..cut(&max, utf8)];
    match if utf8 { next_text(short) } else { next_bytes(short) } {
        Some(bytes) => Bound { bytes, exact: false },
        None => Bound { bytes: max, exact: true },
    }
}

/// Where a bound is cut: between characters.
fn cut(bound: &[u8], utf8: bool) -> usize {
    let mut end = bound.len().min(MAX_BYTES);
    while utf8 && end < bound.len() && bound[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}

/// The bytes with the last one that can be made larger made larger, without those after it.
fn next_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = bytes[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// The same by characters, which are ordered as their bytes are.
fn next_text(text: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(text).ok()?;
    text.char_indices().rev().find_map(|(at, character)| {
        let next = char::from_u32(u32::from(character) + 1)?;
        Some(format!("{}{next}", &text[..at]).into_bytes())
    })
}
