//! Record batches as Arrow IPC messages without their schema: the journal knows the schema by the stream.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};

use crate::contain::contained;

/// Every part of an encoded batch starts at a multiple of this.
pub(crate) const ALIGNMENT: usize = 8;

/// What a batch may keep in memory beyond twice its size.
const COMPACT_BYTES: u64 = 64 << 10;

/// A batch as it stands in the journal: the flatbuffer message, padded, then the buffers.
#[derive(Debug, Clone)]
pub(crate) struct EncodedBatch {
    pub message: Vec<u8>,
    pub body: Buffer,
    /// CRC-32C of the message followed by the body.
    pub crc: u32,
}

impl EncodedBatch {
    pub(crate) fn bytes(&self) -> u64 {
        (self.message.len() + self.body.len()) as u64
    }

    /// `batch`, which this encodes, to be kept in memory: if it is a small part of larger buffers, it shares the
    /// encoded bytes instead of them.
    pub(crate) fn compacted(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.get_array_memory_size() as u64 <= 2 * self.bytes() + COMPACT_BYTES {
            return Ok(batch);
        }
        decode_batch(&Buffer::from_slice_ref(&self.message), &self.body, batch.schema_ref())
    }
}

fn write_options() -> IpcWriteOptions {
    IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).expect("8 is a valid alignment for version 5")
}

/// Encodes a batch; its schema holds no dictionaries (checked when the stream is created).
pub(crate) fn encode_batch(batch: &RecordBatch) -> Result<EncodedBatch, ArrowError> {
    let mut dictionaries = DictionaryTracker::new(false);
    let (_, encoded) = IpcDataGenerator::default().encode(
        batch,
        &mut dictionaries,
        &write_options(),
        &mut IpcWriteContext::default(),
    )?;
    let (mut message, mut body) = (encoded.ipc_message, encoded.arrow_data);
    pad(&mut message);
    pad(&mut body);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&message), &body);
    Ok(EncodedBatch { message, body: Buffer::from_vec(body), crc })
}

/// Decodes a batch; its arrays share `body`. Bytes that are no batch give an error, whatever Arrow makes of them.
pub(crate) fn decode_batch(message: &[u8], body: &Buffer, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let message = arrow::ipc::root_as_message(message)
        .map_err(|error| ArrowError::IpcError(format!("batch message is not valid: {error}")))?;
    let header = message
        .header_as_record_batch()
        .ok_or_else(|| ArrowError::IpcError("expected a record batch message".to_owned()))?;
    contained(|| read_record_batch(body, header, Arc::clone(schema), &HashMap::new(), None, &message.version()))
        .map_err(ArrowError::IpcError)?
}

/// Encodes a schema as an IPC message, padded.
pub(crate) fn encode_schema(schema: &Schema) -> Vec<u8> {
    let mut dictionaries = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(schema, &mut dictionaries, &write_options())
        .ipc_message
}

/// Decodes a schema. `message` must be aligned to [`ALIGNMENT`].
pub(crate) fn decode_schema(message: &[u8]) -> Result<Schema, ArrowError> {
    contained(|| arrow::ipc::convert::try_schema_from_flatbuffer_bytes(message)).map_err(ArrowError::IpcError)?
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
#[path = "ipc_tests.rs"]
mod tests;
