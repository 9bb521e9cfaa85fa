//! The engine: a pipeline's continuous queries, running over a log.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::execution::runtime_env::RuntimeEnv;
use thermocline_log::{Log, Retention, Stream, StreamSpec};
use thermocline_sql::{
    AlertDef, Emit, EventTime, EventTimes, Pipeline, QueryDef, QueryShape, StreamDef, Target, WindowedShape,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adhoc::AdHoc;
use crate::alert::{AlertOperator, alert_event_schema};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::late::{late_schema, late_stream_name};
use crate::memory::{MemoryBudget, adhoc_runtime, default_memory_limit};
use crate::order::in_flow_order;
use crate::per_key::Lateness;
use crate::query::{
    Control, Counters, Emitter, FailedResults, InputStreams, Member, OrderedQuery, OrderedSettings, PerKeyQuery,
    PerKeySettings, PerKeyShape, QueryStatus, ResumePoint, SharedInput, StatelessQuery, StatelessSettings,
    WindowedQuery, WindowedSettings, compile_inputs, failed_schema, failed_stream_name, union,
};
use crate::stage::Stage;
use crate::stored_schema::stored_schema;
use crate::tables::Tables;
use crate::views::{Grid, Inlet, Outlet, View, create_view};

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

/// A continuous query of a pipeline: an `INSERT INTO` or an alert.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ContinuousQuery<'a> {
    Insert(&'a QueryDef),
    Alert(&'a AlertDef),
}

impl<'a> ContinuousQuery<'a> {
    pub(crate) fn all(pipeline: &'a Pipeline) -> Vec<Self> {
        let inserts = pipeline.queries.iter().map(Self::Insert);
        inserts.chain(pipeline.alerts.values().map(Self::Alert)).collect()
    }

    /// Its name; an alert and an insert may be called the same.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Insert(query) => query.name.clone(),
            Self::Alert(alert) => format!("alert.{}", alert.name),
        }
    }

    fn sql(&self) -> &'a str {
        match self {
            Self::Insert(query) => &query.sql,
            Self::Alert(alert) => &alert.sql,
        }
    }

    fn shape(&self) -> &'a QueryShape {
        match self {
            Self::Insert(query) => &query.shape,
            Self::Alert(alert) => &alert.shape,
        }
    }

    /// When it emits.
    fn emit(&self) -> Emit {
        match self {
            Self::Insert(query) => query.emit,
            Self::Alert(alert) => alert.emit,
        }
    }

    /// The streams it reads.
    pub(crate) fn reads(&self) -> Vec<&'a str> {
        self.shape().streams()
    }

    /// What it does by key, where the watermark of its stream is kept per key.
    fn per_key(&self, pipeline: &Pipeline) -> Option<PerKeyShape<'a>> {
        let is_per_key = |name: &str| {
            let event_time = pipeline.streams.get(name).and_then(|stream| stream.event_time.as_ref());
            event_time.is_some_and(|event_time| !event_time.key.is_empty())
        };
        let shape = self.shape();
        let any = shape.streams().into_iter().any(is_per_key);
        // What raises an alert must not depend on when rows arrive: it is told of the last result of a window.
        let lateness = Lateness { us: self.emit().lateness_us, last_only: matches!(self, Self::Alert(_)) };
        any.then(|| PerKeyShape::of(shape, lateness)).flatten()
    }

    /// The stream or view it writes that other queries may read, if any.
    pub(crate) fn writes(&self) -> Option<&'a str> {
        match self {
            Self::Insert(QueryDef { target: Target::Stream(into) | Target::View(into), .. }) => Some(into),
            _ => None,
        }
    }

    /// The sink that its rows or events go to, if any.
    fn sink(&self) -> Option<&'a str> {
        match self {
            Self::Insert(QueryDef { target: Target::Sink(sink), .. }) => Some(sink),
            Self::Insert(_) => None,
            Self::Alert(alert) => Some(&alert.sink),
        }
    }

    /// Whether a sink reads the query's stream itself and runs the query as it reads.
    fn runs_in_sink(&self) -> bool {
        matches!((self, self.shape()), (Self::Insert(_), QueryShape::Stateless { .. })) && self.writes().is_none()
    }

    /// The stream that its rows or events go to.
    fn output_stream(&self) -> String {
        match self {
            Self::Insert(QueryDef { target: Target::Stream(into) | Target::View(into), .. }) => into.clone(),
            Self::Insert(query) => format!("out.{}", query.name),
            Self::Alert(alert) => format!("alerts.{}", alert.name),
        }
    }
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

