//! The entries in a frame's body and their encoding. Each starts with 16 bytes (kind, payload length) and is padded
//! to 8, so that the Arrow buffers in it are aligned.

use std::time::Duration;

use arrow::buffer::Buffer;

use crate::fields::Fields;
use crate::ipc::{decode_schema, encode_schema};
use crate::journal::idempotency_entry::{KeyEntry, ProducerEntry};
use crate::stream::{Retention, StreamId, StreamSpec};

/// Bytes before an entry's payload.
pub(crate) const ENTRY_HEADER_BYTES: usize = 16;
/// Bytes of a rows entry before the batch's message.
pub(crate) const ROWS_HEADER_BYTES: usize = 40;

const KIND_ROWS: u16 = 1;
const KIND_STREAM: u16 = 2;
const KIND_CURSOR: u16 = 3;
const KIND_PUT: u16 = 4;
const KIND_DELETE: u16 = 5;
const KIND_PARTITION: u16 = 6;
const KIND_START: u16 = 7;
const KIND_KEY: u16 = 8;
const KIND_PRODUCER: u16 = 9;

/// Stands for "unlimited" in retention fields.
const NONE: u64 = u64::MAX;

/// One entry of a commit group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    /// Rows of a partition.
    Rows(RowsEntry),
    /// A stream is created, or its retention or its columns changed: then with the next schema version.
    Stream { id: StreamId, spec: StreamSpec, schema_version: u32 },
    /// A cursor moves.
    Cursor { name: String, stream: StreamId, partition: u32, next_offset: u64 },
    /// A named value is set.
    Put { key: String, value: Vec<u8> },
    /// A named value is removed.
    Delete { key: String },
    /// Where a partition stands; in checkpoints only.
    Partition { stream: StreamId, partition: u32, start: u64, sealed: u64, next: u64 },
    /// Retention removed the rows before `start`.
    Start { stream: StreamId, partition: u32, start: u64 },
    /// A commit was made under an idempotency key.
    Key(KeyEntry),
    /// A producer made a commit.
    Producer(ProducerEntry),
}

/// Rows as they stand in the journal; the batch's bytes are shared with the file's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowsEntry {
    pub stream: StreamId,
    pub partition: u32,
    pub base_offset: u64,
    pub rows: u32,
    pub schema_version: u32,
    pub message: Buffer,
    pub body: Buffer,
}

/// The bytes of a rows entry before its batch: entry header and rows header. `batch_bytes` is what follows.
pub(crate) fn encode_rows_header(
    stream: StreamId,
    partition: u32,
    base_offset: u64,
    rows: u32,
    schema_version: u32,
    message_bytes: usize,
    body_bytes: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENTRY_HEADER_BYTES + ROWS_HEADER_BYTES);
    entry_header(&mut out, KIND_ROWS, ROWS_HEADER_BYTES + message_bytes + body_bytes);
    out.extend_from_slice(&stream.0.to_le_bytes());
    out.extend_from_slice(&partition.to_le_bytes());
    out.extend_from_slice(&base_offset.to_le_bytes());
    out.extend_from_slice(&rows.to_le_bytes());
    out.extend_from_slice(&schema_version.to_le_bytes());
    out.extend_from_slice(&(message_bytes as u64).to_le_bytes());
    out.extend_from_slice(&(body_bytes as u64).to_le_bytes());
    out
}

impl RowsEntry {
    /// Size in the journal.
    pub(crate) fn journal_bytes(&self) -> u64 {
        (ENTRY_HEADER_BYTES + ROWS_HEADER_BYTES + self.message.len() + self.body.len()) as u64
    }
}

