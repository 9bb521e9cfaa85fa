//! Numbers from text, exact: integers as they are, doubles rounded correctly.

const POWERS_OF_TEN: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A finite double; `None` for anything else, `NaN` and infinities included.
///
/// Plain decimals of up to 15 digits take Clinger's fast path ("How to read floating point numbers accurately", 1990):
/// digits and power of ten are both exact doubles, so that one division rounds correctly. The rest is the standard
/// library's business.
#[inline]
pub(crate) fn parse_f64(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let mut mantissa = 0_u64;
    let mut point = None;
    for (i, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' if i <= 15 => mantissa = mantissa * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(i),
            _ => return parse_f64_slow(text),
        }
    }
    let (count, fraction) = match point {
        Some(at) => (digits.len() - 1, digits.len() - 1 - at),
        None => (digits.len(), 0),
    };
    if count == 0 || count > 15 {
        return parse_f64_slow(text);
    }
    let magnitude = mantissa as f64 / POWERS_OF_TEN[fraction];
    Some(if negative { -magnitude } else { magnitude })
}

#[cold]
fn parse_f64_slow(text: &str) -> Option<f64> {
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

/// An integer without fraction or exponent; `None` for anything else.
#[inline]
pub(crate) fn parse_i64(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 18 || bytes[0] == b'-' {
        return text.parse().ok();
    }
    let mut int = 0_i64;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return text.parse().ok();
        }
        int = int * 10 + i64::from(byte - b'0');
    }
    Some(int)
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
