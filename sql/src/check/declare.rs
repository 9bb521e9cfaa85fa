//! `CREATE STREAM`, `CREATE TABLE` and `CREATE SINK`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use sqlparser::ast::{BinaryOperator, DataType as SqlType, Expr, Ident};

use super::Checker;
use super::options::OptionReader;
use crate::ast::{ColumnDef, CreateSink, CreateStream, CreateTable, Statement, Watermark};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::nodes::timestamp_type;
use crate::parse::normalized;
use crate::pipeline::{EventTime, OptionEntry, SinkDef, StreamDef, TableDef, TableFormat, TimestampUnit};
use crate::suggest;
use crate::types::{TYPE_NAMES, TYPES_SHOWN, arrow_type, sql_name};
use crate::units;

/// How far a row's event time may be ahead of the clock, unless `max_skew` says otherwise.
const DEFAULT_MAX_SKEW_US: i64 = 3_600_000_000;

/// A partition without rows stops holding the watermark back after this long, unless the stream says otherwise.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// More partitions than this on one machine only cost.
const MAX_PARTITIONS: u32 = 1024;
const STREAM_FORMATS: [&str; 5] = ["json", "ndjson", "csv", "parquet", "arrow"];
/// Formats of reference tables that the dialect has and that are not built yet.
const LATER_TABLE_FORMATS: [&str; 3] = ["delta", "postgres", "postgresql"];

/// The options that go with the watermark.
#[derive(Default)]
struct TimeOptions {
    max_skew_us: Option<i64>,
    idle_timeout: Option<Duration>,
}

impl Checker {
    pub(super) fn stream(&mut self, statement: &Statement, stream: &CreateStream) {
        let schema = self.schema(statement, &stream.columns);
        let metadata = self.metadata(statement, &stream.columns, &schema);
        let partition_by = self.columns_named(statement, &stream.partition_by, &schema);
        for (ident, name) in stream.partition_by.iter().zip(&partition_by) {
            if let Ok(field) = schema.field_with_name(name)
                && field.data_type().is_floating()
            {
                let message = format!("\"{name}\" is of type {}, which is no key", sql_name(field.data_type()));
                let span = statement.span(ident.span);
                let hint = "partition by text, whole numbers, times or truth values";
                self.found.push(Diagnostic::error(codes::COLUMN_TYPE, span, message).hint(hint));
            }
        }
        let event_time = stream.watermark.as_ref().and_then(|watermark| self.event_time(statement, watermark, &schema));
        let key = self.watermark_key(statement, stream, &schema, &partition_by);
        let mut options = OptionReader::new(statement, &stream.options, &mut self.found);
        let partitions = partitions(&mut options);
        let retention = options.duration("retention");
        let max_size_bytes = max_size(&mut options);
        let connector = options.text("connector").map(|(connector, _)| connector.to_lowercase());
        let format = options.text("format").map(|(format, option)| {
            // A connector has formats of its own, which the gateway knows.
            if connector.is_none() && !STREAM_FORMATS.contains(&format.to_lowercase().as_str()) {
                let hint = suggest::hint(format, STREAM_FORMATS);
                options.wrong(option, &format!("no format \"{format}\""), hint.as_deref());
            }
            option
        });
        let timestamp_unit = timestamp_unit(&mut options);
        let time = time_options(&mut options, stream.watermark.as_ref());
        let mut options = options.finish(|key| connector.is_some() || key.contains('.'));
        options.extend(format.map(|option| {
            let entry = OptionEntry { value: option.value.clone(), span: statement.span(option.value_at) };
            (option.key.clone(), entry)
        }));
        let name = normalized(&stream.name);
        let event_time = event_time.map(|(column, delay_us)| EventTime {
            column,
            delay_us,
            max_skew_us: time.max_skew_us,
            idle_timeout: time.idle_timeout,
            key,
        });
        let definition = StreamDef {
            name: name.clone(),
            schema,
            metadata,
            event_time,
            partition_by,
            partitions,
            retention,
            max_size_bytes,
            timestamp_unit,
            connector,
            options,
            span: statement.span(stream.name.span),
            base_dir: base_dir(statement),
        };
        self.event_times.insert(&name, definition.event_time.as_ref().map(|time| time.column));
        self.pipeline.streams.insert(name, definition);
    }

