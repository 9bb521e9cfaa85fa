//! `POST /v1/streams/{stream}`: rows in, answered once they are durable.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use thermocline_log::Commit;

use super::answer::ApiError;
use super::body::read_body;
use super::state::HttpState;
use crate::append::{Append, check_rejected};
use crate::decode::{Format, Reason, decode_body};
use crate::error::Error;

const SOURCE: &str = "http";

/// What became of the rows.
#[derive(Debug, Serialize)]
pub(crate) struct Appended {
    accepted: u64,
    rejected: u64,
    /// The first rejected rows.
    errors: Vec<Reason>,
}

pub(crate) async fn append(
    State(state): State<HttpState>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Appended>, ApiError> {
    let open = state.streams.find(&stream);
    let open = open.ok_or_else(|| ApiError::unknown_stream(&stream, &state.streams.suggestions(&stream)))?;
    let format = body_format(&headers)?;
    let body = read_body(&state, &headers, body).await?;
    let (now_us, options) = (state.clock.now_us(), &state.options);
    let decoding =
        decode_body(format, &open.shape, body.bytes.clone(), options.max_body_bytes, now_us, options.decode_threads);
    let decoded = decoding.await?;
    check_rejected(&decoded, options.max_rejected_rows)?;
    let append = Append::new(decoded, SOURCE, now_us)?;
    let mut commit = Commit::new();
    append.add_to(&mut commit, &open);
    if !commit.is_empty() {
        state.log.commit(commit).await.map_err(Error::Log)?;
    }
    append.count(&open, SOURCE);
    Ok(Json(Appended { accepted: append.accepted, rejected: append.rejected_rows, errors: append.reasons }))
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
