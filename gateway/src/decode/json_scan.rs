//! A strict scanner of one JSON text (RFC 8259): it finds where values begin and end and leaves their meaning to
//! others. Strings without escapes are borrowed; escapes and nested values are handed to `serde_json`.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::json_gap::Gap;
use super::number::{short_decimal, short_integer};
use super::swar::{plain_bytes, word_at};
use super::value::Value;

/// Walks over a JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// The text and what comes behind it in memory, if that begins with a control character. No value goes on over one,
    /// so that words of eight or sixteen bytes can be read without a look at where the text ends.
    ahead: &'a [u8],
    at: usize,
}

/// What was expected at a byte of the text.
#[derive(Debug, PartialEq)]
pub(crate) struct Unexpected {
    at: usize,
    expected: &'static str,
}

impl<'a> Scanner<'a> {
    #[cfg(test)]
    pub(crate) fn new(text: &'a str) -> Self {
        Self::with_bytes_ahead(text, text.as_bytes())
    }

    /// A scanner of `text`, which `ahead` begins with; behind it, `ahead` has nothing or a control character.
    #[inline]
    pub(crate) fn with_bytes_ahead(text: &'a str, ahead: &'a [u8]) -> Self {
        debug_assert!(ahead.starts_with(text.as_bytes()));
        debug_assert!(ahead.get(text.len()).is_none_or(|byte| *byte < b' '));
        Self { text, ahead, at: 0 }
    }

    /// Why the text is not what it should be.
    #[cold]
    pub(crate) fn explain(&self, error: &Unexpected) -> String {
        let found = match self.text[self.text.floor_char_boundary(error.at)..].chars().next() {
            Some(found) => format!("{found:?}"),
            None => "the end".to_owned(),
        };
        format!("malformed JSON at byte {}: expected {}, found {found}", error.at + 1, error.expected)
    }

