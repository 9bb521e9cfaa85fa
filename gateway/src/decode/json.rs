//! A JSON body: one object, or an array of objects. `line` of a rejected row is its number in the array, from 1.
//!
//! Elements are cut at their brackets before they are read, so that one that is no JSON does not hurt its neighbours;
//! only when the brackets themselves do not close is the rest of the array one rejected row.

use std::sync::Arc;

use super::Decoded;
use super::json_row::ObjectReader;
use super::ndjson::not_utf8;
use super::rows::Rows;
use super::shape::RowShape;
use crate::error::{Error, Result};

/// Decodes an object or an array of objects.
///
/// # Errors
/// The body is neither; nothing of it was taken.
pub(crate) fn decode(shape: &Arc<RowShape>, body: &[u8], now_us: i64) -> Result<Decoded> {
    let mut rows = Rows::new(shape, 0, now_us);
    let mut reader = ObjectReader::default();
    let body = body.trim_ascii();
    let mut elements = Elements::new(body)?;
    let mut number = 0;
    while let Some(element) = elements.next() {
        number += 1;
        match element {
            Ok(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => reader.take(number, text, bytes, &mut rows),
                Err(error) => rows.reject(number, bytes, &not_utf8(&error)),
            },
            Err(reason) => rows.reject(number, elements.rest, reason),
        }
    }
    rows.finish(number)
}

/// The elements of an array, cut but not read.
struct Elements<'a> {
    rest: &'a [u8],
    state: State,
}

enum State {
    /// A single object that is the whole body.
    Single,
    /// In an array, before its first element.
    First,
    /// In an array, after an element.
    Later,
    Done,
}

impl<'a> Elements<'a> {
    fn new(body: &'a [u8]) -> Result<Self> {
        match body.first() {
            Some(b'{') => Ok(Self { rest: body, state: State::Single }),
            Some(b'[') => Ok(Self { rest: body[1..].trim_ascii_start(), state: State::First }),
            Some(_) => Err(malformed(body)),
            None => Ok(Self { rest: body, state: State::Done }),
        }
    }

    /// The next element; after an error `rest` is what could not be cut.
    fn next(&mut self) -> Option<Result<&'a [u8], &'static str>> {
        match self.state {
            State::Done => return None,
            State::Single => {
                self.state = State::Done;
                return Some(Ok(self.rest));
            }
            State::First if self.rest.first() == Some(&b']') => return self.close(),
            State::First => self.state = State::Later,
            State::Later => match self.rest.first() {
                Some(b']') => return self.close(),
                Some(b',') => self.rest = self.rest[1..].trim_ascii_start(),
                _ => return self.fail("malformed JSON: expected ',' or ']' after an element of the array"),
            },
        }
        let length = element_length(self.rest);
        if length == 0 {
            return self.fail("malformed JSON: expected an object that is closed, found the rest of the array");
        }
        let (element, rest) = self.rest.split_at(length);
        self.rest = rest.trim_ascii_start();
        Some(Ok(element))
    }

    fn close(&mut self) -> Option<Result<&'a [u8], &'static str>> {
        self.rest = self.rest[1..].trim_ascii_start();
        if self.rest.is_empty() {
            self.state = State::Done;
            return None;
        }
        self.fail("malformed JSON: expected nothing after the array")
    }

    fn fail(&mut self, reason: &'static str) -> Option<Result<&'a [u8], &'static str>> {
        self.state = State::Done;
        Some(Err(reason))
    }
}

#[cold]
fn malformed(body: &[u8]) -> Error {
    let found = String::from_utf8_lossy(&body[..body.len().min(32)]).into_owned();
    Error::Malformed { format: "JSON", reason: format!("expected an object or an array of objects, found {found:?}") }
}

/// Bytes up to the end of an element: to the bracket that closes it, or to the next comma or bracket when it is a
/// scalar. 0 when it does not end.
fn element_length(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => match string_length(&bytes[at..]) {
                0 => return 0,
                length => at += length - 1,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b']' | b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    0
}

/// Bytes of a string with both quotes; 0 when it does not end.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(skip) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += skip;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    0
}
