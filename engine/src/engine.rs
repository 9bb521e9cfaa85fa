//! The engine: a pipeline's continuous queries, running over a log.

mod opener;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use thermocline_log::{Log, Stream};
use thermocline_sql::{EventTimes, Pipeline, QueryShape};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::opener::{Named, Opened, Opener, Streams, create_streams, remove_forgotten_snapshots};
use crate::adhoc::AdHoc;
use crate::clock::Clock;
use crate::continuous_query::ContinuousQuery;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::memory::{MemoryBudget, adhoc_runtime, default_memory_limit};
use crate::order::in_flow_order;
use crate::query::{Control, QueryStatus, compile_inputs};
use crate::stage::Stage;
use crate::tables::Tables;
use crate::views::{View, create_view};

/// How an engine is started.
#[derive(Debug)]
pub struct EngineSettings {
    /// The log; the engine creates the streams it needs.
    pub log: Log,
    /// The checked pipeline.
    pub pipeline: Pipeline,
    /// Elapsed time, for idle partitions and table refreshes.
    pub clock: Arc<dyn Clock>,
    /// Part of every alert's identity, so that two deployments of one pipeline do not resolve each other's alerts.
    pub deployment: String,
    /// Rows of a partition between checkpoints; the default when `None`.
    pub checkpoint_rows: Option<u64>,
    /// Bytes that the queries may hold, three quarters for the state of continuous ones, a quarter for ad-hoc ones; half of
    /// what the machine or its container has when `None`.
    pub memory_limit_bytes: Option<u64>,
}

/// The running queries of a pipeline.
#[derive(Debug)]
pub struct Engine {
    log: Log,
    pipeline: Pipeline,
    tables: Arc<Tables>,
    adhoc: Arc<RuntimeEnv>,
    views: HashMap<String, View>,
    /// Keep the current rows of views up to date.
    followers: Vec<JoinHandle<()>>,
    running: Vec<RunningQuery>,
    /// Queries keep cores busy: they have threads of their own, so that doors and sinks answer meanwhile.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct RunningQuery {
    /// Itself, or those that share panes.
    queries: Vec<Named>,
    control: watch::Sender<Control>,
    task: JoinHandle<Result<()>>,
}

impl Engine {
    /// Creates the pipeline's streams, recovers every query, and starts them.
    ///
    /// # Errors
    /// A stream that exists and cannot become what the pipeline says, a table that cannot be read, damage of the log.
    pub async fn start(settings: EngineSettings) -> Result<Self> {
        let EngineSettings { log, pipeline, clock, deployment, checkpoint_rows, memory_limit_bytes } = settings;
        let limit_bytes = memory_limit_bytes.unwrap_or_else(default_memory_limit);
        metrics::gauge!("thermocline_memory_limit_bytes").set(limit_bytes as f64);
        let memory = MemoryBudget::new(limit_bytes);
        tracing::info!(limit_bytes, state_bytes = memory.limit_bytes(), "memory of queries is limited");
        let adhoc = adhoc_runtime(&log.dir(), limit_bytes)?;
        let tables = Arc::new(Tables::load(pipeline.tables.values(), Arc::clone(&clock)).await?);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_name("thermocline-engine").enable_all().build();
        let runtime = runtime.map_err(|source| Error::Io { action: "start threads in", path: log.dir(), source })?;
        // From here on a failure drops an engine, which knows how to end its threads.
        let (views, followers, running) = (HashMap::new(), Vec::new(), Vec::new());
        let mut engine = Self { log, pipeline, tables, adhoc, views, followers, running, runtime: Some(runtime) };
        let mut streams = HashMap::new();
        for definition in engine.pipeline.streams.values() {
            streams.insert(definition.name.clone(), create_streams(&engine.log, definition).await?);
        }
        for definition in engine.pipeline.materialized.values() {
            let view = create_view(&engine.log, definition).await?;
            let (stream, late) = (view.stream.clone(), view.late.clone());
            streams.insert(definition.name.clone(), Streams { stream, late });
            engine.views.insert(definition.name.clone(), view);
        }
        let opener = Opener { engine: &engine, streams, clock, deployment, checkpoint_rows, memory };
        let mut opened = Vec::new();
        let mut queries = in_flow_order(&ContinuousQuery::all(&engine.pipeline))?;
        queries.retain(|query| !query.runs_in_sink());
        for queries in opener.sharing(queries)? {
            let named = || queries.iter().map(|query| (query.name(), Arc::default())).collect();
            opened.push(match opener.open(&queries).await {
                // The others have what they need.
                Err(error @ Error::Memory { .. }) => (named(), Opened::Stopped(error)),
                opened => opened.map_err(|error| in_query(&queries[0].name(), error))?,
            });
        }
        remove_forgotten_snapshots(&engine.log);
        let runtime = engine.runtime.as_ref().expect("just made");
        let running = opened.into_iter().map(|(queries, opened)| opened.spawn(runtime, queries)).collect();
        let current = engine.views.values().filter_map(|view| view.current.clone());
        let followers = current.map(|current| runtime.spawn(current.follow())).collect();
        engine.running = running;
        engine.followers = followers;
        Ok(engine)
    }

