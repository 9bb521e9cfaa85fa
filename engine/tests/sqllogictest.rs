//! Runs every file of `tests/slt`: SQL and what it answers, in the format of sqllogictest as DataFusion writes it.
//!
//! Besides queries (run ad hoc) a file has the statements of its pipeline, which starts when it is first used, and:
//!
//! | statement | what it does |
//! | --- | --- |
//! | `FILE devices.csv` and lines | writes a file that the pipeline reads; the blank line that ends a record is not part of it |
//! | `APPEND INTO readings VALUES …` | appends rows, cast to the stream's types, and waits until every query has read them |
//! | `FINISH` | closes all windows; rows that are appended later start the pipeline again |
//! | `RESTART` | ends the pipeline as a crash would; it starts again when it is used |
//!
//! An error of a statement is shown without the lines of the pipeline's text: its code and message, the words it is about, what helps.
//!
//! `THERMOCLINE_BLESS=1` writes what was found into the files, to be read before it is committed.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use common::Pipeline;
use datafusion::prelude::SessionContext;
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Runner};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind(char);

impl ColumnType for Kind {
    fn from_char(value: char) -> Option<Self> {
        "BDIPRT?".contains(value).then_some(Self(value))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

impl From<thermocline_engine::Error> for Failure {
    fn from(error: thermocline_engine::Error) -> Self {
        match &error {
            thermocline_engine::Error::Sql(found) => {
                Self(found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect::<Vec<_>>().join("\n"))
            }
            _ => Self(error.to_string()),
        }
    }
}

struct Session {
    pipeline: Pipeline,
    finished: bool,
}

#[async_trait::async_trait]
impl AsyncDB for Session {
    type Error = Failure;
    type ColumnType = Kind;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, Failure> {
        let done = Ok(DBOutput::StatementComplete(0));
        match sql.split_whitespace().next().unwrap_or_default() {
            "CREATE" | "INSERT" => {
                let folder = format!("{}/", self.pipeline.dir().display());
                let added = self.pipeline.add_statement(sql).await;
                added.map_err(|text| Failure(without_places(&text.replace(&folder, ""))))?;
                done
            }
            "FILE" => {
                let (first, content) = sql.split_once('\n').unwrap_or((sql, ""));
                let name = first.trim_start_matches("FILE").trim();
                std::fs::write(self.pipeline.dir().join(name), format!("{content}\n")).unwrap();
                done
            }
            "APPEND" => {
                if std::mem::take(&mut self.finished) {
                    self.pipeline.crash().await;
                }
                self.append(sql).await?;
                done
            }
            "FINISH" => {
                self.pipeline.finish_queries().await?;
                self.finished = true;
                done
            }
            "RESTART" => {
                self.pipeline.crash().await;
                done
            }
            _ => Ok(output(&self.pipeline.try_query(sql).await?)),
        }
    }

    async fn shutdown(&mut self) {
        self.pipeline.crash().await;
    }

    fn engine_name(&self) -> &str {
        "thermocline"
    }
}

impl Session {
    async fn append(&mut self, sql: &str) -> Result<(), Failure> {
        let (target, values) = sql.split_once("VALUES").expect("APPEND INTO stream VALUES …");
        let stream = target.split_whitespace().nth(2).expect("APPEND INTO stream VALUES …").to_owned();
        let schema = self.pipeline.start().await.log.stream(&stream).expect("a stream").schema().clone();
        let failed = |error: datafusion::error::DataFusionError| Failure(error.to_string());
        let rows = SessionContext::new().sql(&format!("SELECT * FROM (VALUES {values})")).await.map_err(failed)?;
        let rows = cast_to(&rows.collect().await.map_err(failed)?, &schema);
        self.pipeline.append_batch(&stream, rows).await.map_err(|error| Failure(error.to_string()))?;
        self.pipeline.try_settle().await.map_err(Failure)
    }
}

/// Findings without their lines, which every statement before them moves: what is wrong, the words that it is about, what helps.
fn without_places(rendered: &str) -> String {
    let mut kept = Vec::new();
    let mut source = "";
    for line in rendered.lines() {
        match line.trim_start() {
            "" | "|" => {}
            place if place.starts_with("-->") => {}
            below if below.starts_with("| ") && below.contains('^') => {
                let start = line.chars().take_while(|c| *c != '^').count();
                let marked = line.chars().filter(|c| *c == '^').count();
                kept.push(format!(" --> {}", source.chars().skip(start).take(marked).collect::<String>()));
            }
            numbered if numbered.starts_with(|c: char| c.is_ascii_digit()) && numbered.contains(" | ") => source = line,
            other => kept.push(if other.starts_with('=') { format!(" {other}") } else { other.to_owned() }),
        }
    }
    kept.join("\n")
}

fn cast_to(batches: &[RecordBatch], schema: &SchemaRef) -> RecordBatch {
    let rows = concat_batches(&batches[0].schema(), batches).unwrap();
    assert_eq!(rows.num_columns(), schema.fields().len(), "one value per column of the stream");
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast_with_options(column, field.data_type(), &options).unwrap());
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

fn output(batches: &[RecordBatch]) -> DBOutput<Kind> {
    let Some(first) = batches.first() else { return DBOutput::Rows { types: vec![], rows: vec![] } };
    let types = first.schema().fields().iter().map(|field| Kind(kind(field.data_type()))).collect();
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayFormatter<'_>| match column.value(row).to_string() {
                text if text.is_empty() => "(empty)".to_owned(),
                text => text,
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            // A plan has lines of its own.
            rows.extend(cells.join(" ").trim_end().lines().map(|line| vec![line.to_owned()]));
        }
    }
    DBOutput::Rows { types, rows }
}

fn kind(data_type: &DataType) -> char {
    match data_type {
        DataType::Boolean => 'B',
        DataType::Date32 | DataType::Date64 => 'D',
        DataType::Timestamp(..) => 'P',
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => 'T',
        other if other.is_integer() => 'I',
        other if other.is_numeric() => 'R',
        _ => '?',
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_answers_as_written() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty());
    let bless = std::env::var_os("THERMOCLINE_BLESS").is_some();
    let mut failures = Vec::new();
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Session { pipeline: Pipeline::new(""), finished: false }) });
        runner.with_column_validator(sqllogictest::strict_column_validator);
        if bless {
            let validator = sqllogictest::default_validator;
            let (normalizer, columns) = (sqllogictest::default_normalizer, sqllogictest::strict_column_validator);
            runner.update_test_file(&file, " ", validator, normalizer, columns).await.unwrap();
        } else if let Err(error) = runner.run_file_async(&file).await {
            failures.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
