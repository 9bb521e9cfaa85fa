//! Reads a partition forwards: segments first, then the shared tail.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use tokio::sync::watch;

use crate::adapt::{Adapter, projected};
use crate::condition::RowCondition;
use crate::error::{Error, Result};
use crate::partition::ahead::{self, Ahead};
use crate::partition::segments::Segments;
use crate::partition::state::{Found, Partition, Published, TailRows};
use crate::partition::{Rows, SelectedRows};
use crate::stream::Stream;

/// Reads a partition forwards from an offset: segments first, then the shared tail, without a gap. Only durable rows
/// are seen.
///
/// All rows have the columns that the stream had when the reader was opened, whatever it had when they were appended.
#[derive(Debug)]
pub struct PartitionReader {
    stream: Stream,
    partition: Arc<Partition>,
    projection: Option<Vec<usize>>,
    /// Columns, as indices into the schema, that may come as dictionaries.
    dictionaries: Vec<usize>,
    condition: Option<Arc<dyn RowCondition>>,
    /// The way from another schema that rows of the tail had last, with its version, to what is handed out.
    adapter: Option<(u32, Adapter)>,
    position: u64,
    published: watch::Receiver<Published>,
    /// The segments being read; they stand at `position`, after the rows in `left_over`.
    sealed: Option<Sealed>,
    /// Decoded rows that were more than the caller asked for; they begin at `position`.
    left_over: Option<SelectedRows>,
}

/// Who decodes segments.
#[derive(Debug)]
enum Sealed {
    Here(Box<Segments>),
    Ahead(Ahead),
}

impl PartitionReader {
    pub(crate) fn new(stream: Stream, partition: Arc<Partition>, offset: u64, projection: Option<Vec<usize>>) -> Self {
        let published = partition.subscribe();
        Self {
            stream,
            partition,
            projection,
            dictionaries: Vec::new(),
            condition: None,
            adapter: None,
            position: offset,
            published,
            sealed: None,
            left_over: None,
        }
    }

    /// Lets texts of these columns (indices into the schema) come as `Dictionary(Int32, Utf8)` where they are stored so:
    /// many rows of a segment then share one dictionary, whose texts are not copied. Rows of the tail, and those written
    /// under another schema, come as plain texts.
    #[must_use]
    pub fn with_dictionaries(mut self, columns: Vec<usize>) -> Self {
        let is_text = |column: &usize| *self.stream.schema().field(*column).data_type() == DataType::Utf8;
        self.dictionaries = columns.into_iter().filter(is_text).collect();
        self
    }

    /// Lets the reader leave out rows by a condition; [`SelectiveReader`] says what it gives then.
    #[must_use]
    pub fn selective(mut self, condition: Option<Arc<dyn RowCondition>>) -> SelectiveReader {
        self.condition = condition;
        SelectiveReader(self)
    }

    /// The next rows, at most `max_rows`; `None` when the reader has reached the durable end. Blocks on disk
    /// when it reads a segment.
    ///
    /// # Errors
    /// [`crate::Error::OffsetRemoved`] when retention removed the position, [`crate::Error::SchemaChanged`] when the rows were
    /// appended after one of the reader's columns was changed, or damage of a segment.
    pub fn next(&mut self, max_rows: usize) -> Result<Option<Rows>> {
        let rows = self.take(max_rows)?;
        Ok(rows.map(|SelectedRows { start_offset, batch, .. }| Rows { start_offset, batch }))
    }

    fn take(&mut self, max_rows: usize) -> Result<Option<SelectedRows>> {
        let max_rows = max_rows.max(1);
        if let Some(rows) = self.next_sealed()? {
            return Ok(Some(self.advance(rows, max_rows)));
        }
        loop {
            match self.partition.find(self.position) {
                Found::NotYet => return Ok(None),
                Found::Removed { oldest } => {
                    return Err(Error::OffsetRemoved {
                        stream: self.stream.name().to_owned(),
                        partition: self.partition.number,
                        offset: self.position,
                        oldest,
                    });
                }
                Found::Tail(rows) => return self.next_of_tail(&rows, max_rows).map(Some),
                Found::Segment(_) => {}
            }
            // None if retention has removed it just now.
            if let Some(rows) = self.open_segments()? {
                return Ok(Some(self.advance(rows, max_rows)));
            }
        }
    }

