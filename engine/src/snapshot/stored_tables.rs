//! A state as tables, and its files.
//!
//! A file is one of `file.rs`; its header lists the lengths of the tables, for each its rows and then the keys that are gone.

use arrow::array::{Array, RecordBatch};
use arrow::error::ArrowError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::file::{Format, Mismatch, append_batches, append_table, take_parts, take_table};
use super::increment::Increment;
use super::tables::{Newer, TableShape, TableState};
use crate::error::Result;

/// What a state says besides its tables.
pub(crate) trait Place: Serialize + DeserializeOwned {
    /// The format of its files.
    const FORMAT: Format;
}

/// A state, or what has changed of one since another.
#[derive(Debug)]
pub(crate) struct StoredTables<P> {
    /// How far it goes: a count of rows.
    pub(crate) position: u64,
    /// How far the state goes that it adds to; `None` where it is a whole one.
    pub(crate) after: Option<u64>,
    pub(crate) place: P,
    pub(crate) tables: Vec<TableState>,
}

impl<P> StoredTables<P> {
    /// The tables of a whole state, each in one part.
    pub(crate) fn into_tables(self, shapes: &[TableShape]) -> Result<(P, Vec<RecordBatch>)> {
        let tables = self.tables.into_iter().zip(shapes).map(|(table, shape)| table.into_rows(shape));
        Ok((self.place, tables.collect::<Result<_>>()?))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Header<P: Place> {
    position: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    place: P,
    tables: Vec<TableHeader>,
}

#[derive(Serialize, Deserialize)]
struct TableHeader {
    bytes: usize,
    /// 0 where no key is gone.
    #[serde(default)]
    gone_bytes: usize,
}

/// Bytes of a column of texts or lists that a file may have: those of a chain are put together when they are read, and the
/// offsets of such columns have 31 bits.
const MAX_COLUMN_BYTES: usize = 1 << 30;

/// What could not be read again is not written: the rows that it is made of stay in the log.
fn check_lengths(table: &TableState, shape: &TableShape, max_bytes: usize) -> Result<()> {
    for (n, field) in shape.schema.fields().iter().enumerate() {
        if field.data_type().is_primitive() {
            continue;
        }
        let bytes = table.rows.iter().map(|rows| rows.column(n).to_data().get_slice_memory_size());
        let bytes: usize = bytes.sum::<Result<_, _>>()?;
        if bytes > max_bytes {
            let what = format!("{bytes} bytes of {} are held, a snapshot has at most {max_bytes}", field.name());
            return Err(ArrowError::InvalidArgumentError(what).into());
        }
    }
    Ok(())
}

impl<P: Place> Increment for StoredTables<P> {
    type Shape = [TableShape];

    fn position(&self) -> u64 {
        self.position
    }

    fn after(&self) -> Option<u64> {
        self.after
    }

    fn size(&self) -> usize {
        self.tables.iter().map(TableState::size).sum()
    }

    fn merge(newest: Self, older: &mut dyn Iterator<Item = Result<Self>>, shapes: &[TableShape]) -> Result<Self> {
        let (mut merged, mut newer) = (newest, Newer::new(shapes)?);
        for state in older {
            let state = state?;
            newer.add_older(&mut merged.tables, state.tables, shapes)?;
            merged.after = state.after;
        }
        if merged.after.is_none() {
            // There is nothing older that they could be gone from.
            merged.tables.iter_mut().for_each(|table| table.gone = None);
        }
        Ok(merged)
    }

    fn encode(self, shapes: &[TableShape]) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let mut tables = Vec::with_capacity(self.tables.len());
        // Each table is let go once it is in the body.
        for (table, shape) in self.tables.into_iter().zip(shapes) {
            check_lengths(&table, shape, MAX_COLUMN_BYTES)?;
            let bytes = append_batches(&table.rows, &shape.schema, &mut body)?;
            let gone = table.gone.filter(|gone| gone.num_rows() > 0);
            let gone_bytes = gone.map_or(Ok(0), |gone| append_table(&gone, &mut body))?;
            tables.push(TableHeader { bytes, gone_bytes });
        }
        let header = Header { position: self.position, after: self.after, place: self.place, tables };
        Ok(P::FORMAT.encode(&header, &body))
    }

    fn decode(bytes: &[u8], shapes: &[TableShape]) -> Result<Option<Self>, Mismatch> {
        let (header, mut body): (Header<P>, _) = P::FORMAT.decode(bytes)?;
        if header.tables.len() != shapes.len() {
            return Ok(None);
        }
        let mut tables = Vec::with_capacity(shapes.len());
        for (TableHeader { bytes, gone_bytes }, shape) in header.tables.into_iter().zip(shapes) {
            let Some(rows) = take_parts(&mut body, bytes, &shape.schema)? else { return Ok(None) };
            let gone = match gone_bytes {
                0 => None,
                bytes => match take_table(&mut body, bytes, &shape.key_schema())? {
                    None => return Ok(None),
                    gone => gone,
                },
            };
            tables.push(TableState { rows, gone });
        }
        let Header { position, after, place, .. } = header;
        Ok(Some(Self { position, after, place, tables }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn texts_that_could_not_be_read_again_are_not_written() {
        let texts = |count: usize| Arc::new(StringArray::from_iter_values(vec!["ten bytes."; count])) as _;
        let numbers = |count: usize| Arc::new(Int64Array::from(vec![0; count])) as _;
        let part = |count| RecordBatch::try_from_iter([("n", numbers(count)), ("text", texts(count))]).unwrap();
        // A part of a batch counts for itself.
        let table = TableState { rows: vec![part(40), part(1_000).slice(500, 20)], gone: None };
        let shape = TableShape::whole(table.rows[0].schema());
        check_lengths(&table, &shape, 1_000).unwrap();
        let error = check_lengths(&table, &shape, 800).unwrap_err().to_string();
        assert!(error.contains("bytes of text are held, a snapshot has at most 800"), "{error}");
    }
}