impl Entry {
    /// Appends the entry to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Rows(rows) => {
                let (message, body) = (rows.message.as_slice(), rows.body.as_slice());
                let header = encode_rows_header(
                    rows.stream,
                    rows.partition,
                    rows.base_offset,
                    rows.rows,
                    rows.schema_version,
                    message.len(),
                    body.len(),
                );
                out.extend_from_slice(&header);
                out.extend_from_slice(message);
                out.extend_from_slice(body);
                pad(out);
            }
            Self::Stream { id, spec, schema_version } => {
                entry(out, KIND_STREAM, |payload| encode_stream(payload, *id, spec, *schema_version));
            }
            Self::Cursor { name, stream, partition, next_offset } => entry(out, KIND_CURSOR, |payload| {
                place(payload, *stream, *partition);
                payload.extend_from_slice(&next_offset.to_le_bytes());
                payload.extend_from_slice(name.as_bytes());
            }),
            Self::Put { key, value } => entry(out, KIND_PUT, |payload| {
                payload.extend_from_slice(&(key.len() as u64).to_le_bytes());
                payload.extend_from_slice(key.as_bytes());
                payload.extend_from_slice(value);
            }),
            Self::Delete { key } => entry(out, KIND_DELETE, |payload| payload.extend_from_slice(key.as_bytes())),
            Self::Partition { stream, partition, start, sealed, next } => entry(out, KIND_PARTITION, |payload| {
                place(payload, *stream, *partition);
                for offset in [start, sealed, next] {
                    payload.extend_from_slice(&offset.to_le_bytes());
                }
            }),
            Self::Start { stream, partition, start } => entry(out, KIND_START, |payload| {
                place(payload, *stream, *partition);
                payload.extend_from_slice(&start.to_le_bytes());
            }),
            Self::Key(key) => entry(out, KIND_KEY, |payload| key.encode(payload)),
            Self::Producer(producer) => entry(out, KIND_PRODUCER, |payload| producer.encode(payload)),
        }
    }

    /// Decodes all entries of a frame's body. An error says what was expected and found, and at which byte.
    pub(crate) fn decode_all(body: &Buffer) -> Result<Vec<Self>, (usize, String)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < body.len() {
            let mut header = Fields::new(&body[at..]);
            let (Some(kind), Some(_), Some(_), Some(len)) =
                (header.try_u16(), header.try_u16(), header.try_u32(), header.try_u64())
            else {
                return Err((at, "entry header is cut short".to_owned()));
            };
            let payload_at = at + ENTRY_HEADER_BYTES;
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len > body.len() - payload_at {
                let rest = body.len() - payload_at;
                return Err((at, format!("entry of {len} bytes where only {rest} are left")));
            }
            let payload = body.slice_with_length(payload_at, len);
            entries.push(Self::decode(kind, &payload).map_err(|what| (at, what))?);
            at = (payload_at + len).next_multiple_of(8);
        }
        Ok(entries)
    }

    fn decode(kind: u16, payload: &Buffer) -> Result<Self, String> {
        let mut fields = Fields::new(payload);
        match kind {
            KIND_ROWS => decode_rows(payload).map(Self::Rows),
            KIND_STREAM => decode_stream(payload),
            KIND_CURSOR => {
                let (stream, partition) = placed(&mut fields)?;
                let next_offset = fields.try_u64().ok_or("cursor entry is cut short")?;
                Ok(Self::Cursor { name: text(&payload[16..])?, stream, partition, next_offset })
            }
            KIND_PUT => {
                let key_bytes = fields.try_u64().ok_or("value entry is cut short")?;
                let key = usize::try_from(key_bytes).ok().and_then(|len| fields.take(len));
                let key = text(key.ok_or("value entry's key is cut short")?)?;
                Ok(Self::Put { value: payload[8 + key.len()..].to_vec(), key })
            }
            KIND_DELETE => Ok(Self::Delete { key: text(payload)? }),
            KIND_PARTITION => {
                let (stream, partition) = placed(&mut fields)?;
                let (Some(start), Some(sealed), Some(next)) = (fields.try_u64(), fields.try_u64(), fields.try_u64())
                else {
                    return Err("partition entry is cut short".to_owned());
                };
                Ok(Self::Partition { stream, partition, start, sealed, next })
            }
            KIND_START => {
                let (stream, partition) = placed(&mut fields)?;
                let start = fields.try_u64().ok_or("start entry is cut short")?;
                Ok(Self::Start { stream, partition, start })
            }
            KIND_KEY => {
                KeyEntry::decode(payload).map(Self::Key).ok_or_else(|| "key entry's lengths do not fit".to_owned())
            }
            KIND_PRODUCER => ProducerEntry::decode(payload)
                .map(Self::Producer)
                .ok_or_else(|| "producer entry's lengths do not fit, or its name is not UTF-8".to_owned()),
            unknown => Err(format!("entry kind {unknown} is not known")),
        }
    }
}

fn entry(out: &mut Vec<u8>, kind: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    entry_header(out, kind, 0);
    payload(out);
    let len = (out.len() - at - ENTRY_HEADER_BYTES) as u64;
    out[at + 8..at + 16].copy_from_slice(&len.to_le_bytes());
    pad(out);
}

