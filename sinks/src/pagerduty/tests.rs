//! Conformance of PagerDuty events. The service itself cannot be installed: a local server checks the contract of the
//! Events API v2 and keeps incidents as PagerDuty does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::alert_schema;
use crate::conformance::{Fault, Gate, Harness, MemoryLog, alert_rows};
use crate::connector::Guarantee;
use crate::error::Error;
use crate::settings::{Secret, SinkOption, SinkSettings};
use crate::sink::{Delivery, Sink};

const ROUTING_KEY: &str = "R0123456789ABCDEF0123456789ABCDE";

/// What PagerDuty keeps: the events it took, and the incidents that are open, by key.
#[derive(Default)]
struct Service {
    events: Vec<Value>,
    incidents: BTreeMap<String, Value>,
    opened: usize,
    refuses: Option<(&'static str, StatusCode)>,
}

type Shared = Arc<Mutex<Service>>;

/// What is wrong with an event, by PagerDuty's documentation.
fn wrong(headers: &HeaderMap, body: &str, event: &Value) -> Option<&'static str> {
    let text = |value: &Value, max: usize| value.as_str().is_some_and(|t| !t.is_empty() && t.chars().count() <= max);
    if headers.get("content-type").is_none_or(|kind| kind != "application/json") {
        return Some("content type");
    }
    if body.len() > 512 * 1024 {
        return Some("too large");
    }
    if event["routing_key"].as_str().is_none_or(|key| key.len() != 32) {
        return Some("routing_key");
    }
    if !text(&event["dedup_key"], 255) {
        return Some("dedup_key");
    }
    match event["event_action"].as_str() {
        Some("resolve") => None,
        Some("trigger") => {
            let payload = &event["payload"];
            let severities = ["critical", "error", "warning", "info"];
            let is_severity = payload["severity"].as_str().is_some_and(|severity| severities.contains(&severity));
            let is_time =
                payload["timestamp"].as_str().is_some_and(|t| chrono::DateTime::parse_from_rfc3339(t).is_ok());
            if !text(&payload["summary"], 1024) {
                Some("summary")
            } else if !text(&payload["source"], 1024) {
                Some("source")
            } else if !is_severity {
                Some("severity")
            } else if !is_time {
                Some("timestamp")
            } else {
                None
            }
        }
        _ => Some("event_action"),
    }
}

