//! Conformance of webhooks against a local server that checks every request as the Standard Webhooks specification
//! asks a receiver to, and what the sink makes of the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::signature::SigningKey;
use crate::conformance::{Gate, Harness, MemoryLog, alert_rows, odd_rows, sensor_rows};
use crate::connector::Guarantee;
use crate::error::Error;
use crate::settings::{Secret, SinkOption, SinkSettings};
use crate::sink::Sink;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver of webhooks.
#[derive(Clone, Default)]
struct Receiver {
    messages: Arc<Mutex<Vec<(String, Value)>>>,
    /// Status for messages whose text contains the word.
    answers: Arc<Mutex<Vec<(&'static str, StatusCode)>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, timestamp) = (value("webhook-id"), value("webhook-timestamp"));
    let age_s = chrono::Utc::now().timestamp() - timestamp.parse::<i64>().unwrap_or(0);
    if !(-5..=300).contains(&age_s) {
        return (StatusCode::UNAUTHORIZED, "timestamp").into_response();
    }
    let key = SigningKey::parse(SECRET).unwrap();
    if value("webhook-signature") != key.sign(&id, timestamp.parse().unwrap(), &body) {
        return (StatusCode::UNAUTHORIZED, "signature").into_response();
    }
    if value("content-type") != "application/json" {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content type").into_response();
    }
    let answer = receiver.answers.lock().iter().find(|(word, _)| body.contains(word)).map(|(_, status)| *status);
    match answer {
        Some(status) if status.is_redirection() => {
            (status, [(header::LOCATION, "http://169.254.169.254/latest/meta-data")]).into_response()
        }
        Some(status) if !status.is_success() => (status, "no thanks").into_response(),
        _ => {
            receiver.messages.lock().push((id, serde_json::from_str(&body).unwrap()));
            answer.unwrap_or(StatusCode::OK).into_response()
        }
    }
}

struct Webhook {
    receiver: Receiver,
    gate: Gate,
}

impl Webhook {
    async fn start() -> Self {
        let receiver = Receiver::default();
        let app = Router::new().route("/hook", post(receive)).with_state(receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { receiver, gate: Gate::before(address).await.unwrap() }
    }

    fn ids(&self) -> Vec<String> {
        self.receiver.messages.lock().iter().map(|(id, _)| id.clone()).collect()
    }

    fn answer(&self, word: &'static str, status: StatusCode) {
        self.receiver.answers.lock().insert(0, (word, status));
    }
}

fn settings(url: &str, options: &[(&str, &str)]) -> SinkSettings {
    let mut all: BTreeMap<String, SinkOption> = BTreeMap::from([
        ("url".to_owned(), url.into()),
        ("secret".to_owned(), Secret::new(SECRET).into()),
        ("allow_private".to_owned(), "true".into()),
    ]);
    all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    SinkSettings {
        name: "hook".into(),
        connector: "webhook".into(),
        options: all,
        base_dir: PathBuf::new(),
        deployment: "plant-1".into(),
    }
}

#[async_trait]
impl Harness for Webhook {
    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self) -> Box<dyn Sink> {
        let url = format!("{}/hook", self.gate.url());
        crate::open(settings(&url, &[]), self.rows(0..0).schema()).unwrap()
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
        let mut data = Vec::new();
        for (id, message) in self.receiver.messages.lock().iter() {
            let same = by_id.entry(id.clone()).or_insert_with(|| message["data"].clone());
            assert_eq!(*same, message["data"], "one id, one content");
            data.push(message["data"].clone());
        }
        data
    }

