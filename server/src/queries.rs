//! Ad-hoc queries: for the HTTP door, and over a data directory that nobody serves.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use thermocline_engine::{AdHoc, ErrorClass};
use thermocline_gateway::http::{QueryError, QueryResult, QueryService};
use thermocline_log::{Log, LogOptions};

use crate::error::Result;

/// Answers the HTTP door's queries.
pub(crate) struct EngineQueries(pub(crate) AdHoc);

#[async_trait]
impl QueryService for EngineQueries {
    async fn query(&self, sql: &str) -> Result<QueryResult, QueryError> {
        let rows = self.0.query(sql).await.map_err(|error| explained(&error, sql))?;
        let schema = rows.schema();
        let batches = rows.map_err(|error| QueryError { message: error.to_string(), user: false }).boxed();
        Ok(QueryResult { schema, batches })
    }
}

fn explained(error: &thermocline_engine::Error, sql: &str) -> QueryError {
    QueryError { message: explain(error, sql), user: error.class() == ErrorClass::User }
}

/// An error with its place in the query, where it has one.
#[must_use]
pub fn explain(error: &thermocline_engine::Error, sql: &str) -> String {
    let thermocline_engine::Error::Sql(diagnostics) = error else { return error.to_string() };
    let path = diagnostics.first().map(|d| d.span.file.as_ref().clone()).unwrap_or_default();
    let files = [thermocline_sql::SourceFile { path, text: sql.to_owned() }];
    diagnostics.iter().map(|d| d.render(&files)).collect::<Vec<_>>().join("\n")
}

/// Runs a query over a data directory that no server holds.
///
/// # Errors
/// Mistakes in the query; [`thermocline_log::Error::Locked`] when a server holds the directory; damage of the log.
pub async fn query_data_dir(dir: &Path, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let log = Log::open(dir, LogOptions::default())?;
    let result = collect(&AdHoc::over_log(log.clone(), thermocline_engine::default_memory_limit())?, sql).await;
    log.close().await?;
    result
}

async fn collect(adhoc: &AdHoc, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let rows = adhoc.query(sql).await?;
    let schema = rows.schema();
    Ok((schema, rows.try_collect().await.map_err(thermocline_engine::Error::from)?))
}
