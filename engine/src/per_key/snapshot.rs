//! Snapshot files of queries by key: where a partition stood, its keys' watermarks, the operator's state.
//!
//! The file is one of `snapshot_file.rs` with the magic "TCPKEY"; its header lists the lengths of the tables: the
//! watermarks, then the operator's.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use thermocline_log::Log;

use crate::error::{Error, Result};
use crate::snapshot_file::{Format, Mismatch, append_table, take_table};

const FORMAT: Format = Format { magic: b"TCPKEY", oldest: 1, version: 1 };

/// The state of a partition.
#[derive(Debug)]
pub(crate) struct PerKeyState {
    /// First offset that is not in it.
    pub(crate) next_offset: u64,
    /// The watermarks, then the operator's tables.
    pub(crate) tables: Vec<RecordBatch>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    next_offset: u64,
    tables: Vec<usize>,
}

/// Writes a state to a state file of its own and makes it durable.
pub(crate) fn write_per_key_state(log: &Log, name: &str, state: &PerKeyState) -> Result<()> {
    let mut body = Vec::new();
    let tables = state.tables.iter().map(|table| append_table(table, &mut body)).collect::<Result<_, _>>()?;
    let header = Header { next_offset: state.next_offset, tables };
    Ok(log.write_state_file(name, &FORMAT.encode(&header, &body))?)
}

/// Reads a state that [`write_per_key_state`] wrote; `None` when its tables have other columns than these.
pub(crate) fn read_per_key_state(log: &Log, name: &str, schemas: &[SchemaRef]) -> Result<Option<PerKeyState>> {
    decode(&log.read_state_file(name)?, schemas).map_err(|(expected, found)| Error::State {
        name: log.state_dir().join(name).display().to_string(),
        expected,
        found,
    })
}

fn decode(bytes: &[u8], schemas: &[SchemaRef]) -> Result<Option<PerKeyState>, Mismatch> {
    let (header, mut body): (Header, _) = FORMAT.decode(bytes)?;
    if header.tables.len() != schemas.len() {
        return Ok(None);
    }
    let mut tables = Vec::with_capacity(schemas.len());
    for (length, schema) in header.tables.iter().zip(schemas) {
        let Some(table) = take_table(&mut body, *length, schema)? else { return Ok(None) };
        tables.push(table);
    }
    Ok(Some(PerKeyState { next_offset: header.next_offset, tables }))
}
