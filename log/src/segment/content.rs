//! Bytes of a segment's file in memory: all of it, or the parts that a reader needs. All of them were checked.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use super::Segment;
use super::blocks::{BLOCK_BYTES, Checksums};
use super::buffers::filled;
use crate::disk::DiskFile;
use crate::error::{Result, corrupt, io_error};

/// What is read of a file's end at first; a footer mostly is smaller.
const END_BYTES: u64 = 32 << 10;
/// The last bytes of a Parquet file: the length of the footer and a magic number.
const FOOTER_END_BYTES: u64 = 8;

/// Parts of a file.
#[derive(Debug)]
pub(super) struct Content {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    /// Where each part begins, ascending, none touching another.
    parts: Vec<(u64, Bytes)>,
}

impl Content {
    /// Opens the file of a segment. All of it is read and checked where that was not done before, else its footer.
    pub(super) fn open(segment: &Arc<Segment>) -> Result<Self> {
        let mut content = Self::opened(segment)?;
        match segment.blocks.get() {
            None => content.read_all()?,
            Some(_) => content.read_footer()?,
        }
        Ok(content)
    }

    fn opened(segment: &Arc<Segment>) -> Result<Self> {
        let file = segment.disk.open(&segment.path).map_err(io_error("open segment", &segment.path))?;
        let (expected, found) = (segment.bytes, file.len().map_err(io_error("size segment", &segment.path))?);
        if found != expected {
            let what = format!("segment size: expected {expected} bytes, found {found}");
            return Err(corrupt(&segment.path, found, what));
        }
        Ok(Self { segment: Arc::clone(segment), file, parts: Vec::new() })
    }

    /// Checks the whole file of a segment, whatever was checked before.
    pub(super) fn check(segment: &Arc<Segment>) -> Result<()> {
        Self::opened(segment)?.read_all()
    }

    fn read_all(&mut self) -> Result<()> {
        let Segment { path, name, bytes, .. } = self.segment.as_ref();
        let len = usize::try_from(*bytes).expect("a segment fits the address space");
        let content = filled(len, |content| self.file.read_exact_at(content, 0));
        let content = content.map_err(io_error("read segment", path))?;
        let Checksums { whole, blocks, .. } = Checksums::of(&content);
        if whole != name.crc {
            let what = format!("segment checksum: expected {:08x}, found {whole:08x}", name.crc);
            return Err(corrupt(path, 0, what));
        }
        // Another reader may have been quicker.
        let _ = self.segment.blocks.set(blocks);
        self.parts = vec![(0, content)];
        Ok(())
    }

    fn read_footer(&mut self) -> Result<()> {
        let bytes = self.segment.bytes;
        self.read(std::iter::once(bytes.saturating_sub(END_BYTES)..bytes))?;
        let end = self.bytes_at(bytes.saturating_sub(FOOTER_END_BYTES), 4);
        let Some(len) = end.and_then(|end| end.as_ref().try_into().ok()).map(u32::from_le_bytes) else { return Ok(()) };
        // What is no footer Parquet says better.
        self.read(std::iter::once(bytes.saturating_sub(FOOTER_END_BYTES + u64::from(len))..bytes))
    }

    /// Reads ranges of the file that are not here yet.
    pub(super) fn read(&mut self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<()> {
        let here = self.parts.iter().map(|(start, bytes)| *start..*start + bytes.len() as u64);
        let wanted = ranges
            .into_iter()
            .filter(|range| !here.clone().any(|here| here.start <= range.start && here.end >= range.end));
        let block = BLOCK_BYTES as u64;
        let in_blocks = wanted.map(|range| range.start / block..range.end.min(self.segment.bytes).div_ceil(block));
        let mut all: Vec<Range<u64>> = in_blocks.filter(|range| !range.is_empty()).collect();
        all.extend(here.map(|here| here.start / block..here.end.div_ceil(block)));
        all.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in all {
            match merged.last_mut().filter(|last| last.end >= range.start) {
                Some(last) => last.end = last.end.max(range.end),
                None => merged.push(range),
            }
        }
        let before = std::mem::take(&mut self.parts);
        for range in merged {
            let bytes = range.start * block..(range.end * block).min(self.segment.bytes);
            let known = before.iter().find(|(start, known)| (*start..*start + known.len() as u64) == bytes);
            self.parts.push(match known {
                Some(part) => part.clone(),
                None => (bytes.start, self.checked(bytes)?),
            });
        }
        Ok(())
    }

    /// Reads whole blocks and checks them.
    fn checked(&self, range: Range<u64>) -> Result<Bytes> {
        let path = &self.segment.path;
        let len = usize::try_from(range.end - range.start).expect("a segment fits the address space");
        let content = filled(len, |content| self.file.read_exact_at(content, range.start));
        let content = content.map_err(io_error("read segment", path))?;
        let first = usize::try_from(range.start).expect("a segment fits the address space") / BLOCK_BYTES;
        let expected = self.segment.blocks.get().expect("parts are read of files whose blocks are known");
        for (number, block) in (first..).zip(content.chunks(BLOCK_BYTES)) {
            let (expected, found) = (expected.get(number).copied(), crc32c::crc32c(block));
            if expected != Some(found) {
                let what =
                    format!("segment checksum of a block: expected {:08x}, found {found:08x}", expected.unwrap_or(0));
                return Err(corrupt(path, (number * BLOCK_BYTES) as u64, what));
            }
        }
        Ok(content)
    }

    fn bytes_at(&self, start: u64, len: usize) -> Option<Bytes> {
        let rest = self.bytes_from(start)?;
        (rest.len() >= len).then(|| rest.slice(0..len))
    }

    /// What is here from an offset on.
    fn bytes_from(&self, start: u64) -> Option<Bytes> {
        let at = self.parts.partition_point(|(from, _)| *from <= start).checked_sub(1)?;
        let (from, bytes) = &self.parts[at];
        let skip = usize::try_from(start - from).ok()?;
        (skip <= bytes.len()).then(|| bytes.slice(skip..))
    }

    fn missing(&self, start: u64) -> ParquetError {
        ParquetError::EOF(format!("no bytes at {start} of {}, as far as they were read", self.segment.bytes))
    }
}

impl Length for Content {
    fn len(&self) -> u64 {
        self.segment.bytes
    }
}

impl ChunkReader for Content {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.bytes_from(start).map(Buf::reader).ok_or_else(|| self.missing(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.bytes_at(start, length).ok_or_else(|| self.missing(start))
    }
}