    fn poison(&self) -> Option<RecordBatch> {
        self.answer("note 9000", StatusCode::BAD_REQUEST);
        Some(sensor_rows(9000..9001))
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}

crate::sink_conformance!(Webhook::start());

fn log_of(rows: &RecordBatch) -> MemoryLog {
    let log = MemoryLog::new("readings", 3, rows.schema());
    log.append(rows);
    log
}

#[tokio::test]
async fn a_row_keeps_its_id_on_every_attempt_and_in_every_run() {
    let hook = Webhook::start().await;
    let log = log_of(&sensor_rows(0..4));
    hook.open().write(&[log.delivery(0..3)]).await.unwrap();
    hook.open().write(&[log.delivery(1..4)]).await.unwrap();
    let ids = hook.ids();
    assert_eq!(ids[1..3], ids[3..5]);
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 4);
    assert!(ids[0].starts_with("msg_"), "{}", ids[0]);
}

#[tokio::test]
async fn rows_of_one_offset_have_different_ids() {
    let hook = Webhook::start().await;
    let mut delivery = log_of(&sensor_rows(0..3)).delivery(0..3);
    delivery.offsets = vec![0, 0, 1];
    hook.open().write(&[delivery]).await.unwrap();
    let ids = hook.ids();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 3);
}

#[tokio::test]
async fn what_was_taken_before_a_failure_is_not_sent_again() {
    let hook = Webhook::start().await;
    hook.answer("note 3", StatusCode::INTERNAL_SERVER_ERROR);
    let deliveries = [log_of(&sensor_rows(0..6)).delivery(0..6)];
    let mut sink = hook.open();
    let error = sink.write(&deliveries).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(hook.ids().len(), 3);
    hook.answer("note 3", StatusCode::NO_CONTENT);
    sink.write(&deliveries).await.unwrap();
    assert_eq!(hook.ids().len(), 6);
}

#[tokio::test]
async fn alert_events_say_what_happened_and_when() {
    let hook = Webhook::start().await;
    let rows = alert_rows(1..2);
    let url = format!("{}/hook", hook.gate.url());
    let mut sink = crate::open(settings(&url, &[]), rows.schema()).unwrap();
    sink.write(&[log_of(&rows).delivery(0..1)]).await.unwrap();
    let (_, message) = hook.receiver.messages.lock()[0].clone();
    assert_eq!(message["type"], "alert.triggered");
    assert_eq!(message["timestamp"], "2026-11-22T00:00:01Z");
    assert_eq!(message["data"]["dedup_key"], "plant/overheating/1");
    assert_eq!(message["data"]["details"], json!({"id": 1, "peak": 93.5}));
}

#[tokio::test]
async fn after_410_everything_is_rejected_without_asking() {
    let hook = Webhook::start().await;
    hook.answer("note 0", StatusCode::GONE);
    let mut sink = hook.open();
    let outcome = sink.write(&[log_of(&sensor_rows(0..3)).delivery(0..3)]).await.unwrap();
    assert_eq!(outcome.rejected.iter().map(|rejected| rejected.row).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(hook.ids().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let hook = Webhook::start().await;
    hook.answer("note 0", StatusCode::TEMPORARY_REDIRECT);
    let error = hook.open().write(&[log_of(&sensor_rows(0..1)).delivery(0..1)]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason, .. } if reason.starts_with("307")), "{error}");
}

#[tokio::test]
async fn private_addresses_need_permission() {
    let rows = odd_rows();
    let private =
        ["http://127.0.0.1:1/x", "http://[::1]/x", "http://10.1.2.3/", "http://169.254.169.254/", "http://localhost/"];
    for url in private {
        let settings = settings(url, &[("allow_private", "false")]);
        let problems = crate::check("webhook", &settings.options, &rows.schema(), false);
        assert_eq!(problems.len(), 1, "{url}: {problems:?}");
        assert_eq!(problems[0].option.as_deref(), Some("url"));
        assert_eq!(problems[0].hint.as_deref(), Some("allow_private = true permits private addresses"));
    }
}

/// A public-looking name may resolve to a private address; `/etc/hosts` names this machine on loopback.
#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_connected_to() {
    let guarded = crate::http::client(std::time::Duration::from_secs(5), Some(crate::http::AddressGuard)).unwrap();
    let hook = Webhook::start().await;
    let port = hook.gate.url().rsplit_once(':').map(|(_, port)| port.to_owned()).unwrap();
    let sent = crate::http::send(guarded.post(format!("http://localhost:{port}/hook")).body("{}")).await;
    let no_reply = sent.unwrap_err();
    assert!(no_reply.reason.contains("expected a public address of localhost"), "{}", no_reply.reason);
    assert!(no_reply.is_unsent);
    assert_eq!(hook.ids().len(), 0);
}
