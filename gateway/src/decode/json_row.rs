//! One JSON object → one row. Rows of a stream name their columns in the same order nearly always: the order of the last
//! row is the prediction for the next, checked by comparing the key's bytes.

use super::json_scan::{Scanner, Unexpected};
use super::rows::{Rows, Scratch};
use super::shape::RowShape;

/// Reads objects of one stream.
pub(crate) struct ObjectReader {
    /// Column of the n-th field of the last row; unknown fields have none.
    order: Vec<Option<usize>>,
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
    pub(crate) fn new(shape: &RowShape) -> Self {
        Self { order: (0..shape.columns.len()).map(Some).collect() }
    }

    /// Takes the object in `text` into `rows`, or rejects it as line `line`.
    #[inline]
    pub(crate) fn take<'a>(&mut self, line: u64, text: &'a str, scratch: &mut Scratch<'a>, rows: &mut Rows) {
        scratch.clear();
        let mut scanner = Scanner::new(text);
        let read = self.read(&mut scanner, scratch, rows).map_err(|problem| match problem {
            Problem::Syntax(error) => scanner.explain(&error),
            Problem::Column(reason) => reason,
        });
        rows.take(line, text.as_bytes(), scratch, read);
    }

    #[inline]
    fn read<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        scratch: &mut Scratch<'a>,
        rows: &mut Rows,
    ) -> Result<(), Problem> {
        scanner.expect(b'{', "'{' of an object")?;
        let mut wrong = None;
        let mut field = 0;
        if !scanner.skip(b'}') {
            loop {
                let column = self.column(field, scanner, rows)?;
                scanner.expect(b':', "':' after a key")?;
                let value = scanner.value()?;
                if let Some(column) = column
                    && let Err(reason) = scratch.set(rows.shape(), column, value)
                {
                    // Broken syntax further on is the better reason: read to the end.
                    wrong.get_or_insert(reason);
                }
                field += 1;
                if !scanner.skip(b',') {
                    break;
                }
            }
            scanner.expect(b'}', "',' or '}' after a value")?;
        }
        if scanner.peek().is_some() {
            return Err(scanner.unexpected("nothing after the object").into());
        }
        wrong.map_or(Ok(()), |reason| Err(Problem::Column(reason)))
    }

    /// The column that the next key names.
    #[inline]
    fn column(
        &mut self,
        field: usize,
        scanner: &mut Scanner<'_>,
        rows: &mut Rows,
    ) -> Result<Option<usize>, Unexpected> {
        if scanner.peek() == Some(b'"')
            && let Some(&Some(predicted)) = self.order.get(field)
            && scanner.skip_bytes(&rows.shape().columns[predicted].json_key)
        {
            return Ok(Some(predicted));
        }
        self.look_up(field, scanner, rows)
    }

    fn look_up(
        &mut self,
        field: usize,
        scanner: &mut Scanner<'_>,
        rows: &mut Rows,
    ) -> Result<Option<usize>, Unexpected> {
        let key = scanner.string()?;
        let column = rows.shape().column(&key);
        if column.is_none() {
            rows.ignore_field(&key);
        }
        match self.order.get_mut(field) {
            Some(order) => *order = column,
            // Bounded, whatever a row throws at it.
            None if field < 1024 => self.order.resize(field, None),
            None => {}
        }
        if field == self.order.len() && field < 1024 {
            self.order.push(column);
        }
        Ok(column)
    }
}
