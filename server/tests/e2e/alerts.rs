//! A rule over the real series reaches the receiver of its alerts: raised and cleared, each once, whatever happens to the
//! process in between.
//!
//! PagerDuty and people's webhook services cannot be installed: a server of the test's own takes their place and checks
//! requests as they do (see [`Receiver`]). Deliveries are at least once; the same event keeps its id, so a receiver that
//! remembers ids sees it once, which is what is checked here.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::support::{Receiver, Request, Run, machine_csv, machine_csv_missing, pipeline};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the machine's alert must say, as DuckDB computes it from the CSV (see the module `duckdb`).
const EVENTS: [(&str, &str); 8] = [
    ("2013-12-10T13:45:00Z", "trigger"),
    ("2013-12-10T23:45:00Z", "resolve"),
    ("2013-12-16T13:15:00Z", "trigger"),
    ("2013-12-16T20:00:00Z", "resolve"),
    ("2014-01-28T17:00:00Z", "trigger"),
    ("2014-01-29T22:15:00Z", "resolve"),
    ("2014-02-07T21:15:00Z", "trigger"),
    ("2014-02-09T13:30:00Z", "resolve"),
];

const CONSOLE: &str = "connector   = '${MACHINE_ONCALL:-console}',
    url         = '${MACHINE_ONCALL_URL:-}',
    routing_key = secret('${MACHINE_ONCALL_SECRET:-}')";

const WEBHOOK: &str =
    "connector = 'webhook', url = '${HOOK_URL}', secret = secret('HOOK_SECRET'), allow_private = true";

/// The machine's example with its alerts sent to a webhook.
fn to_a_webhook(dir: &Path, csv: &Path, receiver: &Receiver) -> Run {
    Run::new(pipeline("machine-temperature", dir, &[(CONSOLE, WEBHOOK)]), dir.join("data"))
        .env("MACHINE_CSV", csv)
        .env("HOOK_URL", &receiver.url)
        .env("HOOK_SECRET", SECRET)
}

