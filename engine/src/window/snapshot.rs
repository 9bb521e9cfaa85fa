//! Snapshot files: one partition's open panes at a checkpoint offset.
//!
//! The file is one of `snapshot_file.rs` with the magic "TCSNAP"; its header lists the panes with the length of each one's table.

use serde::{Deserialize, Serialize};
use thermocline_log::Log;

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::partition::PartitionState;
use crate::error::{Error, Result};
use crate::snapshot_file::{Format, Mismatch, append_table, take_columns};

const FORMAT: Format = Format { magic: b"TCSNAP", version: 2 };

#[derive(Serialize, Deserialize)]
struct Header {
    next_offset: u64,
    next_checkpoint: u64,
    watermark_us: i64,
    panes: Vec<PaneHeader>,
}

#[derive(Serialize, Deserialize)]
struct PaneHeader {
    start_us: i64,
    first_end_us: i64,
    /// As `first_end_us` where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_time_end_us: Option<i64>,
    bytes: usize,
}

/// Writes a state to a state file of its own and makes it durable.
pub(crate) fn write_snapshot(log: &Log, name: &str, state: &PartitionState) -> Result<()> {
    Ok(log.write_state_file(name, &encode(state)?)?)
}

/// Reads a state that [`write_snapshot`] wrote; `None` when it was of other types than `aggregate` has: a column that the
/// query reads was widened since.
pub(crate) fn read_snapshot(log: &Log, name: &str, aggregate: &WindowAggregate) -> Result<Option<PartitionState>> {
    decode(&log.read_state_file(name)?, aggregate).map_err(|(expected, found)| Error::State {
        name: log.state_dir().join(name).display().to_string(),
        expected,
        found,
    })
}

fn encode(state: &PartitionState) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut panes = Vec::with_capacity(state.panes.len());
    for (key, rows) in &state.panes {
        let bytes = append_table(rows, &mut body)?;
        panes.push(PaneHeader {
            start_us: key.start_us,
            first_end_us: key.first_end_us,
            on_time_end_us: key.is_late().then_some(key.on_time_end_us),
            bytes,
        });
    }
    let header = Header {
        next_offset: state.next_offset,
        next_checkpoint: state.next_checkpoint,
        watermark_us: state.watermark_us,
        panes,
    };
    Ok(FORMAT.encode(&header, &body))
}

fn decode(bytes: &[u8], aggregate: &WindowAggregate) -> Result<Option<PartitionState>, Mismatch> {
    let (header, mut body): (Header, _) = FORMAT.decode(bytes)?;
    let mut panes = Vec::with_capacity(header.panes.len());
    for pane in header.panes {
        let PaneHeader { start_us, first_end_us, on_time_end_us, bytes } = pane;
        let key = PaneKey { start_us, first_end_us, on_time_end_us: on_time_end_us.unwrap_or(first_end_us) };
        let Some(rows) = take_columns(&mut body, bytes, aggregate.state_schema())? else { return Ok(None) };
        panes.push((key, rows));
    }
    Ok(Some(PartitionState {
        next_offset: header.next_offset,
        next_checkpoint: header.next_checkpoint,
        watermark_us: header.watermark_us,
        panes,
    }))
}
