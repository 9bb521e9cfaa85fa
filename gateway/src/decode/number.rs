//! Numbers from text, exact: integers as they are, doubles rounded correctly.

use super::swar::{digit_count, digits_value, without_byte, word_at};

const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
const INTEGER_POWERS_OF_TEN: [u64; 16] = {
    let mut powers = [1; 16];
    let mut i = 1;
    while i < 16 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// A finite double; `None` for anything else, `NaN` and infinities included.
#[inline]
pub(crate) fn parse_f64(text: &str) -> Option<f64> {
    match short_decimal(text.as_bytes()) {
        Some((number, length)) if length == text.len() => Some(number),
        _ => parse_f64_slow(text),
    }
}

/// The JSON number that `bytes` starts with and its length, if it has no exponent and at most 15 digits.
///
/// These take Clinger's fast path ("How to read floating point numbers accurately", 1990): digits and power of ten are
/// both exact doubles, so that one division rounds correctly. The rest is the standard library's business.
#[inline]
pub(crate) fn short_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let word = word_at(bytes, sign);
    let whole_digits = digit_count(word);
    let (mantissa, fraction_digits, end) =
        if (1..7).contains(&whole_digits) && bytes.get(sign + whole_digits) == Some(&b'.') {
            // Usual readings fit a word: all of their digits are read at once.
            let joined = without_byte(word, whole_digits);
            let digits = digit_count(joined);
            let end = sign + digits + 1;
            if digits == 7 && bytes.get(end).is_some_and(u8::is_ascii_digit) {
                long_decimal(bytes, sign)?
            } else {
                (digits_value(joined, digits), digits - whole_digits, end)
            }
        } else {
            long_decimal(bytes, sign)?
        };
    let ends_early = bytes.get(end - 1) == Some(&b'.');
    let leading_zero = word as u8 == b'0' && whole_digits > 1;
    if ends_early || leading_zero || matches!(bytes.get(end), Some(b'e' | b'E')) {
        return None;
    }
    // At most 15 digits; converting a signed integer is one instruction, an unsigned one several.
    let magnitude = mantissa.cast_signed() as f64 / POWERS_OF_TEN[fraction_digits];
    Some((if sign == 1 { -magnitude } else { magnitude }, end))
}

/// The digits of the number that begins at `at`, point left out, how many stand behind the point, and where it ends;
/// at most 15 digits.
fn long_decimal(bytes: &[u8], at: usize) -> Option<(u64, usize, usize)> {
    let (whole_digits, whole) = short_digits(bytes, at, 0)?;
    let end = at + whole_digits;
    if whole_digits == 0 {
        return None;
    }
    if bytes.get(end) != Some(&b'.') {
        return Some((whole, 0, end));
    }
    let (fraction_digits, mantissa) = short_digits(bytes, end + 1, whole)?;
    (whole_digits + fraction_digits <= 15).then_some((mantissa, fraction_digits, end + 1 + fraction_digits))
}

/// The JSON integer that `bytes` starts with and its length, if it has at most 15 digits.
#[inline]
pub(crate) fn short_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let (count, number) = short_digits(bytes, sign, 0)?;
    let end = sign + count;
    if count == 0 || (bytes[sign] == b'0' && count > 1) || matches!(bytes.get(end), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let number = i64::try_from(number).ok()?;
    Some((if sign == 1 { -number } else { number }, end))
}

/// The digits from `at` on, at most 15, behind those that `before` has: how many, and their number.
#[inline]
fn short_digits(bytes: &[u8], at: usize, before: u64) -> Option<(usize, u64)> {
    let word = word_at(bytes, at);
    let count = digit_count(word);
    let number = digits_value(word, count);
    if count < 8 {
        return Some((count, before.wrapping_mul(INTEGER_POWERS_OF_TEN[count]).wrapping_add(number)));
    }
    let rest = word_at(bytes, at + 8);
    let more = digit_count(rest);
    let number = number * INTEGER_POWERS_OF_TEN[more] + digits_value(rest, more);
    let count = 8 + more;
    (count < 16).then(|| (count, before.wrapping_mul(INTEGER_POWERS_OF_TEN[count]).wrapping_add(number)))
}

#[cold]
fn parse_f64_slow(text: &str) -> Option<f64> {
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

/// An integer without fraction or exponent; `None` for anything else.
#[inline]
pub(crate) fn parse_i64(text: &str) -> Option<i64> {
    match short_integer(text.as_bytes()) {
        Some((number, length)) if length == text.len() => Some(number),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubles_at_the_corners() {
        for text in ["0", "-0", "0.1", "123456789012345", "1234567890123456", "0.000000000000001", "5e-324", "1.", ".5"]
        {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(parse_f64(text).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
        for text in ["", "-", ".", "-.", "1e999", "NaN", "inf", "-infinity", "1.2.3", "1,5", "0x10", " 1", "١"] {
            assert_eq!(parse_f64(text), None, "{text}");
        }
    }

    #[test]
    fn integers_at_the_corners() {
        assert_eq!(parse_i64("9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_i64("-9223372036854775808"), Some(i64::MIN));
        for text in ["", "-", "9223372036854775808", "1.0", "1e3", "0x1"] {
            assert_eq!(parse_i64(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn doubles_agree_with_the_standard_library(text in "-?[0-9]{0,20}(\\.[0-9]{0,20})?(e-?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|f| f.is_finite());
            prop_assert_eq!(parse_f64(&text).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn every_double_survives_its_own_text(bits: u64) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            prop_assert_eq!(parse_f64(&float.to_string()).map(f64::to_bits), Some(bits));
        }

        #[test]
        fn integers_agree_with_the_standard_library(text in "-?[0-9]{0,20}") {
            prop_assert_eq!(parse_i64(&text), text.parse().ok());
        }
    }
}
