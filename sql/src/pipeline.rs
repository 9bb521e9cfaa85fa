//! The checked pipeline: what a folder of SQL means, with every name resolved and every type known.
//!
//! Plans in here are DataFusion logical plans after type coercion. A stream is scanned as a table of its
//! declared columns; a window function in FROM is a [`WindowNode`](crate::WindowNode).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{Expr, LogicalPlan};
use indexmap::IndexMap;

use crate::shape::QueryShape;
use crate::source::Span;

/// Options of a `WITH (…)` clause, keys in lower case. Secrets are resolved when the pipeline is started, not here.
pub type Options = BTreeMap<String, OptionEntry>;

/// An option and where its value was written.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionEntry {
    /// The value.
    pub value: OptionValue,
    /// Where it was written.
    pub span: Span,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A literal: text, or a number or boolean as it was written.
    Literal(String),
    /// `secret('NAME')`: read from the environment variable `NAME`, or from the file named by `NAME_FILE`.
    Secret(String),
}

/// A checked folder (or file) of statements.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// `CREATE STREAM`, by name.
    pub streams: IndexMap<String, StreamDef>,
    /// `CREATE TABLE`, by name.
    pub tables: IndexMap<String, TableDef>,
    /// `CREATE VIEW`, by name: its text and plan.
    pub views: IndexMap<String, ViewDef>,
    /// `CREATE MATERIALIZED VIEW`, and the parts of queries whose rows another part reads, by name.
    pub materialized: IndexMap<String, MaterializedDef>,
    /// `CREATE SINK`, by name.
    pub sinks: IndexMap<String, SinkDef>,
    /// `INSERT INTO … SELECT` and `CREATE SINK … AS SELECT`, in the order they were written.
    pub queries: Vec<QueryDef>,
    /// `CREATE ALERT`, by name.
    pub alerts: IndexMap<String, AlertDef>,
}

/// `CREATE STREAM`.
#[derive(Debug, Clone)]
pub struct StreamDef {
    /// Name.
    pub name: String,
    /// Columns; `TIMESTAMP` is `Timestamp(µs, "UTC")`.
    pub schema: SchemaRef,
    /// Columns that are `METADATA`: doors fill them, they are no part of a row that comes in.
    pub metadata: Vec<MetadataColumn>,
    /// The event time, where a `WATERMARK` was declared.
    pub event_time: Option<EventTime>,
    /// Columns of `PARTITION BY`.
    pub partition_by: Vec<String>,
    /// Number of partitions.
    pub partitions: u32,
    /// How long rows are kept, unlimited when `None`.
    pub retention: Option<Duration>,
    /// Size limit in bytes, unlimited when `None`.
    pub max_size_bytes: Option<u64>,
    /// Unit of numeric timestamps in the input.
    pub timestamp_unit: TimestampUnit,
    /// `connector = '…'`, where rows come from a connector.
    pub connector: Option<String>,
    /// All other options (those of the connector and of the gateway bindings).
    pub options: Options,
    /// Where it was written.
    pub span: Span,
    /// Folder that relative paths in options start from.
    pub base_dir: PathBuf,
}

/// `name TYPE METADATA FROM '…'`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataColumn {
    /// Index of the column in the stream's schema.
    pub column: usize,
    /// What it is.
    pub metadata: Metadata,
}

/// What a door may know of a row beside the row itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// `'key'`: the message's key, text.
    Key,
    /// `'topic'`: the topic or file that it came from, text.
    Topic,
    /// `'timestamp'`: when it arrived.
    Timestamp,
    /// `'headers'`: the headers that it came with, a JSON object as text.
    Headers,
}

/// `WATERMARK FOR column AS column - delay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Index of the column in the stream's schema.
    pub column: usize,
    /// The watermark follows the highest event time at this distance, in microseconds.
    pub delay_us: i64,
    /// A row whose event time is further than this ahead of the clock at its arrival is rejected by the gateway
    /// (`max_skew` option, 1 hour when not given), in microseconds; `None` (`max_skew = 'none'`) accepts any.
    pub max_skew_us: Option<i64>,
    /// A partition without rows for this long (wall clock) stops holding the watermark back (`idle_timeout` option,
    /// 30 seconds when not given; `'none'` waits for ever).
    pub idle_timeout: Option<Duration>,
    /// Columns of `PER`, as indices into the stream's schema: each of their values has a watermark of its own, and all its rows
    /// are in one partition. Without any, each partition has one.
    pub key: Vec<usize>,
}

/// Unit of numeric timestamps in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampUnit {
    /// `'s'`
    Second,
    /// `'ms'`, the default
    #[default]
    Millisecond,
    /// `'us'`
    Microsecond,
    /// `'ns'`
    Nanosecond,
}

/// `CREATE TABLE … WITH (location = …)`: a finite reference table.
#[derive(Debug, Clone)]
pub struct TableDef {
    /// Name.
    pub name: String,
    /// Declared columns.
    pub schema: SchemaRef,
    /// Columns of the primary key.
    pub primary_key: Vec<String>,
    /// Path, resolved against the folder of the statement.
    pub location: PathBuf,
    /// `csv`, `json` or `parquet`; from the file's extension when not given.
    pub format: TableFormat,
    /// How often it is read again; never when `None`.
    pub refresh: Option<Duration>,
    /// Where it was written.
    pub span: Span,
}

/// Format of a reference table's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// CSV with a header line.
    Csv,
    /// JSON lines.
    Json,
    /// Parquet.
    Parquet,
}

