//! A state as tables, and its files.
//!
//! A file is one of `file.rs`; its header lists the lengths of the tables, for each its rows and then the keys that are gone.

use arrow::array::RecordBatch;
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
