//! The sink: rows in order, one request each. Rows that were taken before a later one failed are not sent again by the
//! same process.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use url::Url;

use super::encoding::{bodies, message_id};
use super::signature::SigningKey;
use crate::connector::OpenContext;
use crate::error::{Error, Result};
use crate::http::{self, AddressGuard};
use crate::identity::{RowId, Settled, row_ids};
use crate::sink::{Delivery, Limits, Outcome, Rejected, Sink};

/// Posts rows to an address.
pub(super) struct WebhookSink {
    name: String,
    deployment: String,
    url: Url,
    destination: String,
    key: Option<SigningKey>,
    client: Client,
    settled: Settled,
    /// The destination answered 410: it wants nothing more.
    is_gone: bool,
}

/// What became of one request.
enum Sent {
    Accepted,
    Rejected(String),
}

impl WebhookSink {
    pub(super) fn open(context: OpenContext) -> Result<Self> {
        let OpenContext { name, deployment, options, .. } = context;
        let missing = || Error::Option { option: "url".into(), expected: "an address".into(), found: "nothing".into() };
        let url = options.url("url").ok_or_else(missing)?;
        let guard = (!options.boolean("allow_private")).then_some(AddressGuard);
        Ok(Self {
            name,
            deployment,
            destination: http::printable(&url),
            url,
            key: options.text("secret").and_then(SigningKey::parse),
            client: http::client(options.duration("timeout"), guard)?,
            settled: Settled::default(),
            is_gone: false,
        })
    }

    async fn post(&mut self, id: &RowId, body: String) -> Result<Sent> {
        if self.is_gone {
            return Ok(Sent::Rejected("the destination is gone (410)".into()));
        }
        let message_id = message_id(&self.deployment, &self.name, id);
        let timestamp_s = Utc::now().timestamp();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-id", &message_id);
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", key.sign(&message_id, timestamp_s, &body));
        }
        let reply = match http::send(request.body(body)).await {
            Ok(reply) => reply,
            Err(no_reply) => return Err(no_reply.unavailable(&self.destination)),
        };
        if reply.status.is_success() {
            return Ok(Sent::Accepted);
        }
        if reply.is_transient() {
            return Err(reply.unavailable(&self.destination));
        }
        if reply.status == StatusCode::GONE {
            tracing::error!(sink = self.name, destination = self.destination, "the destination is gone (410)");
            self.is_gone = true;
        }
        if reply.status.is_redirection() || reply.status.is_informational() {
            return Err(reply.refused(&self.destination));
        }
        Ok(Sent::Rejected(reply.reason()))
    }
}

#[async_trait]
impl Sink for WebhookSink {
    fn limits(&self) -> Limits {
        Limits { max_rows: 500, linger: Duration::ZERO }
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for (index, delivery) in deliveries.iter().enumerate() {
            let bodies = bodies(&delivery.rows, Utc::now().timestamp_micros())?;
            for (row, (id, body)) in row_ids(delivery).into_iter().zip(bodies).enumerate() {
                if self.settled.outcome(&id).is_none() {
                    match self.post(&id, body).await? {
                        Sent::Accepted => self.settled.accept(id.clone()),
                        Sent::Rejected(reason) => self.settled.reject(id.clone(), reason),
                    }
                }
                if let Some(Some(reason)) = self.settled.outcome(&id) {
                    outcome.rejected.push(Rejected { delivery: index, row, reason: reason.to_owned() });
                }
            }
        }
        self.settled.clear();
        Ok(outcome)
    }
}
