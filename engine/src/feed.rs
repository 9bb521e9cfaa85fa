//! What a sink reads: one partition of a stream, through a stateless query where there is one. The server hands it to the
//! sink's runner.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;
use thermocline_log::{Log, SelectiveReader, Stream};

use crate::error::Result;
use crate::gap::next_kept;
use crate::query::StageReader;
use crate::stage::Stage;
use crate::tables::Tables;

/// Rows of a feed.
#[derive(Debug, Clone)]
pub struct FeedBatch {
    /// First source offset that was read.
    pub start_offset: u64,
    /// One past the last source offset that was read.
    pub end_offset: u64,
    /// What came of it, perhaps nothing.
    pub rows: RecordBatch,
    /// Source offset of each row, ascending.
    pub offsets: Vec<u64>,
}

/// One partition of what feeds a sink.
#[derive(Debug)]
pub struct Feed {
    name: String,
    log: Log,
    stream: Stream,
    partition: u32,
    schema: SchemaRef,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Rows as they are.
    Stream(SelectiveReader),
    /// Rows of a stateless query, which runs as they are read: nothing is stored twice.
    Query { reader: StageReader, stage: Box<Stage>, tables: Arc<Tables> },
}

impl Feed {
    pub(crate) fn stream(name: &str, log: &Log, stream: &Stream, partition: u32) -> Result<Self> {
        let reader = log.reader(stream.id(), partition, 0, None)?.selective(None);
        let schema = Arc::clone(stream.schema());
        Ok(Self::new(name, log, stream, partition, schema, Source::Stream(reader)))
    }

    pub(crate) fn query(
        name: &str,
        log: &Log,
        stream: &Stream,
        partition: u32,
        stage: Stage,
        tables: Arc<Tables>,
    ) -> Result<Self> {
        let reader = StageReader::selective(log, stream, partition, 0, &stage)?;
        let schema = stage.schema();
        let columns = &schema.fields()[..schema.fields().len() - 1];
        let schema = Arc::new(Schema::new(columns.to_vec()));
        let source = Source::Query { reader, stage: Box::new(stage), tables };
        Ok(Self::new(name, log, stream, partition, schema, source))
    }

    fn new(name: &str, log: &Log, stream: &Stream, partition: u32, schema: SchemaRef, source: Source) -> Self {
        Self { name: name.to_owned(), log: log.clone(), stream: stream.clone(), partition, schema, source }
    }

    /// Name of the feed, stable across restarts.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream whose offsets it counts in.
    #[must_use]
    pub fn source_stream(&self) -> &Stream {
        &self.stream
    }

    /// Partition of that stream.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Columns of its rows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Offset of the next source row.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.source {
            Source::Stream(reader) => reader.position(),
            Source::Query { reader, .. } => reader.position(),
        }
    }

    /// Goes on from another offset.
    pub fn seek(&mut self, offset: u64) {
        match &mut self.source {
            Source::Stream(reader) => reader.seek(offset),
            Source::Query { reader, .. } => reader.seek(offset),
        }
    }

    /// Source rows between the position and the durable end.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let range = self.log.range(self.stream.id(), self.partition).expect("the partition of an open reader exists");
        range.end.saturating_sub(self.position())
    }

    /// Resolves when there may be rows.
    pub async fn wait(&mut self) {
        match &mut self.source {
            Source::Stream(reader) => reader.wait().await,
            Source::Query { reader, .. } => reader.wait().await,
        }
    }

    /// The next rows, at most `max_rows` source rows; `None` at the durable end.
    ///
    /// # Errors
    /// Damage of the log, rows that retention removed, or a failing query.
    pub async fn next(&mut self, max_rows: usize) -> Result<Option<FeedBatch>> {
        match &mut self.source {
            Source::Stream(reader) => {
                let Some(rows) = next_kept(reader, max_rows)? else { return Ok(None) };
                let (start_offset, end_offset) = (rows.start_offset, rows.end_offset());
                let offsets = (start_offset..end_offset).collect();
                Ok(Some(FeedBatch { start_offset, end_offset, rows: rows.batch, offsets }))
            }
            Source::Query { reader, stage, tables } => {
                tables.refresh().await;
                let Some(rows) = reader.next(max_rows, stage).await? else { return Ok(None) };
                if !rows.failed.is_empty() {
                    let failed = rows.failed.len() as u64;
                    let reason = rows.failed[0].reason.as_str();
                    metrics::counter!("thermocline_query_failed_rows_total", "query" => self.name.clone())
                        .increment(failed);
                    tracing::warn!(query = self.name, failed, reason, "rows that the query fails on are kept out");
                }
                let (start_offset, end_offset) = (rows.start_offset, rows.end_offset());
                let offsets = rows.row_of().values().iter().map(|row| start_offset + u64::from(*row)).collect();
                let batch = RecordBatch::try_new_with_options(
                    Arc::clone(&self.schema),
                    rows.rows().columns().to_vec(),
                    &arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.output.num_rows())),
                )?;
                Ok(Some(FeedBatch { start_offset, end_offset, rows: batch, offsets }))
            }
        }
    }
}
