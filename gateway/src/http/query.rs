//! `POST /v1/sql`: SQL in the body, rows streamed out in the format that the client accepts.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::answer::ApiError;
use super::body::read_body;
use super::result_format::{ResultEncoder, ResultFormat};
use super::state::HttpState;

/// Runs queries; the server implements it.
#[async_trait]
pub trait QueryService: Send + Sync {
    /// Plans and starts a query.
    ///
    /// # Errors
    /// The query is wrong, or could not be started.
    async fn query(&self, sql: &str) -> Result<QueryResult, QueryError>;
}

/// A query that runs: its rows come while it does, and it stops when they are dropped.
pub struct QueryResult {
    /// Columns of the result.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

impl fmt::Debug for QueryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResult").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Why there is no result, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// What was expected, found and where.
    pub message: String,
    /// Whether the query is at fault (400) or the server (500).
    pub user: bool,
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let status = if error.user { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self::new(status, error.message)
    }
}

pub(crate) async fn query(
    State(state): State<HttpState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let format = ResultFormat::accepted(&headers)?;
    let Some(service) = state.queries.clone() else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "this server answers no queries"));
    };
    let sql = read_body(&state, &headers, body).await?;
    let Ok(sql) = std::str::from_utf8(&sql.bytes) else {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "expected SQL as UTF-8, found other bytes"));
    };
    let Ok(slot) = state.query_slots.clone().try_acquire_owned() else {
        let message = format!("{} queries are running, that is the bound", state.options.max_queries);
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).hint("wait and try again"));
    };
    let QueryResult { schema, mut batches } = service.query(sql).await?;
    // An error before the first row still gets a status of its own.
    let first = batches.next().await.transpose()?;
    let encoder = ResultEncoder::new(format, &schema)?;
    let (sender, receiver) = mpsc::channel(2);
    let stall = state.options.idle_timeout;
    tokio::spawn(async move {
        let batches = futures::stream::iter(first.map(Ok)).chain(batches);
        send(encoder, batches, sender, stall).await;
        drop(slot);
    });
    let body = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Ok(([(header::CONTENT_TYPE, format.content_type())], Body::from_stream(body)).into_response())
}

/// Encodes batches as the client takes them; ends the query when the client is gone or takes nothing for `stall`.
async fn send(
    mut encoder: ResultEncoder,
    mut batches: impl futures::Stream<Item = Result<RecordBatch, QueryError>> + Unpin,
    sender: mpsc::Sender<Result<Bytes, QueryError>>,
    stall: std::time::Duration,
) {
    loop {
        let next = tokio::select! {
            next = batches.next() => next,
            () = sender.closed() => return,
        };
        let is_last = !matches!(next, Some(Ok(_)));
        let pieces = match next {
            Some(Ok(batch)) => vec![encoder.encode(&batch)],
            None => vec![encoder.finish()],
            // The status is long sent: the connection is broken off, so that nobody takes a part for the whole.
            Some(Err(error)) => vec![Ok(encoder.error(&error)), Err(error)],
        };
        for piece in pieces {
            let failed = piece.is_err();
            let is_empty = piece.as_ref().is_ok_and(Bytes::is_empty);
            if !is_empty && !matches!(tokio::time::timeout(stall, sender.send(piece)).await, Ok(Ok(()))) || failed {
                return;
            }
        }
        if is_last {
            return;
        }
    }
}