async fn enqueue(State(service): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let event: Value = serde_json::from_str(&body).unwrap_or_default();
    if let Some(wrong) = wrong(&headers, &body, &event) {
        let answer = json!({"status": "invalid event", "errors": [wrong]});
        return (StatusCode::BAD_REQUEST, answer.to_string()).into_response();
    }
    let mut service = service.lock();
    if let Some((_, status)) = service.refuses.filter(|(word, _)| body.contains(word)) {
        return status.into_response();
    }
    let key = event["dedup_key"].as_str().unwrap().to_owned();
    if event["event_action"] == "trigger" {
        if service.incidents.insert(key, event["payload"]["custom_details"].clone()).is_none() {
            service.opened += 1;
        }
    } else {
        service.incidents.remove(&key);
    }
    service.events.push(event);
    (StatusCode::ACCEPTED, r#"{"status":"success"}"#).into_response()
}

struct PagerDuty {
    service: Shared,
    gate: Gate,
}

impl PagerDuty {
    async fn start() -> Self {
        let service = Shared::default();
        let app = Router::new()
            .route("/v2/enqueue", post(enqueue))
            .layer(axum::extract::DefaultBodyLimit::max(16 << 20))
            .with_state(Arc::clone(&service));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { service, gate: Gate::before(address).await.unwrap() }
    }

    fn open_with(&self, options: &[(&str, &str)]) -> Box<dyn Sink> {
        let mut all: BTreeMap<String, SinkOption> = BTreeMap::from([
            ("routing_key".to_owned(), Secret::new(ROUTING_KEY).into()),
            ("url".to_owned(), self.gate.url().into()),
        ]);
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        let settings = SinkSettings {
            name: "oncall".into(),
            connector: "pagerduty".into(),
            options: all,
            base_dir: PathBuf::new(),
            deployment: "plant-1".into(),
        };
        crate::open(settings, alert_schema()).unwrap()
    }

    /// Events that were taken, as `action key`.
    fn taken(&self) -> Vec<String> {
        let word = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
        let service = self.service.lock();
        service
            .events
            .iter()
            .map(|event| format!("{} {}", word(event, "event_action"), word(event, "dedup_key")))
            .collect()
    }
}

#[async_trait]
impl Harness for PagerDuty {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn open(&self) -> Box<dyn Sink> {
        self.open_with(&[])
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        alert_rows(ids)
    }

    /// The details of the open incidents.
    async fn stored(&self) -> Vec<Value> {
        let service = self.service.lock();
        assert_eq!(service.opened, service.incidents.len(), "no incident was opened twice");
        service.incidents.values().cloned().collect()
    }

    fn expected(&self, row: Value) -> Option<Value> {
        let is_sendable = row["severity"] != "odd" && row["action"] != "odd" && row["summary"] != "";
        let details = row["details"].as_str().unwrap();
        is_sendable.then(|| serde_json::from_str(details).unwrap_or_else(|_| json!({"details": details})))
    }

    fn odd_rows(&self) -> RecordBatch {
        let plain = || alert_rows(0..1);
        let rows = [
            ("summary", "Grüße \"q\" \\ 温度 🌡️\n"),
            ("summary", ""),
            ("severity", "odd"),
            ("action", "odd"),
            ("key", "no JSON"),
            ("key", "{}"),
            ("details", r#"{"peak": null, "unit": "°C", "nested": {"a": [1, 2.5]}}"#),
            ("details", "no JSON"),
        ];
        let rows: Vec<RecordBatch> = rows
            .iter()
            .enumerate()
            .map(|(index, (column, value))| with(&with(&plain(), "dedup_key", &format!("odd-{index}")), column, value))
            .collect();
        concat_batches(&alert_schema(), &rows).unwrap()
    }

    fn poison(&self) -> Option<RecordBatch> {
        Some(with(&alert_rows(9000..9001), "severity", "catastrophic"))
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }
}

crate::sink_conformance!(PagerDuty::start());

/// The rows with one column replaced.
fn with(rows: &RecordBatch, column: &str, value: &str) -> RecordBatch {
    let index = rows.schema().index_of(column).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[index] = Arc::new(StringArray::from(vec![value; rows.num_rows()])) as ArrayRef;
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Events such as `T1 R1 T2`: action and id.
fn events(script: &str) -> MemoryLog {
    let log = MemoryLog::new("alerts", 0, alert_schema());
    for event in script.split_whitespace() {
        let id: i64 = event[1..].parse().unwrap();
        let action = if event.starts_with('T') { "trigger" } else { "resolve" };
        log.append(&with(&alert_rows(id..id + 1), "action", action));
    }
    log
}

/// A sink that has been running for long: the process before it did not see what comes.
async fn seasoned(service: &PagerDuty) -> (Box<dyn Sink>, u64) {
    let mut sink = service.open();
    let rejected = with(&alert_rows(0..1), "action", "none");
    let log = MemoryLog::new("alerts", 0, alert_schema());
    for _ in 0..500 {
        log.append(&rejected);
    }
    sink.write(&[log.delivery(0..500)]).await.unwrap();
    (sink, 500)
}

/// A delivery of a log's rows as if they stood at a later offset.
fn shifted(log: &MemoryLog, offsets: std::ops::Range<u64>, by: u64) -> Delivery {
    let mut delivery = log.delivery(offsets);
    delivery.start_offset += by;
    delivery.end_offset += by;
    delivery.offsets.iter_mut().for_each(|offset| *offset += by);
    delivery
}

#[tokio::test]
async fn a_trigger_says_everything_and_a_resolve_what_it_needs() {
    let service = PagerDuty::start().await;
    let mut sink = service.open_with(&[("component", "spindle"), ("group", "hall 2"), ("client_url", "http://t/")]);
    let log = events("T7 R8");
    sink.write(&[log.delivery(0..2)]).await.unwrap();
    let events = service.service.lock().events.clone();
    assert_eq!(
        events[0],
        json!({
            "routing_key": ROUTING_KEY,
            "event_action": "trigger",
            "dedup_key": "plant/overheating/7",
            "client": "thermocline",
            "client_url": "http://t/",
            "payload": {
                "summary": "press-7 reached 93.5 °C",
                "source": "press-7",
                "severity": "info",
                "timestamp": "2026-11-22T00:00:07Z",
                "class": "overheating",
                "component": "spindle",
                "group": "hall 2",
                "custom_details": {"id": 7, "peak": 93.5},
            },
        })
    );
    assert_eq!(
        events[1],
        json!({"routing_key": ROUTING_KEY, "event_action": "resolve", "dedup_key": "plant/overheating/8"})
    );
}

#[tokio::test]
async fn what_was_raised_and_cleared_while_it_waited_is_not_sent() {
    let service = PagerDuty::start().await;
    let (mut sink, by) = seasoned(&service).await;
    let log = events("T1 T2 R1 R3");
    sink.write(&[shifted(&log, 0..4, by)]).await.unwrap();
    assert_eq!(service.taken(), ["trigger plant/overheating/2", "resolve plant/overheating/3"]);
}

#[tokio::test]
async fn after_a_restart_the_resolve_is_sent_since_the_trigger_may_have_been() {
    let service = PagerDuty::start().await;
    let log = events("T1 R1");
    // This process crashed after the trigger, before the cursor moved.
    service.open().write(&[log.delivery(0..1)]).await.unwrap();
    service.open().write(&[log.delivery(0..2)]).await.unwrap();
    assert_eq!(service.taken(), ["trigger plant/overheating/1", "resolve plant/overheating/1"]);
    assert_eq!(service.service.lock().incidents.len(), 0);
}

#[tokio::test]
async fn a_trigger_whose_answer_was_lost_is_resolved() {
    let service = PagerDuty::start().await;
    let (mut sink, by) = seasoned(&service).await;
    let log = events("T1 R1");
    service.gate.inject([Fault::LostAnswer]);
    sink.write(&[shifted(&log, 0..1, by)]).await.unwrap_err();
    sink.write(&[shifted(&log, 0..2, by)]).await.unwrap();
    assert_eq!(service.taken(), ["trigger plant/overheating/1", "resolve plant/overheating/1"]);
}

#[tokio::test]
async fn a_trigger_that_was_surely_not_taken_is_forgotten_with_its_resolve() {
    let service = PagerDuty::start().await;
    let (mut sink, by) = seasoned(&service).await;
    let log = events("T1 R1");
    service.gate.inject([Fault::Status(429)]);
    let error = sink.write(&[shifted(&log, 0..1, by)]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { retry_after: Some(_), .. }), "{error}");
    sink.write(&[shifted(&log, 0..2, by)]).await.unwrap();
    assert_eq!(service.taken(), [] as [String; 0]);
}

#[tokio::test]
async fn a_repeated_write_does_not_reopen_what_it_resolved() {
    let service = PagerDuty::start().await;
    let (mut sink, by) = seasoned(&service).await;
    let log = events("T1");
    sink.write(&[shifted(&log, 0..1, by)]).await.unwrap();
    let log = events("T1 R1 T2");
    service.service.lock().refuses = Some(("overheating/2", StatusCode::SERVICE_UNAVAILABLE));
    sink.write(&[shifted(&log, 1..3, by)]).await.unwrap_err();
    service.service.lock().refuses = None;
    sink.write(&[shifted(&log, 1..3, by)]).await.unwrap();
    let taken = ["trigger plant/overheating/1", "resolve plant/overheating/1", "trigger plant/overheating/2"];
    assert_eq!(service.taken(), taken);
}

#[tokio::test]
async fn wrong_credentials_need_a_person_and_lose_nothing() {
    let service = PagerDuty::start().await;
    service.service.lock().refuses = Some(("overheating", StatusCode::FORBIDDEN));
    let error = service.open().write(&[events("T1").delivery(0..1)]).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn events_are_cut_to_what_pagerduty_takes() {
    let service = PagerDuty::start().await;
    let details = json!({"id": 1, "log": "x".repeat(600_000), "small": "kept"}).to_string();
    let mut rows = alert_rows(1..2);
    let long = "ä".repeat(2000);
    for (column, value) in [("summary", long.as_str()), ("dedup_key", &long), ("details", &details)] {
        rows = with(&rows, column, value);
    }
    let log = MemoryLog::new("alerts", 0, alert_schema());
    log.append(&rows);
    let outcome = service.open().write(&[log.delivery(0..1)]).await.unwrap();
    assert_eq!(outcome.rejected, []);
    let event = service.service.lock().events[0].clone();
    assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), 1024);
    assert_eq!(event["dedup_key"].as_str().unwrap().len(), 64);
    let details = &event["payload"]["custom_details"];
    assert_eq!(details["small"], "kept");
    assert!(details["log"].as_str().unwrap().ends_with("… (600002 bytes)"), "{details}");
}

#[tokio::test]
async fn many_large_details_are_left_out_together() {
    let service = PagerDuty::start().await;
    let details: serde_json::Map<String, Value> =
        (0..20_000).map(|n| (format!("field {n}"), "y".repeat(60).into())).collect();
    let rows = with(&alert_rows(1..2), "details", &Value::Object(details).to_string());
    assert_eq!(rows.column(7).as_string::<i32>().null_count(), 0);
    let log = MemoryLog::new("alerts", 0, alert_schema());
    log.append(&rows);
    assert_eq!(service.open().write(&[log.delivery(0..1)]).await.unwrap().rejected, []);
    let event = service.service.lock().events[0].clone();
    assert_eq!(event["payload"]["custom_details"], json!({"cut": "details too large to be sent"}));
}

#[test]
fn a_routing_key_has_32_characters() {
    let options = BTreeMap::from([("routing_key".to_owned(), Secret::new("short").into())]);
    let problems = crate::check("pagerduty", &options, &alert_schema(), true);
    assert_eq!(problems[0].message, "expected an integration key of 32 letters and digits, found one of 5 characters");
}