fn entry_header(out: &mut Vec<u8>, kind: u16, payload_bytes: usize) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&(payload_bytes as u64).to_le_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(8), 0);
}

fn place(out: &mut Vec<u8>, stream: StreamId, partition: u32) {
    out.extend_from_slice(&stream.0.to_le_bytes());
    out.extend_from_slice(&partition.to_le_bytes());
}

fn placed(fields: &mut Fields<'_>) -> Result<(StreamId, u32), String> {
    match (fields.try_u32(), fields.try_u32()) {
        (Some(stream), Some(partition)) => Ok((StreamId(stream), partition)),
        _ => Err("entry is cut short before its partition".to_owned()),
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| format!("name is not UTF-8: {error}"))
}

fn decode_rows(payload: &Buffer) -> Result<RowsEntry, String> {
    let cut_short = || "rows entry is cut short".to_owned();
    let mut fields = Fields::new(payload.get(..ROWS_HEADER_BYTES).ok_or_else(cut_short)?);
    let (stream, partition) = (StreamId(fields.u32()), fields.u32());
    let (base_offset, rows, schema_version) = (fields.u64(), fields.u32(), fields.u32());
    let (message_bytes, body_bytes) = (fields.u64(), fields.u64());
    let batch_bytes = (payload.len() - ROWS_HEADER_BYTES) as u64;
    if message_bytes.checked_add(body_bytes) != Some(batch_bytes) {
        return Err(format!("rows entry holds {batch_bytes} bytes, expected {message_bytes} and {body_bytes}"));
    }
    if base_offset.checked_add(u64::from(rows)).is_none() {
        return Err(format!("rows entry of {rows} rows at offset {base_offset}, which is beyond the last offset"));
    }
    let message_bytes = usize::try_from(message_bytes).map_err(|_| cut_short())?;
    let message = payload.slice_with_length(ROWS_HEADER_BYTES, message_bytes);
    let body = payload.slice(ROWS_HEADER_BYTES + message_bytes);
    Ok(RowsEntry { stream, partition, base_offset, rows, schema_version, message, body })
}

fn encode_stream(out: &mut Vec<u8>, id: StreamId, spec: &StreamSpec, schema_version: u32) {
    let schema = encode_schema(&spec.schema);
    place(out, id, spec.partitions);
    let max_age_ms = spec.retention.max_age.map_or(NONE, |age| u64::try_from(age.as_millis()).unwrap_or(NONE - 1));
    out.extend_from_slice(&max_age_ms.to_le_bytes());
    out.extend_from_slice(&spec.retention.max_bytes.unwrap_or(NONE).to_le_bytes());
    out.extend_from_slice(&schema_version.to_le_bytes());
    out.extend_from_slice(&u32::try_from(spec.partition_key.len()).expect("a schema's columns fit u32").to_le_bytes());
    for part in
        [schema.as_slice(), spec.name.as_bytes()].into_iter().chain(spec.partition_key.iter().map(String::as_bytes))
    {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
        pad(out);
    }
}

fn decode_stream(payload: &Buffer) -> Result<Entry, String> {
    let cut_short = || "stream entry is cut short".to_owned();
    let mut fields = Fields::new(payload.get(..32).ok_or_else(cut_short)?);
    let (id, partitions) = (StreamId(fields.u32()), fields.u32());
    let (max_age_ms, max_bytes) = (fields.u64(), fields.u64());
    let (schema_version, keys) = (fields.u32(), fields.u32());
    let mut at = 32;
    let mut part = || -> Option<Buffer> {
        let len = usize::try_from(Fields::new(payload.get(at..)?).try_u64()?).ok()?;
        payload.get(at + 8..)?.get(..len)?;
        let part = payload.slice_with_length(at + 8, len);
        at = (at + 8 + len).next_multiple_of(8);
        Some(part)
    };
    let schema = decode_schema(&part().ok_or_else(cut_short)?).map_err(|error| error.to_string())?;
    let name = text(&part().ok_or_else(cut_short)?)?;
    let partition_key = (0..keys).map(|_| text(&part().ok_or_else(cut_short)?)).collect::<Result<_, _>>()?;
    let retention = Retention {
        max_age: (max_age_ms != NONE).then(|| Duration::from_millis(max_age_ms)),
        max_bytes: (max_bytes != NONE).then_some(max_bytes),
    };
    let spec = StreamSpec { name, schema: schema.into(), partitions, partition_key, retention };
    Ok(Entry::Stream { id, spec, schema_version })
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