/// A stream with the stream of its late rows.
#[derive(Debug, Clone)]
struct Streams {
    stream: Stream,
    late: Stream,
}

async fn create_streams(log: &Log, definition: &StreamDef) -> Result<Streams> {
    let retention = Retention { max_age: definition.retention, max_bytes: definition.max_size_bytes };
    let spec = StreamSpec {
        partitions: definition.partitions,
        partition_key: definition.partition_by.clone(),
        retention,
        ..StreamSpec::new(&definition.name, Arc::clone(&definition.schema))
    };
    let late = late_stream_name(&definition.name);
    let late = StreamSpec { retention, ..StreamSpec::new(late, late_schema(&definition.schema)) };
    Ok(Streams { stream: log.create_stream(spec).await?, late: log.create_stream(late).await? })
}

/// Opens queries while the engine starts.
struct Opener<'a> {
    engine: &'a Engine,
    streams: HashMap<String, Streams>,
    clock: Arc<dyn Clock>,
    deployment: String,
    checkpoint_rows: Option<u64>,
    memory: MemoryBudget,
}

enum Opened {
    Windowed(Box<WindowedQuery>),
    Stateless(Box<StatelessQuery>),
    Ordered(Box<OrderedQuery>),
    PerKey(Box<PerKeyQuery>),
    /// It cannot run.
    Stopped(Error),
}

/// Name and status of a query.
type Named = (String, Arc<QueryStatus>);

