//! Writes a segment: Parquet with zstd, under a temporary name until it is complete and durable.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parking_lot::Mutex;
use parquet::arrow::ArrowSchemaConverter;
use parquet::errors::ParquetError;

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result, io_error};
use crate::segment::Segment;
use crate::segment::blocks::Checksums;
use crate::segment::name::{SegmentName, temporary};
use crate::segment::row_groups::RowGroups;

/// Whether segments can hold rows of this schema; the error says why not.
pub(crate) fn check_schema(schema: &Schema) -> Result<(), ParquetError> {
    ArrowSchemaConverter::new().convert(schema).map(|_| ())
}

/// A segment being written; dropped unfinished, it takes its temporary file along, which on a full disk is what others
/// need. What a crash leaves of it is removed when the log is opened.
pub(crate) struct SegmentWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    temporary: PathBuf,
    start: u64,
    rows: u64,
    append_ms: i64,
    parquet: Option<RowGroups<Sink>>,
    /// Whether the file has its final name.
    complete: bool,
    /// Why the disk refused a write; Parquet does not always hand the cause on.
    refused: Refused,
}

type Refused = Arc<Mutex<Option<io::Error>>>;

impl SegmentWriter {
    /// Begins the segment of `start..end` in `folder`, which exists.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        schema: &SchemaRef,
        start: u64,
        end: u64,
    ) -> Result<Self> {
        let path = folder.join(temporary(start, end));
        let file = disk.create(&path).map_err(io_error("create segment", &path))?;
        let refused = Refused::default();
        let sink = Sink { file, offset: 0, checksums: Checksums::default(), refused: Arc::clone(&refused) };
        Ok(Self {
            disk: Arc::clone(disk),
            folder: folder.to_owned(),
            temporary: path,
            start,
            rows: 0,
            append_ms: 0,
            parquet: Some(RowGroups::new(sink, Arc::clone(schema))),
            complete: false,
            refused,
        })
    }

    /// Appends rows, which were appended to the log at `append_ms` at the latest.
    pub(crate) fn write(&mut self, batch: &RecordBatch, append_ms: i64) -> Result<()> {
        let parquet = self.parquet.as_mut().expect("the writer lives until finish");
        parquet.write(batch).map_err(|source| failed(&self.temporary, &self.refused, source))?;
        self.rows += batch.num_rows() as u64;
        self.append_ms = self.append_ms.max(append_ms);
        Ok(())
    }

    /// Completes the segment and makes it durable under its final name. On failure no file is left behind, as far as
    /// the disk allows: it may have failed because there is no space.
    pub(crate) fn finish(self) -> Result<Segment> {
        let (disk, temporary) = (Arc::clone(&self.disk), self.temporary.clone());
        self.complete().inspect_err(|_| {
            let _ = disk.remove(&temporary);
        })
    }

    fn complete(mut self) -> Result<Segment> {
        let parquet = self.parquet.take().expect("the writer lives until finish");
        let sink = parquet.finish().map_err(|source| failed(&self.temporary, &self.refused, source))?;
        sink.file.sync_data().map_err(io_error("sync segment", &self.temporary))?;
        let name = SegmentName {
            start: self.start,
            end: self.start + self.rows,
            append_ms: self.append_ms.max(0).cast_unsigned(),
            crc: sink.checksums.whole,
        };
        let path = self.folder.join(name.to_string());
        self.disk.rename(&self.temporary, &path).map_err(io_error("rename segment", &self.temporary))?;
        self.complete = true;
        if let Err(error) = self.disk.sync_dir(&self.folder) {
            // The rows will be sealed again, perhaps cut differently: the two must not stand side by side.
            let _ = self.disk.remove(&path);
            return Err(io_error("sync directory", &self.folder)(error));
        }
        let segment = Segment::new(Arc::clone(&self.disk), path, name, sink.offset);
        let _ = segment.blocks.set(sink.checksums.blocks);
        Ok(segment)
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.complete {
            // What it still holds back is not written any more.
            drop(self.parquet.take());
            // Best effort: opening the log removes temporary files.
            let _ = self.disk.remove(&self.temporary);
        }
    }
}

/// Creates the folder of a partition's segments and makes its directory entries durable.
pub(crate) fn create_folder(disk: &dyn Disk, folder: &Path) -> Result<()> {
    disk.create_dir_all(folder).map_err(io_error("create directory", folder))?;
    // Partition, stream and `segments` folder may all be new.
    for parent in folder.ancestors().skip(1).take(3) {
        disk.sync_dir(parent).map_err(io_error("sync directory", parent))?;
    }
    Ok(())
}

/// The disk's own error where there is one, so that a full disk stays recognisable.
fn failed(path: &Path, refused: &Refused, source: ParquetError) -> Error {
    match refused.lock().take() {
        Some(cause) => io_error("write segment", path)(cause),
        None => Error::Parquet { path: path.to_owned(), source },
    }
}

/// Counts and checks what Parquet writes.
struct Sink {
    file: Arc<dyn DiskFile>,
    offset: u64,
    checksums: Checksums,
    refused: Refused,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(cause) = self.file.write_all_at(&[bytes], self.offset) {
            let kind = cause.kind();
            self.refused.lock().get_or_insert(cause);
            return Err(kind.into());
        }
        self.offset += bytes.len() as u64;
        self.checksums.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
