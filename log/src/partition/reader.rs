//! Reads a partition forwards: segments first, then the shared tail.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use tokio::sync::watch;

use crate::adapt::{Adapter, projected};
use crate::error::{Error, Result, corrupt};
use crate::partition::Rows;
use crate::partition::state::{Found, Partition, Published, TailRows};
use crate::segment::{Segment, SegmentReader, Wanted};
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
    /// The way from another schema that rows of the tail had last, with its version, to what is handed out.
    adapter: Option<(u32, Adapter)>,
    position: u64,
    published: watch::Receiver<Published>,
    /// The segment being read; it stands at `position`, after the rows in `left_over`.
    segment: Option<SegmentReader>,
    /// Decoded rows that were more than the caller asked for; they begin at `position`.
    left_over: Option<RecordBatch>,
}

impl PartitionReader {
    pub(crate) fn new(stream: Stream, partition: Arc<Partition>, offset: u64, projection: Option<Vec<usize>>) -> Self {
        let published = partition.subscribe();
        Self {
            stream,
            partition,
            projection,
            dictionaries: Vec::new(),
            adapter: None,
            position: offset,
            published,
            segment: None,
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

    /// The next rows, at most `max_rows`; `None` when the reader has reached the durable end. Blocks on disk
    /// when it reads a segment.
    ///
    /// # Errors
    /// [`crate::Error::OffsetRemoved`] when retention removed the position, [`crate::Error::SchemaChanged`] when the rows were
    /// appended after one of the reader's columns was changed, or damage of a segment.
    pub fn next(&mut self, max_rows: usize) -> Result<Option<Rows>> {
        let max_rows = max_rows.max(1);
        if let Some(batch) = self.next_of_segment()? {
            return Ok(Some(self.advance(batch, max_rows)));
        }
        let batch = match self.partition.find(self.position) {
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
            Found::Segment(segment) => self.open_segment(&segment)?,
        };
        Ok(Some(self.advance(batch, max_rows)))
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
            self.segment = None;
            self.left_over = None;
        }
    }

    fn next_of_tail(&mut self, rows: &TailRows, max_rows: usize) -> Result<Rows> {
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
        Ok(Rows { start_offset, batch })
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

    /// Opens the segment that holds the position. Returns its rows from there on, as far as they are decoded.
    fn open_segment(&mut self, segment: &Arc<Segment>) -> Result<RecordBatch> {
        let mut reader = SegmentReader::open(
            segment,
            &self.stream,
            self.position,
            &Wanted { projection: self.projection.as_deref(), dictionaries: &self.dictionaries },
        )?;
        let batch = reader.next()?;
        self.segment = Some(reader);
        batch.ok_or_else(|| {
            corrupt(&segment.path, 0, format!("no row at offset {}, which its name promises", self.position))
        })
    }

    /// Rows at the position from what is open already.
    fn next_of_segment(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(batch) = self.left_over.take() {
            return Ok(Some(batch));
        }
        let Some(segment) = &mut self.segment else { return Ok(None) };
        match segment.next() {
            Ok(Some(batch)) => Ok(Some(batch)),
            ended => {
                self.segment = None;
                ended
            }
        }
    }

    /// Hands out the first `max_rows` of `batch` and keeps the rest.
    fn advance(&mut self, batch: RecordBatch, max_rows: usize) -> Rows {
        let start_offset = self.position;
        let len = batch.num_rows().min(max_rows);
        if len < batch.num_rows() {
            self.left_over = Some(batch.slice(len, batch.num_rows() - len));
        }
        self.position += len as u64;
        Rows { start_offset, batch: batch.slice(0, len) }
    }
}
