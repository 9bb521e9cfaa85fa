//! Which path goes where.

use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};

use super::answer::ApiError;
use super::state::HttpState;
use super::{health, influx, query, rows, streams};
use crate::metrics;

/// All doors; for a server of one's own. [`super::serve`] is the usual way.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/v1/streams", measured("/v1/streams", get(streams::list)))
        .route("/v1/streams/{stream}", measured("/v1/streams/{stream}", post(rows::append)))
        .route("/v1/sql", measured("/v1/sql", post(query::query)))
        .route("/api/v2/write", measured("/api/v2/write", post(influx::write_v2)))
        .route("/write", measured("/write", post(influx::write_v1)))
        .route("/query", measured("/query", get(influx::query).post(influx::query)))
        .route("/ping", get(health::ping))
        .route("/health", get(health::influx_health))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
}

fn measured(route: &'static str, methods: MethodRouter<HttpState>) -> MethodRouter<HttpState> {
    methods.layer(from_fn_with_state(route, measure))
}

async fn measure(State(route): State<&'static str>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    metrics::request(route, response.status().as_u16(), start.elapsed());
    response
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("nothing at {}", uri.path()))
        .hint("rows go to POST /v1/streams/{stream}, SQL to POST /v1/sql")
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not answered at {}", uri.path()))
}
