//! Opens a pipeline's queries while the engine starts: their streams, where their rows go, and which of them share panes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use thermocline_log::{Log, Retention, Stream, StreamSpec};
use thermocline_sql::{EventTime, QueryDef, QueryShape, StreamDef, Target, WindowedShape};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{Engine, RunningQuery, in_query};
use crate::alert::{AlertOperator, alert_event_schema};
use crate::clock::Clock;
use crate::continuous_query::ContinuousQuery;
use crate::error::{Error, Result};
use crate::late::{late_schema, late_stream_name};
use crate::memory::MemoryBudget;
use crate::query::{
    Control, Counters, Emitter, FailedResults, InputStreams, Member, OrderedQuery, OrderedSettings, PerKeyQuery,
    PerKeySettings, QueryStatus, ResumePoint, SharedInput, StatelessQuery, StatelessSettings, WindowedQuery,
    WindowedSettings, failed_schema, failed_stream_name, union,
};
use crate::stage::Stage;
use crate::stored_schema::stored_schema;
use crate::views::{Grid, Inlet, Outlet};

/// A stream with the stream of its late rows.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) stream: Stream,
    pub(super) late: Stream,
}

pub(super) async fn create_streams(log: &Log, definition: &StreamDef) -> Result<Streams> {
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
pub(super) struct Opener<'a> {
    pub(super) engine: &'a Engine,
    pub(super) streams: HashMap<String, Streams>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deployment: String,
    pub(super) checkpoint_rows: Option<u64>,
    pub(super) memory: MemoryBudget,
}

pub(super) enum Opened {
    Windowed(Box<WindowedQuery>),
    Stateless(Box<StatelessQuery>),
    Ordered(Box<OrderedQuery>),
    PerKey(Box<PerKeyQuery>),
    /// It cannot run.
    Stopped(Error),
}

/// Name and status of a query.
pub(super) type Named = (String, Arc<QueryStatus>);

impl Opener<'_> {
    /// The queries that share panes, together; in the order of the first of each.
    pub(super) fn sharing<'q>(&self, queries: Vec<ContinuousQuery<'q>>) -> Result<Vec<Vec<ContinuousQuery<'q>>>> {
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
    pub(super) async fn open(&self, queries: &[ContinuousQuery<'_>]) -> Result<(Vec<Named>, Opened)> {
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
                let mut stages = vec![stage];
                for _ in 1..streams.stream.partitions() {
                    stages.push(Stage::over_stream(input, stream, Arc::clone(tables)).await?);
                }
                let (stream, tables) = (streams.stream, Arc::clone(tables));
                let settings = StatelessSettings { name: &name, log, stream, failed, tables, counters };
                Opened::Stateless(Box::new(StatelessQuery::open(settings, stages, emitter)?))
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
    pub(super) fn spawn(self, runtime: &Runtime, queries: Vec<Named>) -> RunningQuery {
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
pub(super) fn remove_forgotten_snapshots(log: &Log) {
    let values = log.values("query/").into_iter().filter(|(name, _)| name.contains("/snapshot"));
    let values: Vec<String> = values.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect();
    let referred: HashSet<&str> = values.iter().flat_map(|files| files.lines()).collect();
    for file in log.state_files().unwrap_or_default() {
        if file.ends_with(".snapshot") && !referred.contains(file.as_str()) {
            let _ = log.remove_state_file(&file);
        }
    }
}
