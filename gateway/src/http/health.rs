//! `/healthz`, `/readyz`, `/metrics`, and InfluxDB's `/ping` and `/health`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::state::HttpState;

/// The process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// The server takes rows and answers queries, or why it does not yet.
pub(crate) async fn ready(State(state): State<HttpState>) -> Response {
    let reasons = (state.readiness)();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

pub(crate) async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.render_metrics)())
}

/// InfluxDB's sign of life.
pub(crate) async fn ping() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("x-influxdb-version", concat!("thermocline-", env!("CARGO_PKG_VERSION")))])
}

/// InfluxDB 2's health check.
pub(crate) async fn influx_health(State(state): State<HttpState>) -> Response {
    let reasons = (state.readiness)();
    let (status, word) = match reasons.is_empty() {
        true => (StatusCode::OK, "pass"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "fail"),
    };
    let message = if reasons.is_empty() { "ready for rows and queries".to_owned() } else { reasons.join("; ") };
    (status, Json(json!({ "name": "thermocline", "message": message, "status": word }))).into_response()
}
