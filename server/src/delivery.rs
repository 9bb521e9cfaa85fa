//! Sinks of a pipeline: their feeds and positions made of the log, each driven by a runner of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use thermocline_engine::{Engine, Feed as EngineFeed};
use thermocline_log::{Commit, Log, Stream, StreamId, StreamSpec};
use thermocline_sinks::{
    Error as SinkError, Feed, FeedId, FeedRows, Ledger, Phase, RejectedRow, Runner, SinkSettings, SinkStatus,
};
use thermocline_sql::{Pipeline, SinkDef, timestamp_type};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::load::{Env, sink_options};

/// The running sinks.
#[derive(Debug)]
pub(crate) struct Deliveries {
    phase: watch::Sender<Phase>,
    runners: JoinSet<()>,
    status: Vec<Arc<SinkStatus>>,
}

impl Deliveries {
    /// Starts a runner for every query and alert into every sink.
    pub(crate) async fn start(
        engine: &Engine,
        log: &Log,
        pipeline: &Pipeline,
        deployment: &str,
        env: Env<'_>,
    ) -> Result<Self> {
        let (phase, phases) = watch::channel(Phase::Run);
        let mut deliveries = Self { phase, runners: JoinSet::new(), status: Vec::new() };
        for sink in pipeline.sinks.values() {
            let rejected = rejected_stream(log, &sink.name).await?;
            let mut by_name: BTreeMap<String, Vec<EngineFeed>> = BTreeMap::new();
            for feed in engine.feeds(&sink.name).await? {
                by_name.entry(feed.name().to_owned()).or_default().push(feed);
            }
            for feeds in by_name.into_values() {
                register(log, &cursor_name(sink, &feeds[0]), &feeds).await?;
                let runner = runner(log, sink, &rejected, feeds, deployment, env)?;
                deliveries.status.push(runner.status());
                deliveries.runners.spawn(runner.run(phases.clone()));
            }
        }
        Ok(deliveries)
    }

    /// What each runner has done.
    pub(crate) fn status(&self) -> &[Arc<SinkStatus>] {
        &self.status
    }

    /// Ends all runners as the phase says, and waits for them.
    pub(crate) async fn end(&mut self, phase: Phase) {
        self.phase.send_replace(phase);
        while let Some(ended) = self.runners.join_next().await {
            if let Err(panicked) = ended {
                std::panic::resume_unwind(panicked.into_panic());
            }
        }
    }
}

fn cursor_name(sink: &SinkDef, feed: &EngineFeed) -> String {
    format!("sink/{}/{}", sink.name, feed.name())
}

/// Places cursors that never moved at the start: retention waits for them.
async fn register(log: &Log, cursor: &str, feeds: &[EngineFeed]) -> Result<()> {
    let mut commit = Commit::new();
    for feed in feeds {
        let source = feed.source_stream().id();
        if log.cursor(cursor, source, feed.partition()).is_none() {
            commit.move_cursor(cursor, source, feed.partition(), log.range(source, feed.partition())?.start);
        }
    }
    if !commit.is_empty() {
        log.commit(commit).await?;
    }
    Ok(())
}

fn runner(
    log: &Log,
    sink: &SinkDef,
    rejected: &Stream,
    feeds: Vec<EngineFeed>,
    deployment: &str,
    env: Env<'_>,
) -> Result<Runner> {
    let cursor = cursor_name(sink, &feeds[0]);
    let source = feeds[0].source_stream().id();
    let feeds: Vec<LogFeed> = feeds
        .into_iter()
        .map(|mut feed| {
            let id = FeedId { name: feed.name().to_owned(), partition: feed.partition() };
            feed.seek(log.cursor(&cursor, source, id.partition).unwrap_or(0));
            LogFeed { id, feed }
        })
        .collect();
    let schema = feeds[0].feed.schema();
    let settings = SinkSettings {
        name: sink.name.clone(),
        connector: sink.connector.clone(),
        options: sink_options(&sink.options, env),
        base_dir: sink.base_dir.clone(),
        deployment: deployment.to_owned(),
    };
    let opened =
        thermocline_sinks::open(settings, schema).map_err(|source| Error::Sink { sink: sink.name.clone(), source })?;
    let ledger = LogLedger { log: log.clone(), cursor, source, rejected: rejected.clone() };
    let feeds = feeds.into_iter().map(|feed| Box::new(feed) as Box<dyn Feed>).collect();
    Ok(Runner::new(&sink.name, opened, feeds, Arc::new(ledger)))
}

/// Columns of `rejected.<sink>`: when, of which feed, partition and offset, why, and the row as a JSON object.
pub(crate) fn rejected_sink_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("rejected_at", timestamp_type(), false),
        Field::new("feed", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("row", DataType::Utf8, false),
    ]))
}

async fn rejected_stream(log: &Log, sink: &str) -> Result<Stream> {
    Ok(log.create_stream(StreamSpec::new(format!("rejected.{sink}"), rejected_sink_schema())).await?)
}

/// One partition of a feed, as the runner sees it.
struct LogFeed {
    id: FeedId,
    feed: EngineFeed,
}

#[async_trait]
impl Feed for LogFeed {
    fn id(&self) -> &FeedId {
        &self.id
    }

    fn schema(&self) -> SchemaRef {
        self.feed.schema()
    }

    fn position(&self) -> u64 {
        self.feed.position()
    }

    fn seek(&mut self, offset: u64) {
        self.feed.seek(offset);
    }

    async fn next(&mut self, max_rows: usize) -> Result<Option<FeedRows>, SinkError> {
        let rows = self.feed.next(max_rows).await.map_err(|e| SinkError::Log(Box::new(e)))?;
        Ok(rows.map(|rows| FeedRows {
            start_offset: rows.start_offset,
            end_offset: rows.end_offset,
            rows: rows.rows,
            offsets: rows.offsets,
        }))
    }

    async fn wait(&mut self) {
        self.feed.wait().await;
    }

    fn lag(&self) -> u64 {
        self.feed.lag()
    }
}

/// Positions and rejected rows in the log, in one commit.
struct LogLedger {
    log: Log,
    cursor: String,
    source: StreamId,
    rejected: Stream,
}

#[async_trait]
impl Ledger for LogLedger {
    async fn advance(&self, positions: &[(FeedId, u64)], rejected: Vec<RejectedRow>) -> Result<(), SinkError> {
        let mut commit = Commit::new();
        for (feed, offset) in positions {
            commit.move_cursor(&self.cursor, self.source, feed.partition, *offset);
        }
        if !rejected.is_empty() {
            commit.append(self.rejected.id(), rejected_rows(&rejected)?);
        }
        match self.log.commit(commit).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SinkError::Log(Box::new(error))),
        }
    }
}

fn rejected_rows(rejected: &[RejectedRow]) -> Result<RecordBatch, SinkError> {
    let now = chrono::Utc::now().timestamp_micros();
    let times = TimestampMicrosecondArray::from_value(now, rejected.len()).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        Arc::new(StringArray::from_iter_values(rejected.iter().map(|r| &r.feed.name))),
        Arc::new(Int32Array::from_iter_values(rejected.iter().map(|r| r.feed.partition as i32))),
        Arc::new(UInt64Array::from_iter_values(rejected.iter().map(|r| r.offset))),
        Arc::new(StringArray::from_iter_values(rejected.iter().map(|r| &r.reason))),
        Arc::new(StringArray::from_iter_values(rejected.iter().map(|r| &r.row))),
    ];
    Ok(RecordBatch::try_new(rejected_sink_schema(), columns)?)
}
