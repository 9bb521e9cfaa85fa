//! InfluxDB's write APIs, so that Telegraf and its kind write unchanged: `POST /api/v2/write` (version 2), `POST /write`
//! (version 1) and the `CREATE DATABASE` that Telegraf sends first. The measurement of a line names the stream; database,
//! organisation and bucket are not looked at.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thermocline_log::Commit;

use super::answer::ApiError;
use super::body::read_body;
use super::headers_json::headers_json;
use super::state::HttpState;
use crate::append::{Append, check_rejected};
use crate::decode::{DecodedLines, Precision, REASONS_IN_ANSWER, Reason, decode_lines};
use crate::error::Error;
use crate::input::OpenStream;
use crate::metadata::{Arrival, Metadata};
use std::sync::Arc;

const SOURCE: &str = "line protocol";
/// Bodies up to this size take less time to decode than to hand over.
const IN_PLACE_BYTES: usize = 16 << 10;

/// Which of InfluxDB's APIs is spoken; they differ in how they say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

pub(crate) async fn write_v1(state: State<HttpState>, query: RawQuery, headers: HeaderMap, body: Body) -> Response {
    write(Version::One, state, query, headers, body).await
}

pub(crate) async fn write_v2(state: State<HttpState>, query: RawQuery, headers: HeaderMap, body: Body) -> Response {
    write(Version::Two, state, query, headers, body).await
}

async fn write(
    version: Version,
    State(state): State<HttpState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match append(&state, query.as_deref(), &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => version.refuse(&error),
    }
}

async fn append(state: &HttpState, query: Option<&str>, headers: &HeaderMap, body: Body) -> Result<(), ApiError> {
    let precision = precision(query)?;
    let body = read_body(state, headers, body).await?;
    let now_us = state.clock.now_us();
    let streams = state.streams.clone();
    let bytes = body.bytes.clone();
    let find = move |name: &str| streams.find(name).map(|open| (Arc::clone(&open), Arc::clone(&open.shape)));
    let decode = move || decode_lines(&bytes, precision, now_us, find);
    let lines = if body.bytes.len() <= IN_PLACE_BYTES {
        decode()?
    } else {
        tokio::task::spawn_blocking(decode).await.map_err(Error::Worker)??
    };
    store(state, lines, headers, now_us).await
}

/// Stores the good lines and says no to the others.
async fn store(
    state: &HttpState,
    lines: DecodedLines<Arc<OpenStream>>,
    headers: &HeaderMap,
    now_us: i64,
) -> Result<(), ApiError> {
    let mut reasons = lines.first_homeless;
    let mut dropped = lines.homeless;
    let mut commit = Commit::new();
    let mut appends = Vec::new();
    let knows_no_stream = lines.streams.is_empty();
    for (open, decoded) in lines.streams {
        check_rejected(&decoded, state.options.max_rejected_rows)?;
        let headers = open.input.wants(Metadata::Headers).then(|| headers_json(headers));
        let arrival = Arrival { headers: headers.as_deref(), ..Arrival::at(now_us) };
        let append = Append::new(decoded, &open, SOURCE, &arrival)?;
        append.add_to(&mut commit, &open);
        dropped += append.rejected_rows;
        reasons.extend(append.reasons.iter().cloned());
        appends.push((open, append));
    }
    if !commit.is_empty() {
        state.log.commit(commit).await.map_err(Error::Log)?;
    }
    appends.iter().for_each(|(open, append)| append.count(open, SOURCE));
    if dropped == 0 {
        return Ok(());
    }
    reasons.sort_by_key(|reason| reason.line);
    reasons.truncate(REASONS_IN_ANSWER);
    let status = if knows_no_stream { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
    Err(ApiError::new(status, format!("partial write: {} dropped={dropped}", list(&reasons))))
}

fn list(reasons: &[Reason]) -> String {
    reasons.iter().map(|reason| format!("line {}: {};", reason.line, reason.reason)).collect::<Vec<_>>().join(" ")
}

fn precision(query: Option<&str>) -> Result<Precision, ApiError> {
    let mut parameters = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, text)) = parameters.find(|(name, _)| name == "precision") else { return Ok(Precision::default()) };
    Precision::parse(&text).ok_or_else(|| {
        let message = format!("expected the precision ns, us, ms, s, m or h, found {text:?}");
        ApiError::new(StatusCode::BAD_REQUEST, message)
    })
}

impl Version {
    /// An error in the form that clients of this version read.
    fn refuse(self, error: &ApiError) -> Response {
        let message = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message.clone(),
        };
        let code = match error.status {
            StatusCode::NOT_FOUND => "not found",
            StatusCode::PAYLOAD_TOO_LARGE => "request too large",
            StatusCode::TOO_MANY_REQUESTS => "too many requests",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            status if status.is_client_error() => "invalid",
            _ => "internal error",
        };
        let body = match self {
            Self::One => json!({ "error": message }),
            Self::Two => json!({ "code": code, "message": message }),
        };
        error.with_headers((error.status, Json(body)).into_response())
    }
}

/// `/query` of version 1: only `CREATE DATABASE`, which Telegraf sends before it writes.
pub(crate) async fn query(
    State(state): State<HttpState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let form = match read_body(&state, &headers, body).await {
        Ok(body) => body,
        Err(error) => return Version::One.refuse(&error),
    };
    let in_url = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let mut parameters = in_url.chain(url::form_urlencoded::parse(&form.bytes));
    let statement =
        parameters.find(|(name, _)| name == "q").map(|(_, statement)| statement.trim().to_ascii_uppercase());
    if statement.is_some_and(|statement| statement.starts_with("CREATE DATABASE")) {
        return Json(json!({ "results": [{ "statement_id": 0 }] })).into_response();
    }
    let error = ApiError::new(
        StatusCode::BAD_REQUEST,
        "expected CREATE DATABASE, the only statement of InfluxQL that is answered",
    );
    Version::One.refuse(&error.hint("POST /v1/sql answers SQL"))
}
