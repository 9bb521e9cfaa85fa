//! Recovery over files of any content. Checksums, sequences and lengths are put right first, unless the input says
//! otherwise, so that what is behind them is reached.

use std::path::Path;
use std::sync::Arc;

use super::assert_named;
use super::disk::MemoryDisk;
use crate::journal::{self, FRAME_HEADER_BYTES, FileHeader, FrameHeader, Position, path_of};
use crate::open::{IDENTITY_FILE, Opened, encode_identity, open};
use crate::options::LogOptions;
use crate::surroundings::draw_log_id;

/// Bytes before the content of the files: a bit for each header that is left as it is, and where the second file begins.
pub(super) const PREFIX_BYTES: usize = 12;
/// Length of the file header too.
const HEADER_BYTES: usize = FRAME_HEADER_BYTES;
pub(super) const LOG_ID: u64 = 42;
const FIRST_SEQUENCE: u64 = 7;
const FIRST_GROUP: u64 = 100;

/// Two journal files: eight bytes whose bits tell which headers are left alone, four with the length of the first file,
/// then the content of both. Opens the directory twice.
pub fn journal(data: &[u8]) {
    let Some((prefix, content)) = data.split_first_chunk::<PREFIX_BYTES>() else { return };
    let [a, b, c, d, e, f, g, h, length @ ..] = *prefix;
    let mut repair = Repair { untouched: u64::from_le_bytes([a, b, c, d, e, f, g, h]), group: FIRST_GROUP };
    let first = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX).min(content.len());
    let (dir, disk) = (Path::new("/log"), MemoryDisk::default());
    let folder = dir.join(journal::FOLDER);
    disk.put(&dir.join(IDENTITY_FILE), encode_identity(LOG_ID).to_vec());
    for (sequence, content) in (FIRST_SEQUENCE..).zip([&content[..first], &content[first..]]) {
        // A second file without content is none.
        if sequence == FIRST_SEQUENCE || !content.is_empty() {
            let mut content = content.to_vec();
            repair.file(&mut content, sequence);
            disk.put(&path_of(&folder, sequence), content);
        }
    }
    if let Err(error) = journal::damages(&disk, &folder, LOG_ID) {
        assert_named(&error);
    }
    let options = LogOptions { disk: Arc::new(disk), ..LogOptions::default() };
    match open(dir, &options, draw_log_id) {
        Ok(opened) => {
            let again = open(dir, &options, draw_log_id).expect("what was opened opens again");
            assert_eq!(held(&again), held(&opened));
        }
        Err(error) => assert_named(&error),
    }
}

/// Everything that an opened directory tells, rows as their text.
fn held(opened: &Opened) -> String {
    let mut text = format!("{:?}", opened.metadata.entries());
    for stream in opened.catalog.entries() {
        text += &format!("{:?}", stream.stream);
        for partition in &stream.partitions {
            text += &format!("{:?} {:?}", partition.range(), partition.at_this_instant().1);
        }
    }
    text
}

struct Repair {
    /// The lowest bit is that of the next header.
    untouched: u64,
    /// Sequence of the next group.
    group: u64,
}

impl Repair {
    /// Whether the next header is made valid.
    fn next(&mut self) -> bool {
        let repair = self.untouched & 1 == 0;
        self.untouched >>= 1;
        repair
    }

    fn file(&mut self, content: &mut [u8], sequence: u64) {
        let Some(header) = content.first_chunk_mut::<HEADER_BYTES>() else { return };
        if self.next() {
            *header = FileHeader { sequence, log_id: LOG_ID, created_ms: 0, first_group: self.group }.encode();
        }
        let mut at = HEADER_BYTES;
        let mut checkpoint = true;
        while let Some((header, rest)) = content[at..].split_first_chunk_mut::<FRAME_HEADER_BYTES>() {
            if header.iter().all(|byte| *byte == 0) {
                return;
            }
            let found = Found(header);
            let (asked, most) = (found.u64(40), rest.len() as u64);
            let body_bytes = if asked <= most { asked } else { asked % (most + 1) } & !7;
            let body = &rest[..usize::try_from(body_bytes).expect("not more than is there")];
            let repaired = FrameHeader {
                checkpoint: checkpoint || found.0[6] & 1 == 1,
                group: self.group,
                append_ms: found.u64(16).cast_signed(),
                synced_upto: Position { file: found.u64(24), offset: found.u64(32) },
                body_bytes,
                body_crc: crc32c::crc32c(body),
                entries: 0,
            };
            if self.next() {
                *header = repaired.encode(LOG_ID);
                self.group += 1;
            }
            checkpoint = false;
            at += FRAME_HEADER_BYTES + body.len();
        }
    }
}

/// Fields of a frame header as they are there.
struct Found<'a>(&'a [u8; FRAME_HEADER_BYTES]);

impl Found<'_> {
    fn u64(&self, at: usize) -> u64 {
        let field = self.0[at..].first_chunk().expect("a field of the header");
        u64::from_le_bytes(*field)
    }
}
