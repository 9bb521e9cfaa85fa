//! Snapshot files: what a partition's open panes had changed at a checkpoint offset since the one before it.
//!
//! The file is one of `snapshot/file.rs` with the magic "TCSNAP"; its header lists the panes with the length of each one's table.
//! A table is as many batches as were put together. In version 2 each had all groups of its pane, in one batch, and a file was
//! a whole state: `after` is not given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::checkpoint::PartitionState;
use super::merge::merge;
use crate::error::Result;
use crate::snapshot::{Format, Increment, Mismatch, append_batches, take_columns};

const FORMAT: Format = Format { magic: b"TCSNAP", oldest: 2, version: 3 };

#[derive(Serialize, Deserialize)]
struct Header {
    next_offset: u64,
    /// `next_offset` of the file that this one adds to; not given where it is a whole state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
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
    /// 0 where no group has changed.
    bytes: usize,
}

impl Increment for PartitionState {
    type Shape = WindowAggregate;

    fn position(&self) -> u64 {
        self.next_offset
    }

    fn after(&self) -> Option<u64> {
        self.after
    }

    fn size(&self) -> usize {
        self.groups()
    }

    fn merge(newest: Self, older: &mut dyn Iterator<Item = Result<Self>>, shape: &WindowAggregate) -> Result<Self> {
        merge(newest, older, shape)
    }

    fn encode(self, shape: &WindowAggregate) -> Result<Vec<u8>> {
        encode(self, shape)
    }

    fn decode(bytes: &[u8], shape: &WindowAggregate) -> Result<Option<Self>, Mismatch> {
        decode(bytes, shape)
    }
}

fn encode(state: PartitionState, aggregate: &WindowAggregate) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut panes = Vec::with_capacity(state.panes.len());
    // Each table is let go once it is in the body.
    for (key, tables) in state.panes {
        let bytes = match tables.is_empty() {
            true => 0,
            false => append_batches(&tables, aggregate.state_schema(), &mut body)?,
        };
        panes.push(PaneHeader {
            start_us: key.start_us,
            first_end_us: key.first_end_us,
            on_time_end_us: key.is_late().then_some(key.on_time_end_us),
            bytes,
        });
    }
    let header = Header { next_offset: state.next_offset, after: state.after, watermark_us: state.watermark_us, panes };
    Ok(FORMAT.encode(&header, &body))
}

fn decode(bytes: &[u8], aggregate: &WindowAggregate) -> Result<Option<PartitionState>, Mismatch> {
    let (header, mut body): (Header, _) = FORMAT.decode(bytes)?;
    let mut panes = BTreeMap::new();
    for pane in header.panes {
        let PaneHeader { start_us, first_end_us, on_time_end_us, bytes } = pane;
        let key = PaneKey { start_us, first_end_us, on_time_end_us: on_time_end_us.unwrap_or(first_end_us) };
        let tables = match bytes {
            0 => Some(Vec::new()),
            bytes => take_columns(&mut body, bytes, aggregate.state_schema())?,
        };
        let Some(tables) = tables else { return Ok(None) };
        panes.insert(key, tables);
    }
    let Header { next_offset, after, watermark_us, .. } = header;
    Ok(Some(PartitionState { next_offset, after, watermark_us, panes }))
}