impl Opener<'_> {
    /// The queries that share panes, together; in the order of the first of each.
    fn sharing<'q>(&self, queries: Vec<ContinuousQuery<'q>>) -> Result<Vec<Vec<ContinuousQuery<'q>>>> {
        let mut groups: Vec<(Option<SharedInput<'q>>, Vec<ContinuousQuery<'q>>)> = Vec::new();
        for query in queries {
            let shape = match query.shape() {
                QueryShape::Windowed(shape) if query.per_key(&self.engine.pipeline).is_none() => shape,
                _ => {
                    groups.push((None, vec![query]));
                    continue;
                }
            };
            let stream = &self.streams.get(&shape.stream).expect("the checker resolved every stream").stream;
            let resume = ResumePoint::of(&self.engine.log, &query.name(), query.sql(), stream)?;
            let input = SharedInput::of(query.shape(), query.emit(), resume);
            match groups.iter_mut().find(|(known, _)| known.is_some() && *known == input) {
                Some((_, sharing)) => sharing.push(query),
                None => groups.push((input, vec![query])),
            }
        }
        Ok(groups.into_iter().map(|(_, queries)| queries).collect())
    }

    /// Opens windowed queries that share panes.
    async fn open_windowed(&self, queries: &[(ContinuousQuery<'_>, &WindowedShape)]) -> Result<(Vec<Named>, Opened)> {
        let Engine { log, tables, .. } = self.engine;
        let shapes: Vec<&WindowedShape> = queries.iter().map(|(_, shape)| *shape).collect();
        let (shape, columns) = union(&shapes);
        let streams = self.streams.get(&shape.stream).expect("the checker resolved every stream").clone();
        let (mut named, mut members) = (Vec::new(), Vec::new());
        for ((query, own), columns) in queries.iter().zip(columns) {
            let name = query.name();
            let status = Arc::new(QueryStatus::default());
            let counters = Counters::new(&name, Arc::clone(&status), self.memory.account(&name));
            let failed = self.failed_stream(&name, false, &streams.stream).await?;
            let output = Stage::over_placeholder(&own.output, Arc::clone(tables)).await?;
            let results = FailedResults::new(&failed, &counters);
            members.push(Member {
                sql: query.sql().to_owned(),
                columns,
                emitter: self.emitter(*query, &output, false, results).await?,
                output,
                failed_results: FailedResults::below(&own.output, &failed, &counters),
                failed,
                counters,
                name: name.clone(),
            });
            named.push((name, status));
        }
        let (event_time, inlet) = self.event_time(&shape.stream, shape.time_column);
        let settings = WindowedSettings {
            members,
            shape: &shape,
            emit: queries[0].0.emit(),
            event_time: &event_time,
            inlet,
            log,
            stream: streams.stream,
            late: streams.late,
            tables: Arc::clone(tables),
            clock: Arc::clone(&self.clock),
            checkpoint_rows: self.checkpoint_rows,
        };
        Ok((named, Opened::Windowed(Box::new(WindowedQuery::open(settings).await?))))
    }

    /// Opens queries that share panes, or a single one.
    async fn open(&self, queries: &[ContinuousQuery<'_>]) -> Result<(Vec<Named>, Opened)> {
        let pipeline = &self.engine.pipeline;
        let windowed = queries.iter().filter_map(|query| match query.shape() {
            QueryShape::Windowed(shape) if query.per_key(pipeline).is_none() => Some((*query, shape.as_ref())),
            _ => None,
        });
        let windowed: Vec<_> = windowed.collect();
        if !windowed.is_empty() {
            return self.open_windowed(&windowed).await;
        }
        let query = queries[0];
        let name = query.name();
        let status = Arc::new(QueryStatus::default());
        let counters = Counters::new(&name, Arc::clone(&status), self.memory.account(&name));
        let Engine { log, pipeline, tables, .. } = self.engine;
        let mut reads = Vec::new();
        for stream in query.reads() {
            let streams = self.streams.get(stream).expect("the checker resolved every stream").clone();
            let known = reads.iter().position(|(read, _): &(Streams, Stream)| read.stream.id() == streams.stream.id());
            let failed = match known {
                Some(known) => reads[known].1.clone(),
                None => self.failed_stream(&name, !reads.is_empty(), &streams.stream).await?,
            };
            reads.push((streams, failed));
        }
        let (streams, failed) = reads[0].clone();
        let results = FailedResults::new(&failed, &counters);
        if let Some(shape) = query.per_key(pipeline) {
            let output = shape.output(tables).await?;
            let emitter = self.emitter(query, &output, true, results).await?;
            let event_time = pipeline.streams[streams.stream.name()].event_time.as_ref();
            let settings = PerKeySettings {
                name: &name,
                sql: query.sql(),
                shape,
                event_time: event_time.expect("a watermark per key is one"),
                log,
                stream: streams.stream,
                late: streams.late,
                failed,
                tables: Arc::clone(tables),
                counters,
                snapshot_rows: self.checkpoint_rows,
            };
            let opened = Opened::PerKey(Box::new(PerKeyQuery::open(settings, output, emitter).await?));
            return Ok((vec![(name, status)], opened));
        }
        let opened = match query.shape() {
            QueryShape::Stateless { stream, input } => {
                let stage = Stage::over_stream(input, stream, Arc::clone(tables)).await?;
                let emitter = self.emitter(query, &stage, true, results).await?;
                let (stream, tables) = (streams.stream, Arc::clone(tables));
                let settings = StatelessSettings { name: &name, log, stream, failed, tables, counters };
                Opened::Stateless(Box::new(StatelessQuery::open(settings, stage, emitter)?))
            }
            QueryShape::Windowed(_) => unreachable!("opened above"),
            QueryShape::Ordered(shape) => {
                let output = Stage::over_placeholder_rows(&shape.output, Arc::clone(tables)).await?;
                let emitter = self.emitter(query, &output, true, results).await?;
                let inputs = reads.into_iter().zip(&shape.inputs).map(|((streams, failed), input)| {
                    let (event_time, inlet) = self.event_time(&input.stream, input.time_column);
                    InputStreams { stream: streams.stream, late: streams.late, failed, event_time, inlet }
                });
                let settings = OrderedSettings {
                    name: &name,
                    sql: query.sql(),
                    shape,
                    log,
                    inputs: inputs.collect(),
                    tables: Arc::clone(tables),
                    clock: Arc::clone(&self.clock),
                    counters,
                    snapshot_rows: self.checkpoint_rows,
                };
                Opened::Ordered(Box::new(OrderedQuery::open(settings, output, emitter).await?))
            }
        };
        Ok((vec![(name, status)], opened))
    }

    /// The event time of a stream, or of a view with what is told about its rows.
    fn event_time(&self, stream: &str, column: usize) -> (EventTime, Option<Inlet>) {
        match self.engine.views.get(stream) {
            Some(view) => (view.event_time(column), view.inlet(column)),
            None => {
                let event_time = self.engine.pipeline.streams[stream].event_time.clone();
                (event_time.expect("the checker refuses what needs a watermark where there is none"), None)
            }
        }
    }

    /// The stream of the rows of one stream that a query fails on; of a further stream, it is named after that too.
    async fn failed_stream(&self, query: &str, is_further: bool, stream: &Stream) -> Result<Stream> {
        let name = match is_further {
            false => failed_stream_name(query),
            true => failed_stream_name(&format!("{query}.{}", stream.name())),
        };
        let retention = stream.spec().retention;
        let spec = StreamSpec { retention, ..StreamSpec::new(name, failed_schema(stream.schema())) };
        Ok(self.engine.log.create_stream(spec).await?)
    }

    /// The end of a query whose rows have the stage's columns, but for a last index where `has_row_index`.
    async fn emitter(
        &self,
        query: ContinuousQuery<'_>,
        stage: &Stage,
        has_row_index: bool,
        failed: FailedResults,
    ) -> Result<Emitter> {
        let log = &self.engine.log;
        let name = query.output_stream();
        match query {
            ContinuousQuery::Alert(alert) => {
                let events = log.create_stream(StreamSpec::new(name, alert_event_schema())).await?;
                let deployment = self.deployment.clone();
                let operator = AlertOperator::open(alert, stage.df_schema(), events.id(), failed, log, deployment)?;
                Ok(Emitter::Alert(Box::new(operator)))
            }
            ContinuousQuery::Insert(QueryDef { target: Target::View(into), .. }) => {
                let view = &self.engine.views[into];
                let grid = match query.shape() {
                    QueryShape::Windowed(shape) => Grid::of(&shape.window),
                    QueryShape::Ordered(_) | QueryShape::Stateless { .. } => Grid::SECONDS,
                };
                let outlet = Outlet::new(log, &view.stream, &view.told, grid);
                Ok(Emitter::View { stream: view.stream.clone(), gathered: Vec::new(), outlet })
            }
            ContinuousQuery::Insert(_) if query.writes().is_some() => {
                Ok(Emitter::Stream(self.streams.get(&name).expect("the checker resolved every target").stream.clone()))
            }
            ContinuousQuery::Insert(_) => {
                let schema = stage.schema();
                let columns = schema.fields().len() - usize::from(has_row_index);
                let schema = Schema::new(schema.fields()[..columns].to_vec());
                let schema = stored_schema(log, &name, &Arc::new(schema));
                let retention = Retention { max_age: Some(OUTPUT_RETENTION), max_bytes: None };
                let spec = StreamSpec { retention, ..StreamSpec::new(name, schema) };
                Ok(Emitter::Stream(log.create_stream(spec).await?))
            }
        }
    }
}

/// How long rows on their way to a sink are kept once it has taken them.
const OUTPUT_RETENTION: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

impl Opened {
    fn spawn(self, runtime: &Runtime, queries: Vec<Named>) -> RunningQuery {
        let (control, wanted) = watch::channel(Control::Run);
        let reported = queries.clone();
        let task = runtime.spawn(async move {
            let ended = match self {
                Self::Windowed(query) => query.run(wanted).await,
                Self::Stateless(query) => query.run(wanted).await,
                Self::Ordered(query) => query.run(wanted).await,
                Self::PerKey(query) => query.run(wanted).await,
                Self::Stopped(error) => Err(error),
            };
            ended.map_err(|error| {
                let error = in_query(&reported[0].0, error);
                for (query, status) in &reported {
                    tracing::error!(query, %error, "query stopped");
                    status.fail(query, &error);
                }
                error
            })
        });
        RunningQuery { queries, control, task }
    }
}

/// Removes the snapshots that no query goes on from: of queries that were grouped in another way. One that stays because of
/// an error is only space.
fn remove_forgotten_snapshots(log: &Log) {
    let referred: Vec<_> = log.values("query/").into_iter().filter(|(name, _)| name.contains("/snapshot")).collect();
    for file in log.state_files().unwrap_or_default() {
        if file.ends_with(".snapshot") && !referred.iter().any(|(_, value)| value.as_slice() == file.as_bytes()) {
            let _ = log.remove_state_file(&file);
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
