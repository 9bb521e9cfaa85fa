//! `POST /v1/streams/{stream}`: rows in, answered once they are durable; sent again with the same `Idempotency-Key`,
//! answered as the first time.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use thermocline_log::{Commit, Receipt};

use super::answer::ApiError;
use super::headers_json::headers_json;
use super::idempotency::{IdempotencyKey, REPLAYED, read_key};
use super::replay;
use super::rows_body::RowsBody;
use super::state::HttpState;
use crate::append::{Append, check_rejected};
use crate::decode::{Format, Reason};
use crate::error::Error;
use crate::input::OpenStream;
use crate::metadata::{Arrival, Metadata};
use crate::metrics;

const SOURCE: &str = "http";

/// What became of the rows.
#[derive(Debug, Serialize)]
pub(crate) struct Appended {
    pub(crate) accepted: u64,
    pub(crate) rejected: u64,
    /// The first rejected rows.
    pub(crate) errors: Vec<Reason>,
}

pub(crate) async fn append(
    State(state): State<HttpState>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let open = state.streams.find(&stream);
    let open = open.ok_or_else(|| ApiError::unknown_stream(&stream, &state.streams.suggestions(&stream)))?;
    let format = body_format(&headers)?;
    let key = read_key(&headers)?;
    // Lives to the end: it holds its share of the bytes in flight.
    let mut body = RowsBody::read(&state, &headers, body, format, &open.shape, key.is_some()).await?;
    let key = key.map(|key| IdempotencyKey::new(&stream, key, body.fingerprint()));
    if let Some(key) = &key
        && let Some(receipt) = state.log.receipt(&key.key, key.fingerprint).map_err(Error::Log)?
    {
        return replay(&state, &open, receipt).await;
    }
    let (now_us, options) = (state.clock.now_us(), &state.options);
    let decoded = body.decode(&state, &open.shape, now_us).await?;
    check_rejected(&decoded, options.max_rejected_rows)?;
    let headers = open.input.wants(Metadata::Headers).then(|| headers_json(&headers));
    let arrival = Arrival { headers: headers.as_deref(), ..Arrival::at(now_us) };
    let append = Append::new(decoded, &open, SOURCE, &arrival)?;
    let mut commit = Commit::new();
    append.add_to(&mut commit, &open);
    if let Some(key) = &key {
        commit.idempotency_key(&key.key, key.fingerprint);
    }
    if !commit.is_empty() {
        let receipt = state.log.commit(commit).await.map_err(Error::Log)?;
        if receipt.duplicate {
            // The same body was stored while this one was read.
            return replay(&state, &open, receipt).await;
        }
    }
    append.count(&open, SOURCE);
    let answer = Appended { accepted: append.accepted, rejected: append.rejected_rows, errors: append.reasons };
    Ok(Json(answer).into_response())
}

/// The answer of the request that stored the rows.
async fn replay(state: &HttpState, open: &Arc<OpenStream>, receipt: Receipt) -> Result<Response, ApiError> {
    let answer = replay::answer(&state.log, open, receipt).await?;
    metrics::replayed_request(open.input.stream.name());
    Ok(([REPLAYED], Json(answer)).into_response())
}

/// The format that the content type names; NDJSON where there is none.
fn body_format(headers: &HeaderMap) -> Result<Format, ApiError> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Ok(Format::Ndjson) };
    let content_type = content_type.to_str().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Format::Ndjson)
        }
        "application/json" => Ok(Format::Json),
        "text/csv" => Ok(Format::Csv),
        "application/vnd.apache.arrow.stream" => Ok(Format::ArrowStream),
        _ => {
            let message = format!(
                "expected the content type application/x-ndjson, application/json, text/csv or \
                 application/vnd.apache.arrow.stream, found {essence:?}"
            );
            let error = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            Err(match essence.as_str() {
                "application/x-www-form-urlencoded" => {
                    error.hint("with curl, add -H 'content-type: application/x-ndjson'")
                }
                _ => error,
            })
        }
    }
}