    fn schema(&mut self, statement: &Statement, columns: &[ColumnDef]) -> SchemaRef {
        let mut fields = Vec::with_capacity(columns.len());
        let mut names = HashSet::new();
        for column in columns {
            let name = normalized(&column.name);
            if !names.insert(name.clone()) {
                let message = format!("two columns are called \"{name}\"");
                self.found.push(Diagnostic::error(codes::DUPLICATE_COLUMN, statement.span(column.name.span), message));
                continue;
            }
            let data_type = arrow_type(&column.data_type).unwrap_or_else(|| {
                self.no_type(statement, column);
                DataType::Null
            });
            fields.push(Field::new(name, data_type, !column.not_null));
        }
        Arc::new(Schema::new(fields))
    }

    fn no_type(&mut self, statement: &Statement, column: &ColumnDef) {
        let name = match &column.data_type {
            SqlType::Custom(name, _) => name.to_string(),
            other => other.to_string(),
        };
        let hint = match &column.data_type {
            SqlType::Decimal(_) | SqlType::Numeric(_) => {
                "DECIMAL(p, s) has 1 to 38 digits, 0 to p of them after the point".to_owned()
            }
            SqlType::Timestamp(..) => "times are kept in microseconds: write TIMESTAMP".to_owned(),
            _ => match suggest::closest(&name, TYPE_NAMES) {
                Some(close) => format!("did you mean {close}?"),
                None => format!("there is {TYPES_SHOWN}"),
            },
        };
        let span = statement.span(column.type_at);
        self.found.push(Diagnostic::error(codes::NO_TYPE, span, format!("no type \"{name}\"")).hint(hint));
    }

    /// The columns' names, of those that exist.
    pub(super) fn columns_named(&mut self, statement: &Statement, idents: &[Ident], schema: &SchemaRef) -> Vec<String> {
        let mut names = Vec::new();
        for ident in idents {
            let name = normalized(ident);
            if schema.field_with_name(&name).is_err() {
                self.found.push(no_column(statement, ident, schema));
            } else if names.contains(&name) {
                let message = format!("the column \"{name}\" is named twice");
                self.found.push(Diagnostic::error(codes::DUPLICATE_COLUMN, statement.span(ident.span), message));
            } else {
                names.push(name);
            }
        }
        names
    }

    /// The event-time column and the watermark's delay in microseconds.
    fn event_time(&mut self, statement: &Statement, watermark: &Watermark, schema: &SchemaRef) -> Option<(usize, i64)> {
        let name = normalized(&watermark.column);
        let Ok(column) = schema.index_of(&name) else {
            self.found.push(no_column(statement, &watermark.column, schema));
            return None;
        };
        let data_type = schema.field(column).data_type();
        if *data_type == DataType::Null {
            return None;
        }
        if *data_type != timestamp_type() {
            let message = format!("\"{name}\" is of type {}, not TIMESTAMP", sql_name(data_type));
            let span = statement.span(watermark.column.span);
            let hint = "the event time of a stream is a TIMESTAMP column";
            self.found.push(Diagnostic::error(codes::WATERMARK, span, message).hint(hint));
            return None;
        }
        match delay_us(&watermark.expr, &name) {
            Ok(delay_us) => Some((column, delay_us)),
            Err(why) => {
                let message = format!("the watermark of \"{name}\" is \"{name}\" minus a fixed interval");
                let span = statement.span(watermark.expr_at);
                let hint = why;
                self.found.push(Diagnostic::error(codes::WATERMARK, span, message).hint(hint));
                None
            }
        }
    }