    /// Resolves when there are rows at or after the reader's position, or the log is closed.
    pub async fn wait(&mut self) {
        let position = self.position;
        // The error is the log being gone, which is closed too.
        let _ = self.published.wait_for(|published| published.end > position || published.closed).await;
    }

    /// Offset of the next row.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Moves the reader.
    pub fn seek(&mut self, offset: u64) {
        if offset != self.position {
            self.position = offset;
            self.sealed = None;
            self.left_over = None;
        }
    }

    fn next_of_tail(&mut self, rows: &TailRows, max_rows: usize) -> Result<SelectedRows> {
        let skip = usize::try_from(self.position - rows.base_offset).expect("a batch fits memory");
        let len = (rows.batch.num_rows() - skip).min(max_rows);
        let batch = rows.batch.slice(skip, len);
        let batch = match &self.projection {
            _ if rows.schema_version != self.stream.schema_version() => self.adapted(rows.schema_version, &batch)?,
            None => batch,
            Some(columns) => batch.project(columns)?,
        };
        let start_offset = self.position;
        self.position += len as u64;
        Ok(SelectedRows::all(start_offset, batch))
    }

    /// Rows of another version of the schema, with the reader's columns.
    fn adapted(&mut self, version: u32, batch: &RecordBatch) -> Result<RecordBatch> {
        match &self.adapter {
            Some((known, adapter)) if *known == version => adapter.adapt(batch),
            _ => {
                let target = projected(self.stream.schema(), self.projection.as_deref())?;
                let adapter = Adapter::new(self.stream.name(), batch.schema_ref(), &target)?;
                let adapted = adapter.adapt(batch);
                self.adapter = Some((version, adapter));
                adapted
            }
        }
    }

    /// Opens the segments at the position. Returns their rows from there on, as far as they are decoded.
    fn open_segments(&mut self) -> Result<Option<SelectedRows>> {
        if self.partition.sealed().saturating_sub(self.position) >= ahead::ROWS
            && let Some(mut ahead) = Ahead::start(self.segments())
            && let Some(rows) = ahead.next()?
        {
            self.sealed = Some(Sealed::Ahead(ahead));
            return Ok(Some(rows));
        }
        let mut segments = self.segments();
        let rows = segments.next()?;
        self.sealed = Some(Sealed::Here(Box::new(segments)));
        Ok(rows)
    }

    fn segments(&self) -> Segments {
        Segments {
            stream: self.stream.clone(),
            partition: Arc::clone(&self.partition),
            projection: self.projection.clone(),
            dictionaries: self.dictionaries.clone(),
            condition: self.condition.clone(),
            position: self.position,
            open: None,
        }
    }

    /// Rows at the position from what is open already.
    fn next_sealed(&mut self) -> Result<Option<SelectedRows>> {
        if let Some(rows) = self.left_over.take() {
            return Ok(Some(rows));
        }
        let next = match &mut self.sealed {
            None => return Ok(None),
            Some(Sealed::Here(segments)) => segments.next(),
            Some(Sealed::Ahead(ahead)) => ahead.next(),
        };
        if !matches!(next, Ok(Some(_))) {
            self.sealed = None;
        }
        next
    }

    /// Hands out the first `max_rows` and keeps the rest.
    fn advance(&mut self, mut rows: SelectedRows, max_rows: usize) -> SelectedRows {
        self.left_over = rows.split_off(max_rows);
        self.position = rows.end_offset();
        rows
    }
}

/// A reader that may leave rows out by a condition: those of large segments for which it is not true are not decoded. Rows
/// for which it is not true may come all the same.
#[derive(Debug)]
pub struct SelectiveReader(PartitionReader);

impl SelectiveReader {
    /// The next rows of which at most `max_rows` are left; `None` when the reader has reached the durable end. Blocks on disk
    /// when it reads a segment.
    ///
    /// # Errors
    /// As [`PartitionReader::next`].
    pub fn next(&mut self, max_rows: usize) -> Result<Option<SelectedRows>> {
        self.0.take(max_rows)
    }

    /// Resolves when there are rows at or after the reader's position, or the log is closed.
    pub async fn wait(&mut self) {
        self.0.wait().await;
    }

    /// Offset of the next row.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Moves the reader.
    pub fn seek(&mut self, offset: u64) {
        self.0.seek(offset);
    }
}
