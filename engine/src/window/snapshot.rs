//! Snapshot files: one partition's open panes at a checkpoint offset.
//!
//! ```text
//!  magic "TCSNAP" | version u16 | header length u32 | header (JSON) | body (Arrow IPC streams) | crc32c of all before u32
//! ```
//!
//! Integers are little-endian. The header lists the panes with the length of each one's IPC stream.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use thermocline_log::Log;

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::operator::PartitionState;
use crate::error::{Error, Result};

const MAGIC: &[u8; 6] = b"TCSNAP";
const VERSION: u16 = 1;
const PREFIX_BYTES: usize = MAGIC.len() + size_of::<u16>() + size_of::<u32>();
const CHECKSUM_BYTES: usize = size_of::<u32>();

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
        let before = body.len();
        let mut writer = StreamWriter::try_new(&mut body, &rows.schema())?;
        writer.write(rows)?;
        writer.finish()?;
        panes.push(PaneHeader {
            start_us: key.start_us,
            first_end_us: key.first_end_us,
            on_time_end_us: key.is_late().then_some(key.on_time_end_us),
            bytes: body.len() - before,
        });
    }
    let header = Header {
        next_offset: state.next_offset,
        next_checkpoint: state.next_checkpoint,
        watermark_us: state.watermark_us,
        panes,
    };
    let header = serde_json::to_vec(&header).expect("numbers and lists always serialise");
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + header.len() + body.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&body);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

type Mismatch = (String, String);

fn decode(bytes: &[u8], aggregate: &WindowAggregate) -> Result<Option<PartitionState>, Mismatch> {
    if bytes.len() < PREFIX_BYTES + CHECKSUM_BYTES || &bytes[..MAGIC.len()] != MAGIC {
        return Err(("a snapshot file".into(), format!("{} bytes without its magic", bytes.len())));
    }
    let version = u16::from_le_bytes([bytes[6], bytes[7]]);
    if version != VERSION {
        return Err((format!("format version {VERSION}"), format!("version {version}")));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let stored = u32::from_le_bytes(checksum.try_into().expect("split off with its size"));
    let computed = crc32c::crc32c(content);
    if stored != computed {
        return Err((format!("checksum {stored:08x}"), format!("{computed:08x}")));
    }
    let header_bytes = u32::from_le_bytes(content[8..PREFIX_BYTES].try_into().expect("four bytes")) as usize;
    let Some((header, mut body)) = content[PREFIX_BYTES..].split_at_checked(header_bytes) else {
        return Err((format!("a header of {header_bytes} bytes"), format!("{} bytes in all", content.len())));
    };
    let header: Header = serde_json::from_slice(header).map_err(|e| ("a snapshot header".to_owned(), e.to_string()))?;
    let mut panes = Vec::with_capacity(header.panes.len());
    for pane in header.panes {
        let Some((stream, rest)) = body.split_at_checked(pane.bytes) else {
            return Err((format!("a pane of {} bytes", pane.bytes), format!("{} bytes left", body.len())));
        };
        body = rest;
        let PaneHeader { start_us, first_end_us, on_time_end_us, .. } = pane;
        let key = PaneKey { start_us, first_end_us, on_time_end_us: on_time_end_us.unwrap_or(first_end_us) };
        let Some(rows) = decode_pane(stream, aggregate)? else { return Ok(None) };
        panes.push((key, rows));
    }
    Ok(Some(PartitionState {
        next_offset: header.next_offset,
        next_checkpoint: header.next_checkpoint,
        watermark_us: header.watermark_us,
        panes,
    }))
}

fn decode_pane(stream: &[u8], aggregate: &WindowAggregate) -> Result<Option<RecordBatch>, Mismatch> {
    let broken = |e: arrow::error::ArrowError| ("an arrow stream of one batch".to_owned(), e.to_string());
    let mut reader = StreamReader::try_new(stream, None).map_err(broken)?;
    let batch = reader.next().transpose().map_err(broken)?;
    let batch = batch.ok_or_else(|| ("an arrow stream of one batch".to_owned(), "an empty one".to_owned()))?;
    let expected = aggregate.state_schema();
    if batch.schema().fields().iter().map(|f| f.data_type()).ne(expected.fields().iter().map(|f| f.data_type())) {
        return Ok(None);
    }
    // A state without keys and functions has no columns, but a row.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(expected), batch.columns().to_vec(), &options)
        .map(Some)
        .map_err(broken)
}