/// `CREATE VIEW`.
#[derive(Debug, Clone)]
pub struct ViewDef {
    /// Name.
    pub name: String,
    /// The query's text, for the catalog of ad-hoc queries.
    pub sql: String,
    /// Its plan.
    pub plan: LogicalPlan,
    /// Where it was written.
    pub span: Span,
}

/// `CREATE MATERIALIZED VIEW`, or a part of a query: rows that a continuous query keeps in a stream of the log.
#[derive(Debug, Clone)]
pub struct MaterializedDef {
    /// What queries call it.
    pub name: String,
    /// The stream of the log that holds its rows.
    pub stream: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Columns whose values a row takes the place of an earlier one by; none where every row stays.
    pub key: Vec<usize>,
    /// Columns that a query over it can go by in event time, the usual one first.
    pub times: Vec<ViewTime>,
    /// Whether rows take the place of earlier ones before they are final.
    pub has_updates: bool,
    /// Whether it was declared, and can be queried by its name.
    pub is_declared: bool,
    /// How long rows are kept, unlimited when `None`.
    pub retention: Option<Duration>,
    /// Where it was written.
    pub span: Span,
}

/// A time column of rows that a continuous query keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewTime {
    /// Index of the column.
    pub column: usize,
    /// When the query that makes the rows has seen watermark `w`, no row before `w + ahead_us` comes any more; in
    /// microseconds.
    pub ahead_us: i64,
    /// How far a row may be behind the latest one, in microseconds.
    pub disorder_us: i64,
}

/// `CREATE SINK`.
#[derive(Debug, Clone)]
pub struct SinkDef {
    /// Name.
    pub name: String,
    /// `pagerduty`, `webhook`, `influxdb`, `delta`, `parquet`, `console`.
    pub connector: String,
    /// All other options.
    pub options: Options,
    /// Where it was written.
    pub span: Span,
    /// Folder that relative paths in options start from.
    pub base_dir: PathBuf,
}

/// Where a continuous query's rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into a stream; columns are matched by position and coerced to the stream's types.
    Stream(String),
    /// Into a sink.
    Sink(String),
    /// Into what holds the rows of a materialized view, or of a part of a query.
    View(String),
}

/// When a windowed query emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emit {
    /// What is emitted of a window that is not closed.
    pub early: Early,
    /// `ALLOW LATENESS`: for so long after its end, by the watermark, a window takes rows and is corrected; in
    /// microseconds, 0 when not given.
    pub lateness_us: i64,
}

/// What is emitted of a window that is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Early {
    /// `EMIT ON WINDOW CLOSE`: nothing.
    #[default]
    Nothing,
    /// `EMIT ON UPDATE`: groups that rows have changed, at once.
    OnUpdate,
    /// `EMIT EVERY INTERVAL '…'`: groups that rows have changed, at this pace of the clock.
    Every(Duration),
}

impl Emit {
    /// Whether a row may take the place of one that was emitted before.
    #[must_use]
    pub fn has_updates(&self) -> bool {
        self.early != Early::Nothing || self.lateness_us > 0
    }
}

/// A continuous query.
#[derive(Debug, Clone)]
pub struct QueryDef {
    /// Stable name: the target's, with `.2`, `.3` … for further queries into the same target.
    pub name: String,
    /// Where its rows go.
    pub target: Target,
    /// The whole query.
    pub plan: LogicalPlan,
    /// What kind of continuous query it is, with the parts the engine runs.
    pub shape: QueryShape,
    /// When it emits.
    pub emit: Emit,
    /// Where that was written; the statement when it was not.
    pub emit_span: Span,
    /// Where it was written.
    pub span: Span,
    /// The statement's text, for display.
    pub sql: String,
}

/// `CREATE ALERT`.
#[derive(Debug, Clone)]
pub struct AlertDef {
    /// Name.
    pub name: String,
    /// The sink that is notified.
    pub sink: String,
    /// The query the conditions look at.
    pub plan: LogicalPlan,
    /// What kind of continuous query it is.
    pub shape: QueryShape,
    /// When its query emits: an alert takes corrections, and nothing early.
    pub emit: Emit,
    /// Columns of `KEY`, as indices into the query's output.
    pub key: Vec<usize>,
    /// When it is raised and cleared.
    pub rule: AlertRule,
    /// `SEVERITY` (text); `'error'` when not given.
    pub severity: Option<Expr>,
    /// `SUMMARY` (text); a sentence made of the alert's name and key when not given.
    pub summary: Option<Expr>,
    /// Where it was written.
    pub span: Span,
    /// The statement's text, for display.
    pub sql: String,
}

/// When an alert is raised and cleared.
#[derive(Debug, Clone)]
pub enum AlertRule {
    /// `RAISE WHEN condition`
    When(Box<AlertConditions>),
    /// `RAISE WHEN NO DATA FOR`: the shape's operator is an [`Absence`](crate::Absence), which says when.
    NoData,
}

/// The conditions of an alert, over the columns of its query.
#[derive(Debug, Clone)]
pub struct AlertConditions {
    /// Index of the time column in the query's output: `window_end`, or the stream's event time.
    pub time: usize,
    /// `RAISE WHEN` (boolean).
    pub raise: Expr,
    /// `FOR`, in microseconds of event time; 0 when not given.
    pub hold_us: i64,
    /// `CLEAR WHEN` (boolean); the opposite of `raise` when not given.
    pub clear: Option<Expr>,
}
