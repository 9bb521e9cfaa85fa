//! The fixed structures of a journal file, byte by byte: file header and frame header. All integers little-endian.
//! `docs/log-format.md` has the same tables for people.

use crate::fields::{Fields, put};

/// Version of the journal format that this build writes.
pub(crate) const VERSION: u16 = 2;
/// The oldest version it reads. Version 1 had no streams with more than one schema.
const OLDEST_VERSION: u16 = 1;
/// Every structure in a journal file starts at a multiple of this.
pub(crate) const ALIGNMENT: u64 = 8;
/// Bytes of a file header.
pub(crate) const FILE_HEADER_BYTES: usize = 64;
/// Bytes of a frame header.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;

const FILE_MAGIC: &[u8; 8] = b"TCLINEJ\0";
const FRAME_MAGIC: &[u8; 4] = b"TCFR";

/// A place in the journal: a file and a byte in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub file: u64,
    pub offset: u64,
}

/// Why bytes are not the header they should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// All bytes are zero: nothing was ever written here.
    Blank,
    /// Another version of the format.
    Version(u16),
    /// Damaged, with what was expected and found.
    Damaged(String),
}

/// The first bytes of a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub sequence: u64,
    pub log_id: u64,
    pub created_ms: i64,
    /// Sequence of the first group in the file.
    pub first_group: u64,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        put(&mut bytes, 0, FILE_MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.log_id.to_le_bytes());
        put(&mut bytes, 32, &self.created_ms.to_le_bytes());
        put(&mut bytes, 40, &self.first_group.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Result<Self, HeaderFault> {
        check_header(bytes, FILE_MAGIC, 8, crc32c::crc32c(&bytes[..60]))?;
        let mut fields = Fields::new(&bytes[16..48]);
        Ok(Self {
            sequence: fields.u64(),
            log_id: fields.u64(),
            created_ms: fields.u64().cast_signed(),
            first_group: fields.u64(),
        })
    }
}

/// The header of one frame, which holds one commit group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Whether the body holds all metadata of the log.
    pub checkpoint: bool,
    /// Sequence of the group, without gaps over the whole journal.
    pub group: u64,
    pub append_ms: i64,
    /// Everything before this position was known to be synced when the frame was written.
    pub synced_upto: Position,
    pub body_bytes: u64,
    pub body_crc: u32,
    pub entries: u32,
}

impl FrameHeader {
    /// `log_id` seeds the checksum, so that bytes inside of rows never pass for a frame of this log.
    pub(crate) fn encode(&self, log_id: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        put(&mut bytes, 0, FRAME_MAGIC);
        put(&mut bytes, 4, &VERSION.to_le_bytes());
        put(&mut bytes, 6, &u16::from(self.checkpoint).to_le_bytes());
        put(&mut bytes, 8, &self.group.to_le_bytes());
        put(&mut bytes, 16, &self.append_ms.to_le_bytes());
        put(&mut bytes, 24, &self.synced_upto.file.to_le_bytes());
        put(&mut bytes, 32, &self.synced_upto.offset.to_le_bytes());
        put(&mut bytes, 40, &self.body_bytes.to_le_bytes());
        put(&mut bytes, 48, &self.body_crc.to_le_bytes());
        put(&mut bytes, 52, &self.entries.to_le_bytes());
        let crc = seeded_crc(log_id, &bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], log_id: u64) -> Result<Self, HeaderFault> {
        check_header(bytes, FRAME_MAGIC, 4, seeded_crc(log_id, &bytes[..60]))?;
        let mut fields = Fields::new(&bytes[6..56]);
        Ok(Self {
            checkpoint: fields.u16() & 1 != 0,
            group: fields.u64(),
            append_ms: fields.u64().cast_signed(),
            synced_upto: Position { file: fields.u64(), offset: fields.u64() },
            body_bytes: fields.u64(),
            body_crc: fields.u32(),
            entries: fields.u32(),
        })
    }

    /// Whether a frame header may start here, at the price of four bytes compared.
    pub(crate) fn may_start(bytes: &[u8]) -> bool {
        bytes.starts_with(FRAME_MAGIC)
    }
}

/// CRC-32C of the log's id followed by `bytes`.
fn seeded_crc(log_id: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), bytes)
}

/// Checks magic, version (at `version_at`) and the checksum in the last four of the 64 bytes.
fn check_header(bytes: &[u8; 64], magic: &[u8], version_at: usize, crc: u32) -> Result<(), HeaderFault> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(HeaderFault::Blank);
    }
    let found = Fields::new(&bytes[60..]).u32();
    if !bytes.starts_with(magic) {
        let magic = String::from_utf8_lossy(magic);
        return Err(HeaderFault::Damaged(format!("expected the magic {magic:?} of a header")));
    }
    // Every version keeps magic, version and checksum in their places, so that damage is told from another version.
    if found != crc {
        return Err(HeaderFault::Damaged(format!("header checksum: expected {crc:#010x}, found {found:#010x}")));
    }
    let version = Fields::new(&bytes[version_at..]).u16();
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err(HeaderFault::Version(version));
    }
    Ok(())
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
