//! What all snapshot files have in common.
//!
//! ```text
//!  magic, 6 bytes | version u16 | header length u32 | header (JSON) | body (Arrow IPC streams) | crc32c of all before u32
//! ```
//!
//! Integers are little-endian. A header says how long each stream of the body is.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC_BYTES: usize = 6;
const PREFIX_BYTES: usize = MAGIC_BYTES + size_of::<u16>() + size_of::<u32>();
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// What was expected, and what is there.
pub(crate) type Mismatch = (String, String);

/// A kind of snapshot file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) magic: &'static [u8; MAGIC_BYTES],
    /// The oldest version that is read.
    pub(crate) oldest: u16,
    /// The one that is written.
    pub(crate) version: u16,
}

impl Format {
    /// The bytes of a file.
    pub(crate) fn encode(self, header: &impl Serialize, body: &[u8]) -> Vec<u8> {
        let header = serde_json::to_vec(header).expect("numbers and lists always serialise");
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + header.len() + body.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(body);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header and the body of a file, once the checksum is right.
    pub(crate) fn decode<H: DeserializeOwned>(self, bytes: &[u8]) -> Result<(H, &[u8]), Mismatch> {
        if bytes.len() < PREFIX_BYTES + CHECKSUM_BYTES || &bytes[..MAGIC_BYTES] != self.magic {
            return Err(("a snapshot file".into(), format!("{} bytes without its magic", bytes.len())));
        }
        let version = u16::from_le_bytes([bytes[6], bytes[7]]);
        if !(self.oldest..=self.version).contains(&version) {
            let from = if self.oldest < self.version { format!("{} to ", self.oldest) } else { String::new() };
            return Err((format!("format version {from}{}", self.version), format!("version {version}")));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        let stored = u32::from_le_bytes(checksum.try_into().expect("split off with its size"));
        let computed = crc32c::crc32c(content);
        if stored != computed {
            return Err((format!("checksum {stored:08x}"), format!("{computed:08x}")));
        }
        let header_bytes = u32::from_le_bytes(content[8..PREFIX_BYTES].try_into().expect("four bytes")) as usize;
        let Some((header, body)) = content[PREFIX_BYTES..].split_at_checked(header_bytes) else {
            return Err((format!("a header of {header_bytes} bytes"), format!("{} bytes in all", content.len())));
        };
        let header = serde_json::from_slice(header).map_err(|e| ("a snapshot header".to_owned(), e.to_string()))?;
        Ok((header, body))
    }
}

/// Appends a table to a body; returns its length there.
pub(crate) fn append_table(table: &RecordBatch, body: &mut Vec<u8>) -> Result<usize, ArrowError> {
    append_batches(std::slice::from_ref(table), &table.schema(), body)
}

/// The same of a table in parts.
pub(crate) fn append_batches(
    parts: &[RecordBatch],
    schema: &SchemaRef,
    body: &mut Vec<u8>,
) -> Result<usize, ArrowError> {
    let before = body.len();
    let mut writer = StreamWriter::try_new(&mut *body, schema)?;
    parts.iter().try_for_each(|part| writer.write(part))?;
    writer.finish()?;
    drop(writer);
    Ok(body.len() - before)
}

/// Takes the next table, of `bytes`, off a body; `None` when it has other types than `schema`.
pub(crate) fn take_table(body: &mut &[u8], bytes: usize, schema: &SchemaRef) -> Result<Option<RecordBatch>, Mismatch> {
    let batch = open_table(body, bytes)?.next().transpose().map_err(broken)?;
    let batch = batch.ok_or_else(|| ("an arrow stream of one batch".to_owned(), "an empty one".to_owned()))?;
    match types(&batch.schema()) == types(schema) {
        true => under(schema, batch.num_rows(), batch.columns().to_vec()).map(Some),
        false => Ok(None),
    }
}

/// The parts of the next table; `None` when it has other types than `schema`.
pub(crate) fn take_parts(
    body: &mut &[u8],
    bytes: usize,
    schema: &SchemaRef,
) -> Result<Option<Vec<RecordBatch>>, Mismatch> {
    let table = open_table(body, bytes)?;
    if types(&table.schema()) != types(schema) {
        return Ok(None);
    }
    let part = |batch: Result<RecordBatch, ArrowError>| {
        let batch = batch.map_err(broken)?;
        under(schema, batch.num_rows(), batch.columns().to_vec())
    };
    table.map(part).collect::<Result<_, _>>().map(Some)
}

/// The parts of the next table, whose columns are known by their names, and that may have others; `None` when one is missing
/// or has another type.
pub(crate) fn take_columns(
    body: &mut &[u8],
    bytes: usize,
    schema: &SchemaRef,
) -> Result<Option<Vec<RecordBatch>>, Mismatch> {
    let mut parts = Vec::new();
    for batch in open_table(body, bytes)? {
        let batch = batch.map_err(broken)?;
        let columns = schema.fields().iter().map(|field| {
            let column = batch.column_by_name(field.name());
            column.filter(|column| column.data_type() == field.data_type()).cloned()
        });
        let Some(columns) = columns.collect::<Option<Vec<_>>>() else { return Ok(None) };
        parts.push(under(schema, batch.num_rows(), columns)?);
    }
    Ok(Some(parts))
}

fn open_table<'a>(body: &mut &'a [u8], bytes: usize) -> Result<StreamReader<&'a [u8]>, Mismatch> {
    let Some((stream, rest)) = body.split_at_checked(bytes) else {
        return Err((format!("a table of {bytes} bytes"), format!("{} bytes left", body.len())));
    };
    *body = rest;
    StreamReader::try_new(stream, None).map_err(broken)
}

/// A table without columns may have rows: a state without keys and functions has one.
fn under(schema: &SchemaRef, rows: usize, columns: Vec<ArrayRef>) -> Result<RecordBatch, Mismatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(broken)
}

/// A table that is not what it should be.
pub(crate) fn broken(error: ArrowError) -> Mismatch {
    ("an arrow stream".to_owned(), error.to_string())
}

fn types(schema: &Schema) -> Vec<&arrow::datatypes::DataType> {
    schema.fields().iter().map(|field| field.data_type()).collect()
}