    pub(super) fn table(&mut self, statement: &Statement, table: &CreateTable) {
        let schema = self.schema(statement, &table.columns);
        self.no_table_metadata(statement, &table.columns);
        let mut primary_key: Vec<String> =
            table.columns.iter().filter(|c| c.primary_key.is_some()).map(|c| normalized(&c.name)).collect();
        if !table.primary_key.is_empty() {
            primary_key = self.columns_named(statement, &table.primary_key, &schema);
        }
        let base = base_dir(statement);
        let name = normalized(&table.name);
        let mut options = OptionReader::new(statement, &table.options, &mut self.found);
        let location = options.text("location");
        let format = options.text("format");
        let refresh = options.duration("refresh");
        options.finish(|_| false);
        let Some((location, location_option)) = location else {
            if !table.options.iter().any(|option| option.key == "location") {
                let message = format!("the table \"{name}\" has no location");
                self.found.push(
                    Diagnostic::error(codes::OPTION_MISSING, statement.span(table.name.span), message)
                        .hint("add WITH (location = 'file.csv')"),
                );
            }
            return;
        };
        let path = base.join(location.strip_prefix("file://").unwrap_or(location));
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let (format, format_span) = match format {
            Some((format, option)) => (format.to_lowercase(), statement.span(option.value_at)),
            None => (extension.to_lowercase(), statement.span(location_option.value_at)),
        };
        let format = match format.as_str() {
            "csv" => TableFormat::Csv,
            "json" | "ndjson" | "jsonl" => TableFormat::Json,
            "parquet" => TableFormat::Parquet,
            later if LATER_TABLE_FORMATS.contains(&later) => {
                let message = format!("reference tables from {later} are not supported yet");
                let hint = "csv, json and parquet files are";
                self.found.push(Diagnostic::error(codes::SOON_FORMAT, format_span, message).hint(hint));
                return;
            }
            other => {
                let message = format!("cannot tell the format of the table \"{name}\" from \"{other}\"");
                let hint = "add format = 'csv', 'json' or 'parquet'";
                self.found.push(Diagnostic::error(codes::OPTION_VALUE, format_span, message).hint(hint));
                return;
            }
        };
        if !path.exists() {
            let message = format!("no file {}", path.display());
            let span = statement.span(location_option.value_at);
            self.found.push(
                Diagnostic::warning(codes::NO_FILE, span, message).hint("it has to be there when the pipeline starts"),
            );
        }
        let span = statement.span(table.name.span);
        let definition = TableDef { name: name.clone(), schema, primary_key, location: path, format, refresh, span };
        self.pipeline.tables.insert(name, definition);
    }

    pub(super) fn sink(&mut self, statement: &Statement, sink: &CreateSink) {
        let name = normalized(&sink.name);
        let mut options = OptionReader::new(statement, &sink.options, &mut self.found);
        let connector = options.text("connector").map(|(connector, _)| connector.to_lowercase());
        let options = options.finish(|_| true);
        let Some(connector) = connector else {
            if !sink.options.iter().any(|option| option.key == "connector") {
                let message = format!("the sink \"{name}\" has no connector");
                self.found.push(
                    Diagnostic::error(codes::OPTION_MISSING, statement.span(sink.name.span), message)
                        .hint("add WITH (connector = 'console'), or another connector"),
                );
            }
            return;
        };
        let span = statement.span(sink.name.span);
        let base_dir = base_dir(statement);
        self.pipeline.sinks.insert(name.clone(), SinkDef { name, connector, options, span, base_dir });
    }
}

fn no_column(statement: &Statement, ident: &Ident, schema: &SchemaRef) -> Diagnostic {
    let hint = suggest::hint(&normalized(ident), schema.fields().iter().map(|field| field.name().as_str()));
    let message = format!("no column \"{}\"", ident.value);
    Diagnostic::error(codes::NO_COLUMN, statement.span(ident.span), message).hint_opt(hint)
}

