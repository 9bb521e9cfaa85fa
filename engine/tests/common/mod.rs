//! A pipeline over a log in a temporary folder, for tests.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use thermocline_engine::{Clock, Engine, EngineSettings};
use thermocline_log::{Commit, Log, LogOptions};
use thermocline_sql::SourceFile;

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

/// A running pipeline.
pub struct Pipeline {
    sql: String,
    checkpoint_rows: Option<u64>,
    pub clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    running: Option<(Log, Engine)>,
}

impl Pipeline {
    pub fn new(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            checkpoint_rows: None,
            clock: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            running: None,
        }
    }

    pub fn checkpoint_rows(mut self, rows: u64) -> Self {
        self.checkpoint_rows = Some(rows);
        self
    }

    pub async fn start(&mut self) -> &mut (Log, Engine) {
        if self.running.is_none() {
            let file = SourceFile { path: "test.sql".into(), text: self.sql.clone() };
            let files = [file];
            let checked = thermocline_sql::check(&files, &|_| None);
            let text: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
            let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{}", text.join("\n")));
            let log = Log::open(self.dir.path(), LogOptions::default()).unwrap();
            let engine = Engine::start(EngineSettings {
                log: log.clone(),
                pipeline,
                clock: self.clock.clone(),
                deployment: "test".into(),
                checkpoint_rows: self.checkpoint_rows,
            })
            .await
            .unwrap();
            self.running = Some((log, engine));
        }
        self.running.as_mut().unwrap()
    }

    pub async fn append(&mut self, rows: &[Row]) {
        let (log, _) = self.start().await;
        let stream = log.stream("readings").unwrap();
        let mut commit = Commit::new();
        commit.append(stream.id(), batch(rows, &stream));
        log.commit(commit).await.unwrap();
    }

    /// Waits until every query has read everything.
    pub async fn settle(&mut self) {
        let (log, engine) = self.running.as_ref().unwrap();
        let stream = log.stream("readings").unwrap();
        let rows: u64 = (0..stream.partitions()).map(|p| log.range(stream.id(), p).unwrap().end).sum();
        let started: Vec<_> = engine.status().map(|(_, status)| Arc::clone(status)).collect();
        while started.iter().any(|status| status.position() < rows) {
            for status in &started {
                assert_eq!(status.error(), None);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Ends the engine without a word and closes the log as it is.
    pub async fn crash(&mut self) {
        let (log, engine) = self.running.take().unwrap();
        engine.abort().await;
        log.close().await.unwrap();
    }

    /// Lets every query read to the end and returns all streams' rows.
    pub async fn finish(mut self) -> HashMap<String, Vec<String>> {
        let (log, engine) = self.start().await;
        engine.finish().await.unwrap();
        let mut streams = HashMap::new();
        for stream in log.streams() {
            let mut lines = Vec::new();
            for partition in 0..stream.partitions() {
                let mut reader = log.reader(stream.id(), partition, 0, None).unwrap();
                while let Some(rows) = reader.next(10_000).unwrap() {
                    lines.extend(json_lines(&rows.batch));
                }
            }
            streams.insert(stream.name().to_owned(), lines);
        }
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
        let (log, _) = self.running.as_ref().unwrap();
        let stream = log.stream(stream).unwrap();
        let mut reader = log.reader(stream.id(), 0, rows - 1, None).unwrap();
        reader.wait().await;
    }

    pub async fn query(&mut self, sql: &str) -> Vec<RecordBatch> {
        let (_, engine) = self.start().await;
        engine.adhoc().query(sql).await.unwrap().try_collect().await.unwrap()
    }
}

fn batch(rows: &[Row], stream: &thermocline_log::Stream) -> RecordBatch {
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
