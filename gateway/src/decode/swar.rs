//! Eight bytes at a time in one register, without instructions of a certain processor. The first byte of a text is the
//! lowest of its word; past the end a word has zeros, which are neither digits nor plain characters.
//!
//! The byte tests are those of "Bit Twiddling Hacks" (Sean Eron Anderson), *determine if a word has a byte less than n*;
//! reading eight digits with three multiplications is Johnny Lee's, as in `fast_float` (Lemire, "Number parsing at a
//! gigabyte per second", 2021).

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

/// The eight bytes from `at` on.
#[inline]
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => u64::from_le_bytes(padded(bytes, at)),
    }
}

/// The sixteen bytes from `at` on.
#[inline]
pub(crate) fn wide_word_at(bytes: &[u8], at: usize) -> u128 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u128::from_le_bytes(*word),
        None => u128::from_le_bytes(padded(bytes, at)),
    }
}

/// What is left of the bytes, with zeros behind.
#[inline(never)]
fn padded<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut word = [0; N];
    for (to, from) in word.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    word
}

/// How many of the first bytes are plain in a JSON string: neither quote, backslash nor control character.
#[inline]
pub(crate) fn plain_bytes(word: u64) -> usize {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let stops = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    // A borrow may mark bytes above the lowest mark, never below it: the lowest is exact.
    ((stops & HIGHS).trailing_zeros() / 8) as usize
}

/// How many digits are at the start.
#[inline]
pub(crate) fn digit_count(word: u64) -> usize {
    let digits = word ^ (ONES * b'0' as u64);
    // Adding 0x76 sets the high bit of what is above nine; a carry only reaches bytes above one that is marked.
    let others = (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS;
    (others.trailing_zeros() / 8) as usize
}

/// The number that the first `count` bytes are the digits of.
#[inline]
pub(crate) fn digits_value(word: u64, count: usize) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    if count == 0 {
        return 0;
    }
    // Moved to the end, with zeros before them.
    let digits = (word ^ (ONES * b'0' as u64)) << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & PAIRS).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((pairs >> 16) & PAIRS).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// The word without its byte `at`, those behind it moved up, and a zero at the end.
#[inline]
pub(crate) fn without_byte(word: u64, at: usize) -> u64 {
    let before = (1_u64 << (8 * at)) - 1;
    (word & before) | ((word >> 8) & !before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_plain_bytes(bytes: [u8; 8]) {
            let plain = bytes.iter().take_while(|byte| **byte >= 0x20 && !matches!(**byte, b'"' | b'\\')).count();
            prop_assert_eq!(plain_bytes(u64::from_le_bytes(bytes)), plain);
        }

        #[test]
        fn reads_digits(count in 0_usize..=8, number in 0_u64..100_000_000, after: [u8; 8]) {
            let mut bytes = format!("{number:08}").into_bytes();
            bytes.drain(..8 - count);
            let wanted = String::from_utf8(bytes.clone()).unwrap().parse().unwrap_or(0);
            let is_whole = count == 8 || !after[0].is_ascii_digit();
            bytes.extend(after);
            if is_whole {
                let word = word_at(&bytes, 0);
                prop_assert_eq!((digit_count(word), digits_value(word, count)), (count, wanted));
            }
        }

        #[test]
        fn takes_a_byte_out(bytes: [u8; 8], at in 0_usize..8) {
            let mut expected = bytes.to_vec();
            expected.remove(at);
            expected.push(0);
            prop_assert_eq!(without_byte(u64::from_le_bytes(bytes), at).to_le_bytes().to_vec(), expected);
        }

        #[test]
        fn words_past_the_end_have_zeros(bytes: Vec<u8>, at in 0_usize..64) {
            let byte = |i: usize| bytes.get(at + i).copied().unwrap_or(0);
            prop_assert_eq!(word_at(&bytes, at).to_le_bytes(), std::array::from_fn(byte));
            prop_assert_eq!(wide_word_at(&bytes, at).to_le_bytes(), std::array::from_fn(byte));
        }
    }
}