/// Checks that the receiver, ignoring ids it knows, has seen each event once and in order.
fn assert_each_event_once(requests: &[Request]) {
    let mut first: HashMap<&str, &Request> = HashMap::new();
    let mut events = Vec::new();
    for request in requests {
        request.verify(SECRET);
        let id = request.header("webhook-id");
        match first.get(id) {
            Some(first) => assert_eq!(first.text, request.text, "the same id with another content"),
            None => {
                let data = &request.body["data"];
                let kind = if data["action"] == "trigger" { "alert.triggered" } else { "alert.resolved" };
                assert_eq!(request.body["type"], kind);
                assert_eq!(data["dedup_key"], requests[0].body["data"]["dedup_key"]);
                events.push((data["ts"].as_str().unwrap(), data["action"].as_str().unwrap()));
                first.insert(id, request);
            }
        }
        assert!(requests.iter().any(|other| other.is_taken && other.header("webhook-id") == id), "never taken: {id}");
    }
    assert_eq!(events, EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_every_fault_and_of_its_end() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    to_a_webhook(dir.path(), &csv, &receiver).to_the_end().await;
    let requests = receiver.requests();
    assert_each_event_once(&requests);
    assert_eq!(requests.len(), EVENTS.len(), "nothing is repeated where nothing fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_after_the_first_delivery_repeats_and_loses_nothing() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let run = to_a_webhook(dir.path(), &csv, &receiver);
    for delivered in [1, 3] {
        let running = run.start().await;
        receiver.wait_for("a delivery", |requests| requests.len() >= delivered).await;
        running.kill().await;
    }
    run.to_the_end().await;
    assert_each_event_once(&receiver.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_a_receiver_is_slow_repeats_and_loses_nothing() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let run = to_a_webhook(dir.path(), &csv, &receiver);
    receiver.be_silent();
    let running = run.start().await;
    receiver.wait_for("a request that waits", |requests| !requests.is_empty()).await;
    running.kill().await;
    receiver.answer(200);
    run.to_the_end().await;
    let requests = receiver.requests();
    assert_each_event_once(&requests);
    let ids: Vec<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids[0], ids[1], "what was under way is sent again under its id");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_a_receiver_refuses_repeats_and_loses_nothing() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let run = to_a_webhook(dir.path(), &csv, &receiver);
    receiver.answer(503);
    let running = run.start().await;
    receiver.wait_for("a retry", |requests| requests.len() >= 2).await;
    running.kill().await;
    receiver.answer(200);
    run.to_the_end().await;
    let requests = receiver.requests();
    assert_each_event_once(&requests);
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"), "a retry keeps its id");
}

const FROM_A_FILE: &str = "connector = 'file', path = '${MACHINE_CSV}', format = 'csv', ";

/// The rows of the series with a time before this one, and the rest.
fn split(csv: &str, at: &str) -> (String, String) {
    let (header, rows) = csv.split_once('\n').unwrap();
    let (before, after): (Vec<_>, Vec<_>) = rows.lines().partition(|row| *row < at);
    (format!("{header}\n{}\n", before.join("\n")), format!("{header}\n{}\n", after.join("\n")))
}

/// PagerDuty's answer to a good event is 202. An alert that cleared while nobody could be told is not sent at all, so the
/// series comes in by parts here.
#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_is_told_of_a_fault_and_of_its_end_across_kill_9() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let (dir, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
    let key = "0123456789abcdef0123456789abcdef";
    let run = Run::new(pipeline("machine-temperature", dir.path(), &[(FROM_A_FILE, "")]), dir.path().join("data"))
        .env("MACHINE_ONCALL", "pagerduty")
        .env("MACHINE_ONCALL_URL", &receiver.url)
        .env("MACHINE_ONCALL_SECRET", "PAGERDUTY_ROUTING_KEY")
        .env("PAGERDUTY_ROUTING_KEY", key);
    let csv = std::fs::read_to_string(csv).unwrap();
    let (fault, rest) = split(&csv, "2013-12-10 18:00:00");
    let (cleared, rest) = split(&rest, "2013-12-12");
    let (second_fault, _) = split(&rest, "2013-12-16 16:00:00");
    let taken = |requests: &[Request]| requests.iter().filter(|request| request.is_taken).count();

    receiver.answer(503);
    let running = run.start().await;
    assert_eq!(running.post("/v1/streams/machine", "text/csv", fault).await.0, 200);
    receiver.wait_for("the trigger", |requests| !requests.is_empty()).await;
    running.kill().await;

    receiver.answer(202);
    let running = run.start().await;
    receiver.wait_for("the trigger again", |requests| taken(requests) == 1).await;
    running.kill().await;

    let running = run.start().await;
    assert_eq!(running.post("/v1/streams/machine", "text/csv", cleared).await.0, 200);
    receiver.wait_for("the resolve", |requests| requests.iter().any(|r| r.body["event_action"] == "resolve")).await;
    running.kill().await;

    let running = run.start().await;
    assert_eq!(running.post("/v1/streams/machine", "text/csv", second_fault).await.0, 200);
    let requests = receiver.wait_for("the next trigger", |requests| {
        requests.last().is_some_and(|last| last.body["payload"]["timestamp"] == "2013-12-16T13:15:00Z")
    });
    let requests = requests.await;
    drop(running);

    for request in &requests {
        assert_eq!(request.path, "/v2/enqueue");
        assert_eq!(request.body["routing_key"], key);
        assert_eq!(request.body["dedup_key"], requests[0].body["dedup_key"], "one incident a machine");
    }
    let trigger = &requests[0].body;
    assert_eq!(trigger["payload"]["severity"], "warning");
    assert_eq!(trigger["payload"]["summary"], "machine-1: 49.5 to 51.7 °F in the last hour");
    // What a kill let repeat has the same dedup key and action: PagerDuty folds it into the open incident.
    let mut actions: Vec<&Value> = requests.iter().map(|request| &request.body["event_action"]).collect();
    actions.dedup();
    assert_eq!(actions, ["trigger", "resolve", "trigger"]);
}
