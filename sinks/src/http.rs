//! What the sinks that speak HTTP share: the client, the answer, and what an answer means for a retry.

mod guard;

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

pub(crate) use self::guard::{AddressGuard, is_private};
use crate::error::{Error, Result};

/// More of an answer's body is not looked at.
const BODY_BYTES_MAX: usize = 256 << 10;
/// More of an answer's body is not repeated in an error.
const REASON_CHARS_MAX: usize = 500;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
    pub body: String,
}

/// No answer.
#[derive(Debug)]
pub(crate) struct NoReply {
    pub reason: String,
    /// Whether the request surely did not reach the destination.
    pub is_unsent: bool,
}

/// A client that never follows a redirect: where a sink sends to is what its options say.
pub(crate) fn client(timeout: Duration, guard: Option<AddressGuard>) -> Result<Client> {
    let builder = Client::builder()
        .user_agent(concat!("thermocline/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .timeout(timeout);
    let builder = match guard {
        // A proxy would resolve the name itself, past the guard.
        Some(guard) => builder.no_proxy().dns_resolver(guard),
        None => builder,
    };
    builder.build().map_err(|error| Error::Option {
        option: "url".into(),
        expected: "a usable HTTP client".into(),
        found: describe(error),
    })
}

/// Sends a request and reads the answer; what is cut off of a body does not matter once the status is known.
pub(crate) async fn send(request: RequestBuilder) -> std::result::Result<Reply, NoReply> {
    let mut response = request.send().await.map_err(|error| {
        let is_unsent = error.is_connect();
        NoReply { reason: describe(error), is_unsent }
    })?;
    let status = response.status();
    let retry_after = retry_after(response.headers(), Utc::now());
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    Ok(Reply { status, retry_after, body: String::from_utf8_lossy(&body).into_owned() })
}

impl Reply {
    /// Status and body in one line.
    pub(crate) fn reason(&self) -> String {
        let body: String = self.body.trim().chars().take(REASON_CHARS_MAX).collect();
        if body.is_empty() { self.status.to_string() } else { format!("{}: {body}", self.status) }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        self.status.is_server_error()
            || matches!(
                self.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
            )
    }

    pub(crate) fn unavailable(&self, destination: &str) -> Error {
        Error::Unavailable { destination: destination.to_owned(), reason: self.reason(), retry_after: self.retry_after }
    }

    pub(crate) fn refused(&self, destination: &str) -> Error {
        Error::Refused { destination: destination.to_owned(), reason: self.reason() }
    }
}

impl NoReply {
    pub(crate) fn unavailable(self, destination: &str) -> Error {
        Error::Unavailable { destination: destination.to_owned(), reason: self.reason, retry_after: None }
    }
}

/// Scheme, host and port: what may be printed of an address whose path or query may be a secret.
pub(crate) fn printable(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?.with_timezone(&Utc);
    Some((at - now).to_std().unwrap_or(Duration::ZERO))
}

/// An error with its causes, without the address, which may hold a secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap().with_timezone(&Utc);
        let parse = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers, now)
        };
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 22 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(parse("Sun, 22 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
    }

    #[test]
    fn an_address_is_printed_without_its_secrets() {
        let url = Url::parse("https://user:pw@hooks.example.com:8443/services/T0/B0/token?key=1").unwrap();
        assert_eq!(printable(&url), "https://hooks.example.com:8443");
    }
}