    /// The next byte that is no white space, left where it is.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Steps over one byte, after white space.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Unexpected> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(expected))
    }

    /// Steps over `byte` if it is next, after white space.
    #[inline]
    pub(crate) fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Steps over exactly these bytes if they are next.
    #[inline]
    pub(crate) fn skip_bytes(&mut self, bytes: &[u8]) -> bool {
        let is_next = self.text.as_bytes()[self.at..].starts_with(bytes);
        if is_next {
            self.at += bytes.len();
        }
        is_next
    }

    /// Steps over the gap if it is next.
    #[inline]
    pub(crate) fn skip_gap(&mut self, gap: &Gap) -> bool {
        // A gap may have control characters, such as the carriage return that ends a line.
        let length = gap.matches(self.ahead, self.at).filter(|length| self.at + length <= self.text.len());
        self.at += length.unwrap_or(0);
        length.is_some()
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// What was read since a position.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        &self.text.as_bytes()[position..self.at]
    }

    /// The string that is next, if it is one without escapes: the bytes from its first on, and how many of them are its.
    #[inline]
    pub(crate) fn plain_string(&mut self) -> Option<(&'a [u8], usize)> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let end = self.plain_end(start);
        if bytes.get(self.at) != Some(&b'"') || bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some((&self.ahead[start..], end - start))
    }

    /// The number that is next, if it is a plain decimal of few digits.
    #[inline]
    pub(crate) fn short_decimal(&mut self) -> Option<f64> {
        let (number, length) = short_decimal(&self.ahead[self.at..])?;
        self.at += length;
        Some(number)
    }

    /// The number that is next, if it is a whole one of few digits that `take` takes.
    #[inline]
    pub(crate) fn short_integer(&mut self, take: impl FnOnce(i64) -> Option<i64>) -> Option<i64> {
        let (number, length) = short_integer(&self.ahead[self.at..])?;
        let taken = take(number)?;
        self.at += length;
        Some(taken)
    }

    /// The next string, after white space.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Unexpected> {
        self.expect(b'"', "a string")?;
        self.string_rest()
    }

    /// The next value, after white space.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Unexpected> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Value::Text(self.string_rest()?))
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'{' | b'[') => self.nested().map(Value::Nested),
            Some(b'n') if self.skip_bytes(b"null") => Ok(Value::Null),
            Some(b't') if self.skip_bytes(b"true") => Ok(Value::Bool(true)),
            Some(b'f') if self.skip_bytes(b"false") => Ok(Value::Bool(false)),
            _ => Err(self.unexpected("a value")),
        }
    }

    pub(crate) fn unexpected(&self, expected: &'static str) -> Unexpected {
        Unexpected { at: self.at, expected }
    }

    /// What follows an opening quote, to its closing quote.
    #[inline]
    fn string_rest(&mut self) -> Result<Cow<'a, str>, Unexpected> {
        let start = self.at;
        self.at = self.plain_end(start);
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => {
                let text = &self.text[start..self.at];
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_string(start),
            Some(_) => Err(self.unexpected("no control character in a string")),
            None => Err(self.unexpected("'\"' at the end of the string")),
        }
    }

    /// Where from `at` on the first quote, backslash or control character is, or the end of the text.
    #[inline]
    fn plain_end(&self, mut at: usize) -> usize {
        loop {
            let plain = plain_bytes(word_at(self.ahead, at));
            at += plain;
            if plain < 8 {
                return at;
            }
        }
    }

    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Cow<'a, str>, Unexpected> {
        let quoted = &self.text[start - 1..];
        let mut texts = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
        match texts.next() {
            Some(Ok(text)) => {
                self.at = start - 1 + texts.byte_offset();
                Ok(Cow::Owned(text))
            }
            _ => Err(self.unexpected("a valid string")),
        }
    }

    #[inline]
    fn number(&mut self) -> Result<&'a str, Unexpected> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += usize::from(bytes[self.at] == b'-');
        match bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("a digit")),
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    #[inline]
    fn some_digits(&mut self) -> Result<(), Unexpected> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    #[inline]
    fn digits(&mut self) {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    #[cold]
    fn nested(&mut self) -> Result<&'a str, Unexpected> {
        let rest = &self.text[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(IgnoredAny)) => {
                let length = values.byte_offset();
                self.at += length;
                Ok(&rest[..length])
            }
            _ => Err(self.unexpected("a valid array or object, at most 128 levels deep")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All values of a text, one after the other.
    fn scan(text: &str) -> Result<Vec<Value<'_>>, String> {
        let mut scanner = Scanner::new(text);
        let mut values = Vec::new();
        while scanner.peek().is_some() {
            let value = scanner.value();
            values.push(value.map_err(|error| scanner.explain(&error))?);
        }
        Ok(values)
    }

    #[test]
    fn finds_values_and_borrows_plain_strings() {
        let values = scan(r#" "a longer text" "q\"\u00e9" -0.5e+3 true null {"a":[1]} "#).unwrap();
        assert!(matches!(&values[0], Value::Text(Cow::Borrowed("a longer text"))));
        assert_eq!(values[1], Value::Text("q\"é".into()));
        assert_eq!(
            values[2..],
            [Value::Number("-0.5e+3"), Value::Bool(true), Value::Null, Value::Nested(r#"{"a":[1]}"#)]
        );
    }

    #[test]
    fn says_where_and_what() {
        assert_eq!(
            scan("\"abc").unwrap_err(),
            "malformed JSON at byte 5: expected '\"' at the end of the string, found the end"
        );
        assert_eq!(scan("nul").unwrap_err(), "malformed JSON at byte 1: expected a value, found 'n'");
        assert_eq!(
            scan("\"a\tb\"").unwrap_err(),
            "malformed JSON at byte 3: expected no control character in a string, found '\\t'"
        );
        assert_eq!(scan("-é").unwrap_err(), "malformed JSON at byte 2: expected a digit, found 'é'");
    }

    fn agrees_with_serde(text: &str) {
        let mut scanner = Scanner::new(text);
        let scanned = scanner.value();
        let complete = scanned.is_ok() && scanner.peek().is_none();
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(serde_json::Value::String(expected)) => assert_eq!(scanned.unwrap(), Value::Text(expected.into())),
            Ok(_) => assert!(complete, "{text:?} is JSON"),
            // serde_json refuses numbers beyond f64; their meaning is the column's business here.
            Err(error) if error.to_string().starts_with("number out of range") => assert!(complete),
            Err(_) => assert!(!complete, "{text:?} is not JSON: {scanned:?}"),
        }
    }

    proptest! {
        #[test]
        fn accepts_what_serde_accepts(text in "[-+0-9.eE\"\\\\a-fnrtu{}\\[\\]:, ]{0,24}") {
            agrees_with_serde(&text);
        }

        #[test]
        fn reads_strings_as_serde_does(text in "\"([\\\\\"u0-9a-f]|\\PC|[ -~]{8}|[\\x00-\\x20]){0,12}\"") {
            agrees_with_serde(&text);
        }

        #[test]
        fn reads_any_string_back(text: String) {
            agrees_with_serde(&serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn reads_numbers_as_serde_does(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,3})?") {
            agrees_with_serde(&text);
        }
    }
}