/// The folder that relative paths start from.
fn base_dir(statement: &Statement) -> PathBuf {
    statement.file.parent().map(PathBuf::from).unwrap_or_default()
}

/// The delay of `column` or `column - INTERVAL '…'`.
fn delay_us(expr: &Expr, column: &str) -> Result<i64, &'static str> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if normalized(ident) == column);
    match expr {
        Expr::Nested(inner) => delay_us(inner, column),
        expr if is_column(expr) => Ok(0),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            match units::interval_us(right).map_err(units::IntervalError::hint)? {
                delay if delay < 0 => Err("the watermark cannot be ahead of the rows"),
                delay => Ok(delay),
            }
        }
        _ => Err("write it like ts - INTERVAL '2 seconds'"),
    }
}

fn partitions(options: &mut OptionReader<'_>) -> u32 {
    let Some((text, option)) = options.text("partitions") else { return 1 };
    match text.parse::<u32>() {
        Ok(partitions) if (1..=MAX_PARTITIONS).contains(&partitions) => partitions,
        _ => {
            options.wrong(option, &format!("expected a number from 1 to {MAX_PARTITIONS}, found \"{text}\""), None);
            1
        }
    }
}

fn max_size(options: &mut OptionReader<'_>) -> Option<u64> {
    let (text, option) = options.text("max_size")?;
    let bytes = units::size_bytes(text);
    if bytes.is_none() {
        options.wrong(option, &format!("\"{text}\" is no size"), Some("write it like '10GB' or '512MiB'"));
    }
    bytes
}

fn timestamp_unit(options: &mut OptionReader<'_>) -> TimestampUnit {
    let Some((text, option)) = options.text("timestamp_unit") else { return TimestampUnit::default() };
    match text {
        "s" => TimestampUnit::Second,
        "ms" => TimestampUnit::Millisecond,
        "us" => TimestampUnit::Microsecond,
        "ns" => TimestampUnit::Nanosecond,
        _ => {
            options.wrong(option, &format!("no unit \"{text}\""), Some("there is 's', 'ms', 'us' and 'ns'"));
            TimestampUnit::default()
        }
    }
}

fn time_options(options: &mut OptionReader<'_>, watermark: Option<&Watermark>) -> TimeOptions {
    let has_watermark = watermark.is_some();
    let mut time = TimeOptions { max_skew_us: Some(DEFAULT_MAX_SKEW_US), idle_timeout: Some(DEFAULT_IDLE_TIMEOUT) };
    let hint = "add WATERMARK FOR and the event-time column to the stream's columns";
    if let Some((text, option)) = options.text("max_skew") {
        if !has_watermark {
            options.wrong(option, "the stream has no event time", Some(hint));
        } else if text.eq_ignore_ascii_case("none") {
            time.max_skew_us = None;
        } else {
            match units::duration_us(text) {
                Ok(us) if us >= 0 => time.max_skew_us = Some(us),
                _ => {
                    let why = format!("\"{text}\" is no length of time");
                    options.wrong(option, &why, Some("write it like '1 hour', or 'none'"));
                }
            }
        }
    }
    if has_watermark {
        match options.text("idle_timeout") {
            None => {}
            Some((_, option)) if watermark.is_some_and(|watermark| watermark.per.is_some()) => {
                let why = "with a watermark per key no key waits for another";
                options.wrong(option, why, Some("leave it out: a silent key holds back nothing but itself"));
            }
            Some((text, _)) if text.eq_ignore_ascii_case("none") => time.idle_timeout = None,
            Some((text, option)) => time.idle_timeout = options.length(text, option),
        }
    } else if let Some((_, option)) = options.text("idle_timeout") {
        options.wrong(option, "the stream has no event time", Some(hint));
    }
    time
}
