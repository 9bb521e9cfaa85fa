//! Text files: read in chunks that end with a record, decoded by two threads in order, committed one by one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::config::{FileConfig, FileFormat};
use super::position::{OpenFile, Position};
use super::{Looked, in_file, io_error};
use crate::append::Append;
use crate::connector::committer::Committer;
use crate::decode::{
    CsvHeader, Decoded, Format, MAX_RECORD_BYTES, RowShape, complete_csv_records, decode, decode_csv_records,
    decode_ndjson,
};
use crate::error::Result;
use crate::metrics;

const DECODE_THREADS: usize = 2;
/// A JSON document is read whole.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

/// Bytes of whole records.
struct Chunk {
    bytes: Bytes,
    /// Offset of the byte after them.
    end: u64,
}

/// How the chunks of a file are decoded.
#[derive(Clone)]
enum Decoder {
    Ndjson,
    Document,
    Csv(Arc<CsvHeader>),
}

/// Reads what a text file has beyond its position.
pub(super) async fn read(
    config: &FileConfig,
    format: FileFormat,
    committer: &Committer,
    file: &mut OpenFile,
) -> Result<Looked> {
    let size = file.file.metadata().map_err(io_error("read", &file.path))?.len();
    if size <= file.position.offset {
        return Ok(Looked::AtEnd);
    }
    let shape = Arc::clone(&committer.open.shape);
    let Some(decoder) = start(config, format, &shape, file)? else { return Ok(Looked::AtEnd) };
    let (sender, receiver) = mpsc::channel(DECODE_THREADS);
    let reader = ChunkReader {
        file: file.file.try_clone().map_err(io_error("open", &file.path))?,
        offset: file.position.offset,
        size,
        is_csv: matches!(decoder, Decoder::Csv(_)),
        whole: matches!(decoder, Decoder::Document),
        keep_open_line: config.follow,
        chunk_bytes: config.chunk_bytes,
    };
    let reading = tokio::task::spawn_blocking(move || reader.run(&sender));
    let chunks = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let now_us = committer.context.clock.now_us();
    let decode_chunk = |chunk: io::Result<Chunk>| {
        let (shape, decoder) = (Arc::clone(&shape), decoder.clone());
        // Started here and not when it is first awaited: it works while an earlier chunk is committed.
        let work = chunk.map(|Chunk { bytes, end }| {
            tokio::task::spawn_blocking(move || {
                decoder.decode(&shape, &bytes, now_us).map(|decoded| (decoded, end, bytes.len()))
            })
        });
        let path = file.path.clone();
        async move { work.map_err(io_error("read", &path))?.await? }
    };
    let mut decoded_chunks = Box::pin(chunks.map(decode_chunk).buffered(DECODE_THREADS + 1));
    let mut position = file.position;
    let mut looked = Looked::AtEnd;
    while let Some(decoded) = decoded_chunks.next().await {
        let (decoded, end, bytes) = decoded.map_err(in_file(&file.path))?;
        if committer.is_stopped() || !commit(committer, file, decoded, end, &mut position).await? {
            looked = Looked::Stopped;
            break;
        }
        metrics::bytes("file", bytes as u64);
    }
    // Ends the reader, which may be waiting for room.
    drop(decoded_chunks);
    file.position = position;
    reading.await?;
    Ok(looked)
}

async fn commit(
    committer: &Committer,
    file: &OpenFile,
    mut decoded: Decoded,
    end: u64,
    position: &mut Position,
) -> Result<bool> {
    decoded.rejected.shift_lines(position.lines);
    let identity = position.identity.grown(&file.file, end).map_err(io_error("read", &file.path))?;
    let next = Position { offset: end, lines: position.lines + decoded.lines, identity };
    let append = Append::new(decoded, &committer.open, &file.name, &file.arrival(committer.context.clock.now_us()))?;
    let committed = committer.commit(&append, &file.key, &next).await?;
    if committed {
        *position = next;
    }
    Ok(committed)
}

/// The decoder of a file, and its position moved past the header; `None` when there is nothing to decode yet.
fn start(config: &FileConfig, format: FileFormat, shape: &RowShape, file: &mut OpenFile) -> Result<Option<Decoder>> {
    match format {
        FileFormat::Ndjson => Ok(Some(Decoder::Ndjson)),
        // A document is read once; what grows after it is none of it.
        FileFormat::Json => Ok((file.position.offset == 0).then_some(Decoder::Document)),
        FileFormat::Csv if !config.header => Ok(Some(Decoder::Csv(Arc::new(CsvHeader::by_position(shape))))),
        FileFormat::Csv => {
            let head = read_head(&file.file).map_err(io_error("read", &file.path))?;
            let is_complete = !config.follow || memchr::memchr(b'\n', &head).is_some();
            let line = if is_complete { CsvHeader::read(shape, &head).map_err(in_file(&file.path))? } else { None };
            let Some(line) = line else { return Ok(None) };
            if file.position.offset == 0 {
                (file.position.offset, file.position.lines) = (line.length as u64, line.lines);
            }
            Ok(Some(Decoder::Csv(Arc::new(line.header))))
        }
        FileFormat::Parquet => unreachable!("Parquet files are read elsewhere"),
    }
}

fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(MAX_RECORD_BYTES);
    let mut head = vec![0; length];
    file.read_exact_at(&mut head, 0)?;
    Ok(head)
}

impl Decoder {
    fn decode(&self, shape: &Arc<RowShape>, bytes: &[u8], now_us: i64) -> Result<Decoded> {
        match self {
            Self::Ndjson => decode_ndjson(shape, bytes, now_us),
            Self::Document => decode(Format::Json, shape, bytes, u64::MAX, now_us),
            Self::Csv(header) => decode_csv_records(shape, header, bytes, now_us),
        }
    }
}

/// Cuts a file into chunks.
struct ChunkReader {
    file: File,
    offset: u64,
    /// Where the file ended when the look began.
    size: u64,
    is_csv: bool,
    /// Whether the file is one chunk.
    whole: bool,
    /// Whether a line without its line feed may still grow, and is left for the next look.
    keep_open_line: bool,
    chunk_bytes: usize,
}

impl ChunkReader {
    /// Sends chunks until the end of the file, or until nobody takes them.
    fn run(mut self, sender: &mpsc::Sender<io::Result<Chunk>>) {
        // Whoever does not take a chunk has stopped: nothing is left to tell.
        while let Some(chunk) = self.next().transpose() {
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    }

    fn next(&mut self) -> io::Result<Option<Chunk>> {
        let left = self.size - self.offset;
        if self.whole && left > MAX_DOCUMENT_BYTES {
            let message =
                format!("a JSON document may have {MAX_DOCUMENT_BYTES} bytes, found {left}; write it as NDJSON");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let mut wanted = if self.whole { usize::MAX } else { self.chunk_bytes };
        loop {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, self.offset)?;
            let is_last = length as u64 == left;
            let complete = if self.is_csv {
                complete_csv_records(&bytes)
            } else {
                memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1)
            };
            let keep = match complete {
                _ if is_last && !self.keep_open_line => length,
                // A record that runs on over more than a record may have is none: its first line is rejected.
                0 if self.is_csv && length > MAX_RECORD_BYTES => length,
                complete => complete,
            };
            if keep == 0 && !is_last {
                // One line longer than a chunk.
                wanted *= 2;
                continue;
            }
            bytes.truncate(keep);
            self.offset += keep as u64;
            return Ok((keep > 0).then(|| Chunk { bytes: bytes.into(), end: self.offset }));
        }
    }
}
