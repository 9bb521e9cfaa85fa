//! What the fuzzer calls (`fuzz/` in the repository): one function for everything that parses bytes from disk. Each takes
//! any bytes, panics when a promise is broken, and returns otherwise. Not a part of the crate's interface.
//!
//! The promises: no panic, damage is named as [`Error::Corrupt`] or [`Error::Version`], what was accepted is what would
//! be written, and a directory that opened opens again and holds the same.

mod disk;
mod journal;
mod seeds;
mod segment;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;

use crate::error::Error;
use crate::ipc::{decode_batch, decode_schema, encode_batch, encode_schema};
use crate::journal::{Entry, path_of, sequence_of};
use crate::open::{decode_identity, encode_identity};
use crate::segment::SegmentName;

#[cfg(test)]
pub(crate) use disk::MemoryDisk;
pub use journal::journal;
pub use seeds::{seeds, write_seeds};
pub use segment::segment;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All of them by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("identity", identity),
    ("names", names),
    ("entries", entries),
    ("schema", schema),
    ("rows", rows),
    ("journal", journal),
    ("segment", segment),
];

/// The file `LOG`. The first byte says whether its checksum is put right before.
pub fn identity(data: &[u8]) {
    let Some((repair, data)) = data.split_first() else { return };
    let Some(bytes) = data.first_chunk::<32>() else { return };
    let mut bytes = *bytes;
    if repair & 1 == 1 {
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
    }
    match decode_identity("LOG".as_ref(), &bytes) {
        Ok(log_id) => assert_eq!(decode_identity("LOG".as_ref(), &encode_identity(log_id)).ok(), Some(log_id)),
        Err(error) => assert_named(&error),
    }
}

/// Names of files: a segment's and a journal file's.
pub fn names(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    if let Ok(found) = name.parse::<SegmentName>() {
        assert!(found.start < found.end);
        assert_eq!(found.to_string().parse(), Ok(found));
    }
    if let Some(sequence) = sequence_of(name) {
        assert_eq!(path_of("".as_ref(), sequence).to_str(), Some(name));
    }
}

/// The entries of a frame. Arrow has two ways to say that a time has no zone and writes one, so that what was written
/// once stays.
pub fn entries(data: &[u8]) {
    let Ok(found) = Entry::decode_all(&Buffer::from_slice_ref(data)) else { return };
    let rewritten = |entries: &[Entry]| {
        let mut encoded = Vec::new();
        for entry in entries {
            entry.encode(&mut encoded);
        }
        Entry::decode_all(&Buffer::from_vec(encoded)).expect("what was decoded can be encoded")
    };
    let again = rewritten(&found);
    assert_eq!(again.len(), found.len());
    assert_eq!(rewritten(&again), again);
}

/// The schema in a stream's entry.
pub fn schema(data: &[u8]) {
    let Ok(found) = decode_schema(&Buffer::from_slice_ref(data)) else { return };
    let rewritten = |schema| decode_schema(&Buffer::from_vec(encode_schema(schema))).expect("what was decoded");
    let again = rewritten(&found);
    assert_eq!(rewritten(&again), again);
}

/// The batch in a rows entry: a byte that chooses the schema, the length of the message in words, message, body.
pub fn rows(data: &[u8]) {
    let [choice, low, high, data @ ..] = data else { return };
    let (_, batch) = &seeds::batches()[usize::from(*choice) % seeds::batches().len()];
    let message_bytes = usize::from(u16::from_le_bytes([*low, *high])) * 8;
    let Some((message, body)) = data.split_at_checked(message_bytes) else { return };
    let (message, body) = (Buffer::from_slice_ref(message), Buffer::from_slice_ref(body));
    if let Ok(found) = decode_batch(&message, &body, &batch.schema()) {
        assert_sound(&found, &batch.schema());
    }
}

/// Every value can be read, and the batch can be written again.
fn assert_sound(batch: &RecordBatch, schema: &SchemaRef) {
    assert_eq!(&batch.schema(), schema);
    for column in batch.columns() {
        column.to_data().validate_full().expect("what was decoded is valid");
    }
    // Columns without values may be as long as they say; nobody writes them one by one.
    if batch.num_rows() <= 1 << 16 {
        let encoded = encode_batch(batch).expect("what was decoded can be encoded");
        let again = decode_batch(&Buffer::from_vec(encoded.message), &encoded.body, schema);
        let again = again.expect("what was encoded can be decoded");
        for (found, expected) in again.columns().iter().zip(batch.columns()) {
            assert_eq!(found.len(), expected.len());
            assert_eq!(found.null_count(), expected.null_count());
        }
    }
}

/// Damage is named, and nothing else is made of it.
fn assert_named(error: &Error) {
    assert!(matches!(error, Error::Corrupt { .. } | Error::Version { .. } | Error::Parquet { .. }), "{error:?}");
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
