//! The engine: a pipeline's continuous queries, running over a log.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use thermocline_log::{Log, Retention, Stream, StreamSpec};
use thermocline_sql::{AlertDef, Emit, EventTime, EventTimes, Pipeline, QueryDef, QueryShape, StreamDef, Target};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adhoc::AdHoc;
use crate::alert::{AlertOperator, alert_event_schema};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::late::{late_schema, late_stream_name};
use crate::order::in_flow_order;
use crate::query::{
    Control, Counters, Emitter, InputStreams, OrderedQuery, OrderedSettings, QueryStatus, StatelessQuery,
    StatelessSettings, WindowedQuery, WindowedSettings, compile_inputs, failed_schema, failed_stream_name,
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
}

/// The running queries of a pipeline.
#[derive(Debug)]
pub struct Engine {
    log: Log,
    pipeline: Pipeline,
    tables: Arc<Tables>,
    views: HashMap<String, View>,
    /// Keep the current rows of views up to date.
    followers: Vec<JoinHandle<()>>,
    running: Vec<RunningQuery>,
    /// Queries keep cores busy: they have threads of their own, so that doors and sinks answer meanwhile.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct RunningQuery {
    name: String,
    control: watch::Sender<Control>,
    task: JoinHandle<Result<()>>,
    status: Arc<QueryStatus>,
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
        let EngineSettings { log, pipeline, clock, deployment, checkpoint_rows } = settings;
        let tables = Arc::new(Tables::load(pipeline.tables.values(), Arc::clone(&clock)).await?);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_name("thermocline-engine").enable_all().build();
        let runtime = runtime.map_err(|source| Error::Io { action: "start threads in", path: log.dir(), source })?;
        // From here on a failure drops an engine, which knows how to end its threads.
        let (views, followers, running) = (HashMap::new(), Vec::new(), Vec::new());
        let mut engine = Self { log, pipeline, tables, views, followers, running, runtime: Some(runtime) };
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
        let opener = Opener { engine: &engine, streams, clock, deployment, checkpoint_rows };
        let mut opened = Vec::new();
        for query in in_flow_order(&ContinuousQuery::all(&engine.pipeline))? {
            if !query.runs_in_sink() {
                opened.push(opener.open(query).await.map_err(|error| in_query(&query.name(), error))?);
            }
        }
        let runtime = engine.runtime.as_ref().expect("just made");
        let running = opened.into_iter().map(|(name, status, query)| query.spawn(runtime, name, status)).collect();
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
        AdHoc::new(self.log.clone(), Arc::clone(&self.tables), views, materialized.collect(), event_times)
    }

    /// Name and status of every running query, in the order rows flow.
    pub fn status(&self) -> impl Iterator<Item = (&str, &Arc<QueryStatus>)> {
        self.running.iter().map(|query| (query.name.as_str(), &query.status))
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
}

enum Opened {
    Windowed(Box<WindowedQuery>),
    Stateless(Box<StatelessQuery>),
    Ordered(Box<OrderedQuery>),
}

impl Opener<'_> {
    async fn open(&self, query: ContinuousQuery<'_>) -> Result<(String, Arc<QueryStatus>, Opened)> {
        let name = query.name();
        let status = Arc::new(QueryStatus::default());
        let counters = Counters::new(&name, Arc::clone(&status));
        let Engine { log, tables, .. } = self.engine;
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
        let opened = match query.shape() {
            QueryShape::Stateless { stream, input } => {
                let stage = Stage::over_stream(input, stream, Arc::clone(tables)).await?;
                let emitter = self.emitter(query, &stage, true).await?;
                let (stream, tables) = (streams.stream, Arc::clone(tables));
                let settings = StatelessSettings { name: &name, log, stream, failed, tables, counters };
                Opened::Stateless(Box::new(StatelessQuery::open(settings, stage, emitter)?))
            }
            QueryShape::Windowed(shape) => {
                let output = Stage::over_placeholder(&shape.output, Arc::clone(tables)).await?;
                let emitter = self.emitter(query, &output, false).await?;
                let (event_time, inlet) = self.event_time(&shape.stream, shape.time_column);
                let settings = WindowedSettings {
                    name: &name,
                    sql: query.sql(),
                    shape,
                    emit: query.emit(),
                    event_time: &event_time,
                    inlet,
                    log,
                    stream: streams.stream,
                    late: streams.late,
                    failed,
                    tables: Arc::clone(tables),
                    clock: Arc::clone(&self.clock),
                    counters,
                    checkpoint_rows: self.checkpoint_rows,
                };
                Opened::Windowed(Box::new(WindowedQuery::open(settings, output, emitter).await?))
            }
            QueryShape::Ordered(shape) => {
                let output = Stage::over_placeholder_rows(&shape.output, Arc::clone(tables)).await?;
                let emitter = self.emitter(query, &output, true).await?;
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
        Ok((name, status, opened))
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
    async fn emitter(&self, query: ContinuousQuery<'_>, stage: &Stage, has_row_index: bool) -> Result<Emitter> {
        let log = &self.engine.log;
        let name = query.output_stream();
        match query {
            ContinuousQuery::Alert(alert) => {
                let events = log.create_stream(StreamSpec::new(name, alert_event_schema())).await?;
                let deployment = self.deployment.clone();
                let operator = AlertOperator::open(alert, stage.df_schema(), events.id(), log, deployment)?;
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
    fn spawn(self, runtime: &Runtime, name: String, status: Arc<QueryStatus>) -> RunningQuery {
        let (control, wanted) = watch::channel(Control::Run);
        let reported = Arc::clone(&status);
        let query = name.clone();
        let task = runtime.spawn(async move {
            let ended = match self {
                Self::Windowed(query) => query.run(wanted).await,
                Self::Stateless(query) => query.run(wanted).await,
                Self::Ordered(query) => query.run(wanted).await,
            };
            ended.map_err(|error| {
                let error = in_query(&query, error);
                tracing::error!(query, %error, "query stopped");
                reported.fail(&error);
                error
            })
        });
        RunningQuery { name, control, task, status }
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
        if let Err(error) = compile(*query, &tables).await {
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

async fn compile(query: ContinuousQuery<'_>, tables: &Arc<Tables>) -> Result<()> {
    match query.shape() {
        QueryShape::Stateless { stream, input } => {
            Stage::over_stream(input, stream, Arc::clone(tables)).await?;
        }
        QueryShape::Windowed(shape) => {
            let stage = Stage::over_stream(&shape.input, &shape.stream, Arc::clone(tables)).await?;
            crate::window::WindowAggregate::try_new(shape, stage.df_schema())?;
            Stage::over_placeholder(&shape.output, Arc::clone(tables)).await?;
        }
        QueryShape::Ordered(shape) => {
            crate::ordered::operator(shape, &compile_inputs(shape, tables).await?)?;
            Stage::over_placeholder_rows(&shape.output, Arc::clone(tables)).await?;
        }
    }
    Ok(())
}
