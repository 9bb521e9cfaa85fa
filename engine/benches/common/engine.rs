//! Engines over a log, fed and watched from outside.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use thermocline_engine::{Engine, EngineSettings, MonotonicClock};
use thermocline_log::{Commit, Log, Stream, StreamSpec};
use thermocline_sql::{Pipeline, SourceFile};

/// The checked pipeline, or what the checker says of it.
pub fn checked(sql: &str) -> Pipeline {
    let files = [SourceFile { path: "bench.sql".into(), text: sql.to_owned() }];
    let checked = thermocline_sql::check(&files, &|_| None);
    let found: Vec<String> = checked.diagnostics.iter().map(|d| d.render(&files)).collect();
    checked.pipeline.unwrap_or_else(|| panic!("{}", found.join("\n")))
}

/// Creates a stream of the pipeline as an engine would.
pub async fn create_stream(log: &Log, pipeline: &Pipeline, name: &str) -> Stream {
    let definition = &pipeline.streams[name];
    let spec = StreamSpec {
        partitions: definition.partitions,
        partition_key: definition.partition_by.clone(),
        ..StreamSpec::new(name, Arc::clone(&definition.schema))
    };
    log.create_stream(spec).await.unwrap()
}

/// Starts the pipeline's queries; what is committed of a start is.
pub async fn start(log: &Log, sql: &str, checkpoint_rows: Option<u64>) -> Engine {
    let settings = EngineSettings {
        log: log.clone(),
        pipeline: checked(sql),
        clock: Arc::new(MonotonicClock::default()),
        deployment: "bench".into(),
        checkpoint_rows,
        memory_limit_bytes: None,
    };
    Engine::start(settings).await.unwrap()
}

/// Appends rows durably, however long the log has no room for them.
pub async fn append(log: &Log, stream: &Stream, rows: RecordBatch) {
    let mut commit = Commit::new();
    commit.append(stream.id(), rows);
    loop {
        match log.commit(commit.clone()).await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Rows of a stream so far.
pub fn rows_of(log: &Log, stream: &Stream) -> u64 {
    (0..stream.partitions()).map(|n| log.range(stream.id(), n).unwrap().end).sum()
}

/// Rows that the pipeline's first query has behind it.
pub fn position(engine: &Engine) -> u64 {
    let (name, status) = engine.status().next().expect("a pipeline of a query");
    if let Some(error) = status.error() {
        panic!("{name}: {error}");
    }
    status.position()
}

/// Resolves when the pipeline's first query has `rows` behind it.
pub async fn caught_up(engine: &Engine, rows: u64) {
    while position(engine) < rows {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
