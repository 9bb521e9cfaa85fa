//! Errors as answers: a status and `{"error": {"message": …, "hint": …}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// No stream of that name, with those that are close.
    pub(crate) fn unknown_stream(name: &str, suggestions: &[String]) -> Self {
        let error = Self::new(StatusCode::NOT_FOUND, format!("no stream named {name:?}"));
        match suggestions {
            [] => error.hint("GET /v1/streams lists the streams"),
            names => error.hint(format!("did you mean {}", names.join(", "))),
        }
    }

    /// Headers that go with the status.
    pub(crate) fn with_headers(&self, mut response: Response) -> Response {
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body { error: Inner { message: &self.message, hint: self.hint.as_deref() } };
        self.with_headers((self.status, Json(body)).into_response())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let (status, hint) = match &error {
            Error::Malformed { .. } => (StatusCode::BAD_REQUEST, None),
            Error::TooManyRejected { .. } => (StatusCode::BAD_REQUEST, Some("is the content type right")),
            Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Some("send the rows in smaller bodies")),
            Error::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, Some("wait and send the same body again")),
            Error::Log(log) => log_status(log),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        if status.is_server_error() {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
        }
        let message = match &error {
            // The log's key has the stream in front.
            Error::Log(thermocline_log::Error::KeyReused { .. }) => {
                "the idempotency key was used before for another body".to_owned()
            }
            _ => error.to_string(),
        };
        Self { status, message, hint: hint.map(str::to_owned) }
    }
}

fn log_status(error: &thermocline_log::Error) -> (StatusCode, Option<&'static str>) {
    use thermocline_log::Error as Log;
    match error {
        Log::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, Some("wait and send the same body again")),
        Log::Full { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, Some("nothing of the body was stored; free space and send it again"))
        }
        Log::Poisoned { .. } | Log::Io { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, Some("the server accepts no rows until it is restarted"))
        }
        Log::KeyReused { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, Some("nothing of this body was stored; send it with a key of its own"))
        }
        Log::Closed => (StatusCode::SERVICE_UNAVAILABLE, Some("the server is shutting down")),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}
