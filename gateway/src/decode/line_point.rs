//! The grammar of one line of Influx line protocol: where its parts begin and end, and its escapes.

use std::borrow::Cow;

use super::csv_record::MAX_RECORD_BYTES;
use super::value::{Value, shorten};

/// End of the line that starts at `start`: the next line feed outside the quotes of a string field. A string that is
/// never closed ends with its first line, so that it costs no other.
pub(crate) fn line_end(body: &[u8], start: usize) -> usize {
    let first = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length);
    if memchr::memchr(b'"', &body[start..first]).is_none() {
        return first;
    }
    let limit = body.len().min(start + MAX_RECORD_BYTES);
    // A quote opens a string only after an equals sign of the fields; the rules are those of InfluxDB's own scanner.
    let (mut in_fields, mut in_string, mut in_value) = (false, false, false);
    let mut at = start;
    while at < limit {
        match body[at] {
            b'\\' if body.get(at + 1).is_some_and(|next| *next != b'\n') => at += 1,
            b' ' if !in_string => (in_fields, in_value) = (true, false),
            b'=' if in_fields && !in_string => in_value = true,
            b',' if !in_string => in_value = false,
            b'"' if in_value => in_string = !in_string,
            b'\n' if !in_string => return at,
            _ => {}
        }
        at += 1;
    }
    if in_string || limit < body.len() { first } else { limit }
}

/// A key and its value; `None` when there is no further one.
type Pair<'a, V> = Result<Option<(Cow<'a, str>, V)>, String>;

/// Reads one line from left to right.
pub(crate) struct Point<'a> {
    rest: &'a str,
}

impl<'a> Point<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    /// The measurement, escapes undone.
    pub(crate) fn measurement(&mut self) -> Result<Cow<'a, str>, String> {
        match self.take_until(b", ") {
            "" => Err(format!("expected a measurement, found {:?}", shorten(self.rest))),
            name => Ok(unescape(name, ", ")),
        }
    }

    /// The next tag; `None` when the fields come.
    pub(crate) fn tag(&mut self) -> Pair<'a, Cow<'a, str>> {
        let Some(rest) = self.rest.strip_prefix(',') else {
            self.rest = self.rest.trim_start_matches(' ');
            return Ok(None);
        };
        self.rest = rest;
        let key = self.key("tag")?;
        match self.take_until(b", ") {
            "" => Err(format!("tag {key:?}: expected a value, found {:?}", shorten(self.rest))),
            value => Ok(Some((key, unescape(value, ",= ")))),
        }
    }

    /// The next field; `None` when the timestamp or the end comes. The first call starts right after the tags.
    pub(crate) fn field(&mut self, is_first: bool) -> Pair<'a, Value<'a>> {
        if !is_first {
            let Some(rest) = self.rest.strip_prefix(',') else { return Ok(None) };
            self.rest = rest;
        }
        let key = self.key("field")?;
        let value = if let Some(quoted) = self.rest.strip_prefix('"') {
            self.string(quoted).ok_or_else(|| format!("field {key:?}: expected a closing quote, found the end"))?
        } else {
            let token = self.take_until(b", ");
            scalar(token).ok_or_else(|| {
                format!("field {key:?}: expected a number, a quoted text, true or false, found {:?}", shorten(token))
            })?
        };
        Ok(Some((key, value)))
    }

    /// The timestamp, when the line has one, and nothing after it.
    pub(crate) fn timestamp(&mut self) -> Result<Option<i64>, String> {
        let Some(text) = self.rest.strip_prefix(' ') else {
            return match self.rest {
                "" => Ok(None),
                rest => Err(format!("expected ',' or a timestamp after a field, found {:?}", shorten(rest))),
            };
        };
        match text.trim_matches(' ') {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| format!("expected an integer timestamp, found {:?}", shorten(text)))
            }
        }
    }

    fn key(&mut self, what: &str) -> Result<Cow<'a, str>, String> {
        let key = self.take_until(b",= ");
        match self.rest.strip_prefix('=') {
            Some(rest) if !key.is_empty() => {
                self.rest = rest;
                Ok(unescape(key, ",= "))
            }
            _ => Err(format!("expected {what}=value, found {:?}", shorten(&format!("{key}{}", self.rest)))),
        }
    }

    /// Everything up to one of `stops` that no backslash escapes.
    fn take_until(&mut self, stops: &[u8]) -> &'a str {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() && !stops.contains(&bytes[at]) {
            // All stops are ASCII, so that skipping one byte after a backslash never ends inside a character.
            at += if bytes[at] == b'\\' && bytes.get(at + 1).is_some_and(u8::is_ascii) { 2 } else { 1 };
        }
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        taken
    }

    fn string(&mut self, quoted: &'a str) -> Option<Value<'a>> {
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', &quoted.as_bytes()[at..])?;
            if quoted.as_bytes()[at] == b'"' {
                self.rest = &quoted[at + 1..];
                return Some(Value::Text(unescape(&quoted[..at], "\"\\")));
            }
            // What follows may be the first byte of a character: its bytes are neither quote nor backslash.
            at = (at + 2).min(quoted.len());
        }
    }
}

/// A field value without quotes.
fn scalar(token: &str) -> Option<Value<'_>> {
    match token {
        "t" | "T" | "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    let is_integer = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if let Some(integer) = token.strip_suffix(['i', 'u']) {
        let digits = integer.strip_prefix('-').filter(|_| token.ends_with('i')).unwrap_or(integer);
        return is_integer(digits).then_some(Value::Number(integer));
    }
    let is_number = token.parse::<f64>().is_ok()
        && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    is_number.then_some(Value::Number(token))
}

/// Drops the backslash before each of `escaped`; any other backslash is itself.
fn unescape<'a>(text: &'a str, escaped: &str) -> Cow<'a, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && escaped.contains(next) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}
