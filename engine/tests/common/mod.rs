//! A pipeline over a log in a temporary folder, for tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod crash_disk;
pub mod crash_points;
pub mod duckdb;
pub mod full_disk;
pub mod readings;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use thermocline_engine::{Clock, Engine, EngineSettings, Error};
use thermocline_log::{Commit, Disk, Durability, Log, LogOptions, OsDisk, Stream};
use thermocline_sql::{QueryShape, SourceFile};

/// A reading.
#[derive(Debug, Clone)]
pub struct Row {
    pub device: String,
    pub ts_ms: i64,
    pub temperature: f64,
}

/// A clock that a test moves.
#[derive(Debug, Default)]
pub struct ManualClock(parking_lot::Mutex<Duration>);

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock()
    }
}

/// A pipeline; it starts when it is first used.
pub struct Pipeline {
    sql: String,
    checkpoint_rows: Option<u64>,
    memory_limit_bytes: Option<u64>,
    disk: Arc<dyn Disk>,
    durability: Durability,
    pub clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    running: Option<Running>,
}

/// A started pipeline.
pub struct Running {
    pub log: Log,
    pub engine: Engine,
    /// The streams that each continuous query reads.
    reads: HashMap<String, Vec<String>>,
}

impl Pipeline {
    pub fn new(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            checkpoint_rows: None,
            memory_limit_bytes: None,
            disk: Arc::new(OsDisk),
            durability: Durability::Sync,
            clock: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            running: None,
        }
    }

    /// The same data directory under another text.
    pub fn with_sql(mut self, sql: &str) -> Self {
        assert!(self.running.is_none(), "crash it before");
        self.sql = sql.to_owned();
        self
    }

    pub fn checkpoint_rows(mut self, rows: u64) -> Self {
        self.checkpoint_rows = Some(rows);
        self
    }

    /// From the next start on, the queries have this much memory.
    pub fn set_memory_limit(&mut self, bytes: u64) {
        self.memory_limit_bytes = Some(bytes);
    }

    /// The log waits for no disk: quicker where nothing crashes.
    pub fn unsynced(mut self) -> Self {
        self.durability = Durability::Os;
        self
    }

    /// From the next start on, the log is on this disk.
    pub fn set_disk(&mut self, disk: Arc<dyn Disk>) {
        self.disk = disk;
    }

    /// The folder that relative locations start from.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a statement; what is wrong with the pipeline then, if anything, and the statement is not added.
    pub async fn add_statement(&mut self, sql: &str) -> Result<(), String> {
        let before = self.sql.len();
        self.sql.push_str(sql);
        self.sql.push_str(";\n");
        let checked = self.check().await.map(|_| ());
        if checked.is_err() {
            self.sql.truncate(before);
        }
        checked
    }

    async fn check(&self) -> Result<thermocline_sql::Pipeline, String> {
        let files = [SourceFile { path: self.dir.path().join("test.sql"), text: self.sql.clone() }];
        let checked = thermocline_sql::check(&files, &|_| None);
        let text: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
        let pipeline = checked.pipeline.ok_or_else(|| text.join("\n"))?;
        let failures = thermocline_engine::check(&pipeline).await;
        match failures.first() {
            None => Ok(pipeline),
            Some((_, error)) => Err(error.to_string()),
        }
    }

    pub async fn start(&mut self) -> &mut Running {
        if self.running.is_none() {
            self.try_start().await.unwrap();
        }
        self.running.as_mut().unwrap()
    }

    pub async fn try_start(&mut self) -> Result<(), Error> {
        let pipeline = self.check().await.unwrap_or_else(|text| panic!("{text}"));
        let options = LogOptions { disk: Arc::clone(&self.disk), durability: self.durability, ..LogOptions::default() };
        let log = Log::open(self.dir.path().join("log"), options)?;
        let streams = |shape: &QueryShape| shape.streams().into_iter().map(str::to_owned).collect();
        let inserts = pipeline.queries.iter().map(|q| (q.name.clone(), streams(&q.shape)));
        let alerts = pipeline.alerts.values().map(|a| (format!("alert.{}", a.name), streams(&a.shape)));
        let reads = inserts.chain(alerts).collect();
        let settings = EngineSettings {
            log: log.clone(),
            pipeline,
            clock: self.clock.clone(),
            deployment: "test".into(),
            checkpoint_rows: self.checkpoint_rows,
            memory_limit_bytes: self.memory_limit_bytes,
        };
        match Engine::start(settings).await {
            Ok(engine) => {
                self.running = Some(Running { log, engine, reads });
                Ok(())
            }
            Err(error) => {
                let _ = log.close().await;
                Err(error)
            }
        }
    }

    pub async fn append(&mut self, rows: &[Row]) {
        let stream = self.start().await.log.stream("readings").unwrap();
        self.append_batch("readings", readings_batch(rows, &stream)).await.unwrap();
    }

    pub async fn append_batch(&mut self, stream: &str, rows: RecordBatch) -> Result<(), thermocline_log::Error> {
        let log = &self.start().await.log;
        let mut commit = Commit::new();
        commit.append(log.stream(stream).unwrap().id(), rows);
        log.commit(commit).await.map(|_| ())
    }

    /// Rows of a stream that are durable.
    pub async fn rows_in(&mut self, stream: &str) -> u64 {
        let running = self.start().await;
        durable_rows(&running.log, stream)
    }

    /// Offset of the oldest row that is held, of a stream of one partition.
    pub async fn oldest(&mut self, stream: &str) -> u64 {
        let log = &self.start().await.log;
        let stream = log.stream(stream).unwrap();
        log.range(stream.id(), 0).unwrap().start
    }

    /// Waits until every query has read everything, also what the others wrote; `Err` when one fails.
    pub async fn try_settle(&mut self) -> Result<(), String> {
        let Running { log, engine, reads } = self.running.as_ref().unwrap();
        // In the order rows flow: a query that has read all has also written all.
        for (name, status) in engine.status() {
            while status.position() < reads[name].iter().map(|stream| durable_rows(log, stream)).sum() {
                if let Some(error) = status.error() {
                    return Err(error);
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Starts it and waits until every query has read everything.
    pub async fn settle_started(&mut self) {
        self.start().await;
        self.settle().await;
    }

    pub async fn settle(&mut self) {
        self.try_settle().await.unwrap();
    }

    /// Ends the engine without a word and closes the log as it is.
    pub async fn crash(&mut self) {
        if let Some(Running { log, engine, .. }) = self.running.take() {
            engine.abort().await;
            // A log whose disk has failed says so.
            let _ = log.close().await;
        }
    }

    /// Lets every query read to the end and close its windows; the log stays.
    pub async fn finish_queries(&mut self) -> Result<(), Error> {
        self.start().await.engine.finish().await
    }

    /// Lets every query read to the end and returns all streams' rows, partition after partition.
    pub async fn finish(mut self) -> HashMap<String, Vec<String>> {
        self.finish_queries().await.unwrap();
        let log = self.start().await.log.clone();
        let streams = log.streams().into_iter().map(|stream| (stream.name().to_owned(), rows_of(&read(&log, &stream))));
        let streams = streams.collect();
        log.close().await.unwrap();
        streams
    }

    pub async fn run(mut self, batches: &[&[Row]]) -> HashMap<String, Vec<String>> {
        for rows in batches {
            self.append(rows).await;
        }
        self.finish().await
    }

    /// The rows of a stream now.
    pub async fn rows(&mut self, stream: &str) -> Vec<String> {
        rows_of(&self.query(&format!("SELECT * FROM {stream}")).await)
    }

    /// Waits until a stream of one partition holds this many rows.
    pub async fn wait_for_rows(&mut self, stream: &str, rows: u64) {
        let log = &self.running.as_ref().unwrap().log;
        let stream = log.stream(stream).unwrap();
        let mut reader = log.reader(stream.id(), 0, rows - 1, None).unwrap();
        reader.wait().await;
    }

    pub async fn query(&mut self, sql: &str) -> Vec<RecordBatch> {
        self.try_query(sql).await.unwrap()
    }

    pub async fn try_query(&mut self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        let rows = self.start().await.engine.adhoc().query(sql).await?;
        let schema = rows.schema();
        let mut batches: Vec<RecordBatch> = rows.try_collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }
}

fn durable_rows(log: &Log, stream: &str) -> u64 {
    // A view, or a part of a query, is read by another name.
    let part = stream.replace(".stage", ".");
    let names = [stream.to_owned(), format!("view.{stream}"), format!("stage.{part}")];
    let stream = names.iter().find_map(|name| log.stream(name)).unwrap();
    (0..stream.partitions()).map(|p| log.range(stream.id(), p).unwrap().end).sum()
}

/// All rows of a stream, partition after partition.
pub fn read(log: &Log, stream: &Stream) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for partition in 0..stream.partitions() {
        let mut reader =
            log.reader(stream.id(), partition, log.range(stream.id(), partition).unwrap().start, None).unwrap();
        while let Some(rows) = reader.next(10_000).unwrap() {
            batches.push(rows.batch);
        }
    }
    batches
}

pub fn readings_batch(rows: &[Row], stream: &Stream) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts_ms * 1000)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.device))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.temperature))),
    ];
    RecordBatch::try_new(Arc::clone(stream.schema()), columns).unwrap()
}

pub fn rows_of(batches: &[RecordBatch]) -> Vec<String> {
    batches.iter().flat_map(json_lines).collect()
}

fn json_lines(batch: &RecordBatch) -> Vec<String> {
    let mut bytes = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut bytes);
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}
