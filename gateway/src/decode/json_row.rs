//! One JSON object → one row. Rows of a stream are nearly always written alike: the bytes between the values of one row
//! (`,"ts":`, white space included) are the prediction for the next. The same bytes at the same place of an object mean
//! the same, so that a match needs no reading; anything else is read, and predicted from then on.

use super::json_gap::Gap;
use super::json_scan::{Scanner, Unexpected};
use super::rows::Rows;
use super::timestamp::{MAX_US, MIN_US};
use super::value::{Kind, Scalar};

/// Fields of a row that are predicted; rows with more are read all the same.
const MAX_FIELDS: usize = 1024;
/// A row that leaves out up to so many predicted fields is followed to where it goes on.
const LOOK_AHEAD: usize = 16;
/// A longer gap is mostly white space and not worth keeping.
const MAX_GAP_BYTES: usize = 512;

/// Reads objects of one stream.
#[derive(Default)]
pub(crate) struct ObjectReader {
    fields: Vec<Field>,
}

/// A field of the rows so far.
struct Field {
    /// What stands between the value before, or the start of the row, and this field's value.
    gap: Gap,
    /// `None` for a field that no column takes.
    column: Option<Target>,
}

/// A column and what it reads.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Target {
    column: usize,
    kind: Kind,
}

/// Why an object is no row.
enum Problem {
    Syntax(Unexpected),
    Column(String),
}

impl From<Unexpected> for Problem {
    fn from(error: Unexpected) -> Self {
        Self::Syntax(error)
    }
}

impl ObjectReader {
    /// Takes the object in `text` into `rows`, or rejects it as line `line`. `ahead` are the bytes from there on: those of
    /// the text, and then nothing or a control character.
    #[inline]
    pub(crate) fn take(&mut self, line: u64, text: &str, ahead: &[u8], rows: &mut Rows) {
        let mut scanner = Scanner::with_bytes_ahead(text, ahead);
        let read = self.read(&mut scanner, rows).map_err(|problem| match problem {
            Problem::Syntax(error) => scanner.explain(&error),
            Problem::Column(reason) => reason,
        });
        rows.end_row(line, text.as_bytes(), read);
    }

    #[inline]
    fn read(&mut self, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Problem> {
        let mut wrong = None;
        let mut at = 0;
        while let Some(target) = self.next_column(&mut at, scanner, rows)? {
            match target {
                Some(target) => {
                    if let Err(reason) = read_value(target, scanner, rows)? {
                        // Broken syntax further on is the better reason: read to the end.
                        wrong.get_or_insert(reason);
                    }
                }
                None => {
                    scanner.value()?;
                }
            }
        }
        if scanner.peek().is_some() {
            return Err(scanner.unexpected("nothing after the object").into());
        }
        wrong.map_or(Ok(()), |reason| Err(Problem::Column(reason)))
    }

    /// Steps to the value of the next field and tells its column; `None` at the end of the object. `at` is the field
    /// that is predicted.
    #[inline]
    fn next_column(
        &mut self,
        at: &mut usize,
        scanner: &mut Scanner<'_>,
        rows: &mut Rows,
    ) -> Result<Option<Option<Target>>, Unexpected> {
        match self.fields.get(*at) {
            Some(field) if scanner.skip_gap(&field.gap) => {
                *at += 1;
                if field.column.is_none() {
                    rows.ignore_known_field();
                }
                return Ok(Some(field.column));
            }
            None if *at > 0 && scanner.skip_bytes(b"}") => return Ok(None),
            _ => {}
        }
        self.look_up(at, scanner, rows)
    }

    /// The same without a prediction.
    #[inline(never)]
    fn look_up(
        &mut self,
        at: &mut usize,
        scanner: &mut Scanner<'_>,
        rows: &mut Rows,
    ) -> Result<Option<Option<Target>>, Unexpected> {
        let start = scanner.position();
        if start == 0 {
            scanner.expect(b'{', "'{' of an object")?;
            if scanner.skip(b'}') {
                return Ok(None);
            }
        } else if !scanner.skip(b',') {
            scanner.expect(b'}', "',' or '}' after a value")?;
            return Ok(None);
        }
        let key = scanner.string()?;
        let column = rows.shape().column(&key).map(|column| Target { column, kind: *rows.kind(column) });
        if column.is_none() {
            rows.ignore_field(&key);
        }
        scanner.expect(b':', "':' after a key")?;
        scanner.peek();
        self.learn(at, scanner.since(start), column);
        Ok(Some(column))
    }

    /// Predicts what was read.
    fn learn(&mut self, at: &mut usize, gap: &[u8], column: Option<Target>) {
        if gap.len() > MAX_GAP_BYTES {
            return;
        }
        // A row may leave out fields, but what starts a row never stands in its middle.
        if *at > 0 && column.is_some() {
            let ahead = self.fields.iter().skip(*at).take(LOOK_AHEAD).position(|field| field.column == column);
            *at += ahead.unwrap_or(0);
        }
        let field = Field { gap: Gap::new(gap), column };
        match self.fields.get_mut(*at) {
            Some(known) => *known = field,
            None if *at < MAX_FIELDS => self.fields.push(field),
            None => {}
        }
        *at += 1;
    }
}

/// Reads a value into its column; the reason to reject the row inside. The usual form of the usual types goes there at
/// once, any other is read as a [`super::value::Value`] first.
#[inline(always)]
fn read_value(target: Target, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<Result<(), String>, Unexpected> {
    let Target { column, kind } = target;
    match kind {
        Kind::Text => {
            if let Some((bytes, length)) = scanner.plain_string() {
                return Ok(rows.put_text(column, bytes, length));
            }
        }
        Kind::Float64 => {
            if let Some(number) = scanner.short_decimal() {
                return Ok(rows.put(column, &Scalar::Float(number)));
            }
        }
        Kind::Timestamp(unit) => {
            let to_us = |number| unit.to_us(number).filter(|us| (MIN_US..=MAX_US).contains(us));
            if let Some(us) = scanner.short_integer(to_us) {
                return Ok(rows.put(column, &Scalar::Int(us)));
            }
        }
        Kind::Int { min, max } => {
            let in_range = |int| Some(int).filter(|int| (min..=max).contains(int));
            if let Some(int) = scanner.short_integer(in_range) {
                return Ok(rows.put(column, &Scalar::Int(int)));
            }
        }
        _ => {}
    }
    read_any_value(column, scanner, rows)
}

#[inline(never)]
fn read_any_value(column: usize, scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<Result<(), String>, Unexpected> {
    let value = scanner.value()?;
    Ok(rows.set(column, value))
}