    /// What feeds a sink: one feed per partition of every query and alert into it.
    ///
    /// # Errors
    /// A query that cannot be compiled, damage of the log.
    pub async fn feeds(&self, sink: &str) -> Result<Vec<Feed>> {
        let mut feeds = Vec::new();
        for query in ContinuousQuery::all(&self.pipeline).into_iter().filter(|q| q.sink() == Some(sink)) {
            let name = query.name();
            match query.shape() {
                QueryShape::Stateless { stream, input } if query.runs_in_sink() => {
                    let source = self.stream(stream)?;
                    for partition in 0..source.partitions() {
                        let stage = Stage::over_stream(input, stream, Arc::clone(&self.tables)).await?;
                        let tables = Arc::clone(&self.tables);
                        feeds.push(Feed::query(&name, &self.log, &source, partition, stage, tables)?);
                    }
                }
                _ => {
                    let source = self.stream(&query.output_stream())?;
                    for partition in 0..source.partitions() {
                        feeds.push(Feed::stream(&name, &self.log, &source, partition)?);
                    }
                }
            }
        }
        Ok(feeds)
    }

    /// Ad-hoc queries over this pipeline.
    #[must_use]
    pub fn adhoc(&self) -> AdHoc {
        let materialized = self.views.iter().filter(|(name, _)| self.pipeline.materialized[*name].is_declared);
        let materialized = materialized.map(|(name, view)| (name.clone(), view.stream.clone(), view.current.clone()));
        let views = self.pipeline.views.values().map(|view| (view.name.clone(), view.plan.clone())).collect();
        let event_times = EventTimes::default();
        for stream in self.pipeline.streams.values() {
            event_times.insert(&stream.name, stream.event_time.as_ref().map(|time| time.column));
        }
        for view in self.pipeline.materialized.values().filter(|view| view.is_declared) {
            event_times.insert(&view.name, view.times.first().map(|time| time.column));
        }
        let (log, tables, runtime) = (self.log.clone(), Arc::clone(&self.tables), Arc::clone(&self.adhoc));
        AdHoc::new(log, tables, views, materialized.collect(), event_times, runtime)
    }

    /// Name and status of every running query, in the order rows flow.
    pub fn status(&self) -> impl Iterator<Item = (&str, &Arc<QueryStatus>)> {
        let queries = self.running.iter().flat_map(|running| &running.queries);
        queries.map(|(name, status)| (name.as_str(), status))
    }

    /// Lets every query read to the durable end, close its windows and end, upstream first. Nothing may be appended
    /// to the pipeline's sources any more.
    ///
    /// # Errors
    /// The first failure of a query.
    pub async fn finish(&mut self) -> Result<()> {
        self.end(Control::Finish).await
    }

    /// Ends every query where it is; all goes on after a restart.
    ///
    /// # Errors
    /// The first failure of a query.
    pub async fn stop(&mut self) -> Result<()> {
        for query in &self.running {
            query.control.send_replace(Control::Stop);
        }
        self.end(Control::Stop).await
    }

    /// Ends every query at once and stores nothing, as a crash would.
    pub async fn abort(mut self) {
        for follower in self.followers.drain(..) {
            follower.abort();
            let _ = follower.await;
        }
        for query in self.running.drain(..) {
            query.task.abort();
            // Cancelled, or ended before: either way it is gone.
            let _ = query.task.await;
        }
    }

    async fn end(&mut self, control: Control) -> Result<()> {
        let mut first_failure = Ok(());
        for query in self.running.drain(..) {
            query.control.send_replace(control);
            let ended = match query.task.await {
                Ok(ended) => ended,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
            if first_failure.is_ok() {
                first_failure = ended;
            }
        }
        first_failure
    }

    /// A stream, or that of a view.
    fn stream(&self, name: &str) -> Result<Stream> {
        if let Some(view) = self.views.get(name) {
            return Ok(view.stream.clone());
        }
        Ok(self.log.stream(name).ok_or_else(|| thermocline_log::Error::UnknownStream { name: name.to_owned() })?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn in_query(query: &str, error: Error) -> Error {
    match error {
        Error::DataFusion(source) => Error::Query { query: query.to_owned(), source },
        other => other,
    }
}

/// Compiles every query of a pipeline without running it or reading anything: what would fail at the start fails here.
///
/// # Errors
/// None by itself: the answer lists each query that cannot be compiled, with its place in the source.
pub async fn check(pipeline: &Pipeline) -> Vec<(thermocline_sql::Span, Error)> {
    let tables = Arc::new(Tables::without_rows(pipeline.tables.values()));
    let mut failures = Vec::new();
    let queries = ContinuousQuery::all(pipeline);
    for query in &queries {
        if let Err(error) = compile(*query, pipeline, &tables).await {
            let span = match query {
                ContinuousQuery::Insert(query) => query.span.clone(),
                ContinuousQuery::Alert(alert) => alert.span.clone(),
            };
            failures.push((span, in_query(&query.name(), error)));
        }
    }
    if let Err(error) = in_flow_order(&queries)
        && let Some(first) = pipeline.queries.first()
    {
        failures.push((first.span.clone(), error));
    }
    failures
}

async fn compile(query: ContinuousQuery<'_>, pipeline: &Pipeline, tables: &Arc<Tables>) -> Result<()> {
    if let Some(shape) = query.per_key(pipeline) {
        return shape.compile(tables).await;
    }
    match query.shape() {
        QueryShape::Stateless { stream, input } => {
            Stage::over_stream(input, stream, Arc::clone(tables)).await?;
        }
        QueryShape::Windowed(shape) => {
            let stage = Stage::over_stream(&shape.input, &shape.stream, Arc::clone(tables)).await?;
            crate::window::WindowAggregate::try_new(shape, stage.df_schema(), &[])?;
            Stage::over_placeholder(&shape.output, Arc::clone(tables)).await?;
        }
        QueryShape::Ordered(shape) => {
            crate::ordered::operator(shape, &compile_inputs(shape, tables).await?)?;
            Stage::over_placeholder_rows(&shape.output, Arc::clone(tables)).await?;
        }
    }
    Ok(())
}
