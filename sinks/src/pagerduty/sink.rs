//! The sink: events in order, one request each, as fast as PagerDuty's rate allows. A resolve never overtakes its
//! trigger; a trigger that was cleared while it waited is not sent.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::coalesce::{Pending, worth_sending};
use super::encoding::Template;
use super::rate::RateLimit;
use crate::alert::{AlertAction, AlertBatch, AlertEvent};
use crate::connector::OpenContext;
use crate::error::{Error, Result};
use crate::http;
use crate::identity::{RowId, Settled, row_ids};
use crate::settings::Secret;
use crate::sink::{Delivery, FeedId, Limits, Outcome, Rejected, Sink};

const ROWS_MAX: usize = 500;
const ENQUEUE: &str = "/v2/enqueue";

/// Sends alert events to PagerDuty.
pub(super) struct PagerDutySink {
    url: Url,
    destination: String,
    routing_key: Secret,
    template: Template,
    client: Client,
    rate: RateLimit,
    settled: Settled,
    /// Keys whose last trigger may have opened an incident.
    maybe_open: HashSet<String>,
    /// Rows of each feed that were written since the start. The process before may have sent what is among the first
    /// [`ROWS_MAX`].
    written: HashMap<FeedId, usize>,
}

/// An event of a write, with where it stands in it.
struct Row<'a> {
    delivery: usize,
    row: usize,
    id: RowId,
    event: AlertEvent<'a>,
    may_be_sent_before: bool,
}

impl PagerDutySink {
    pub(super) fn open(context: OpenContext) -> Result<Self> {
        let OpenContext { deployment, options, .. } = context;
        let missing = |option: &str| Error::Option {
            option: option.to_owned(),
            expected: "a value".into(),
            found: "nothing".into(),
        };
        let mut url = options.url("url").ok_or_else(|| missing("url"))?;
        let base = url.path().trim_end_matches('/');
        let path = if base.ends_with(ENQUEUE) { base.to_owned() } else { format!("{base}{ENQUEUE}") };
        url.set_path(&path);
        Ok(Self {
            destination: http::printable(&url),
            url,
            routing_key: options.secret("routing_key").ok_or_else(|| missing("routing_key"))?,
            template: Template::of(&options, deployment),
            client: http::client(options.duration("timeout"), None)?,
            rate: RateLimit::default(),
            settled: Settled::default(),
            maybe_open: HashSet::new(),
            written: HashMap::new(),
        })
    }

    fn pending<'a>(&self, rows: &[Row<'a>]) -> Vec<Pending<'a>> {
        rows.iter()
            .map(|row| Pending {
                dedup_key: row.event.dedup_key,
                action: row.event.action,
                may_be_sent: row.may_be_sent_before,
                may_be_open: self.maybe_open.contains(row.event.dedup_key),
            })
            .collect()
    }

    /// Sends an event; the inner error is the reason of a rejection.
    async fn post(&mut self, event: &AlertEvent<'_>) -> Result<std::result::Result<(), String>> {
        sleep_until(self.rate.take(Instant::now())).await;
        let body = self.template.body(self.routing_key.expose(), event);
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let sent = http::send(request).await;
        let is_surely_unsent = match &sent {
            Ok(reply) => reply.status.is_client_error(),
            Err(no_reply) => no_reply.is_unsent,
        };
        if event.action == AlertAction::Trigger && !is_surely_unsent {
            self.maybe_open.insert(event.dedup_key.to_owned());
        }
        let reply = sent.map_err(|no_reply| no_reply.unavailable(&self.destination))?;
        match reply.status {
            status if status.is_success() => {
                if event.action == AlertAction::Resolve {
                    self.maybe_open.remove(event.dedup_key);
                }
                Ok(Ok(()))
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Ok(Err(reply.reason())),
            _ if reply.is_transient() => Err(reply.unavailable(&self.destination)),
            _ => Err(reply.refused(&self.destination)),
        }
    }
}

#[async_trait]
impl Sink for PagerDutySink {
    fn limits(&self) -> Limits {
        Limits { max_rows: ROWS_MAX, linger: Duration::ZERO }
    }

    fn extends_on_retry(&self) -> bool {
        true
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut rows = Vec::new();
        for (index, delivery) in deliveries.iter().enumerate() {
            let alerts = AlertBatch::try_new(&delivery.rows)?;
            let written = self.written.get(&delivery.feed).copied().unwrap_or(0);
            for (row, id) in row_ids(delivery).into_iter().enumerate() {
                match alerts.event(row) {
                    Some(event) => {
                        rows.push(Row { delivery: index, row, id, event, may_be_sent_before: written + row < ROWS_MAX })
                    }
                    None => {
                        let reason = "action: expected trigger or resolve".to_owned();
                        outcome.rejected.push(Rejected { delivery: index, row, reason });
                    }
                }
            }
        }
        let worth = worth_sending(&self.pending(&rows));
        for (row, is_worth) in rows.into_iter().zip(worth) {
            if is_worth && self.settled.outcome(&row.id).is_none() {
                match self.post(&row.event).await? {
                    Ok(()) => self.settled.accept(row.id.clone()),
                    Err(reason) => self.settled.reject(row.id.clone(), reason),
                }
            }
            if let Some(Some(reason)) = self.settled.outcome(&row.id) {
                let reason = reason.to_owned();
                outcome.rejected.push(Rejected { delivery: row.delivery, row: row.row, reason });
            }
        }
        for delivery in deliveries {
            *self.written.entry(delivery.feed.clone()).or_default() += delivery.rows.num_rows();
        }
        self.settled.clear();
        Ok(outcome)
    }
}
