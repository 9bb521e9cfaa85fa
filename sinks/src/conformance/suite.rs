//! The promises, one function each. Every function wants a fresh destination.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gate::Fault;
use super::harness::Harness;
use super::memory::{MemoryLedger, MemoryLog};
use super::rows::row_json;
use crate::connector::Guarantee;
use crate::runner::{Backoff, Phase, Runner};

/// Rows of two partitions arrive, each once and unchanged, and the ledger knows.
pub async fn delivers_rows(harness: &dyn Harness) {
    let (ledger, logs) = (MemoryLedger::default(), [log(harness, 0), log(harness, 1)]);
    logs[0].append(&harness.rows(0..60));
    logs[1].append(&harness.rows(60..100));
    drain(harness, &logs, &ledger).await;
    assert_stored(harness, 0..100, Guarantee::ExactlyOnce).await;
    assert_eq!(ledger.position(logs[0].id()), 60);
    assert_eq!(ledger.position(logs[1].id()), 40);
    assert_eq!(ledger.rejected(), []);
}

/// Odd values arrive as they are, or the row is rejected and its neighbours are not.
pub async fn takes_odd_values(harness: &dyn Harness) {
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    let rows = harness.odd_rows();
    log.append(&rows);
    drain(harness, std::slice::from_ref(&log), &ledger).await;
    let (mut expected, mut expected_rejected) = (Vec::new(), Vec::new());
    for row in 0..rows.num_rows() {
        match harness.expected(row_json(&rows, row)) {
            Some(value) => expected.push(value),
            None => expected_rejected.push(row as u64),
        }
    }
    assert_same(harness.stored().await, expected);
    let mut rejected: Vec<u64> = ledger.rejected().iter().map(|row| row.offset).collect();
    rejected.sort_unstable();
    assert_eq!(rejected, expected_rejected, "offsets of rejected rows: {:?}", ledger.rejected());
}

/// The same write again, by the same sink and by one opened anew, does what the guarantee says.
pub async fn keeps_its_guarantee_when_repeated(harness: &dyn Harness) {
    let log = log(harness, 0);
    log.append(&harness.rows(0..50));
    let deliveries = [log.delivery(0..50)];
    let mut sink = harness.open();
    for _ in 0..2 {
        sink.write(&deliveries).await.expect("the destination is up");
    }
    drop(sink);
    harness.open().write(&deliveries).await.expect("the destination is up");
    assert_stored(harness, 0..50, harness.guarantee()).await;
}

/// A crash after the write and before the cursor moved: the rows are delivered again, with more behind them.
pub async fn survives_a_crash_before_the_cursor_moved(harness: &dyn Harness) {
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    log.append(&harness.rows(0..80));
    harness.open().write(&[log.delivery(0..50)]).await.expect("the destination is up");
    drain(harness, std::slice::from_ref(&log), &ledger).await;
    assert_stored(harness, 0..80, harness.guarantee()).await;
    assert_eq!(ledger.position(log.id()), 80);
}

/// A restart between two drains loses and repeats nothing.
pub async fn survives_a_restart(harness: &dyn Harness) {
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    for (from, to) in [(0, 30), (30, 31), (31, 70)] {
        log.append(&harness.rows(from..to));
        drain(harness, std::slice::from_ref(&log), &ledger).await;
    }
    assert_stored(harness, 0..70, Guarantee::ExactlyOnce).await;
}

/// A destination that is down at the start holds back the cursor, and gets everything once it is up.
pub async fn waits_for_a_destination_that_is_down(harness: &dyn Harness) {
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    harness.take_down().await;
    log.append(&harness.rows(0..20));
    let mut run = Running::start(harness, std::slice::from_ref(&log), &ledger);
    run.retried(3).await;
    assert_eq!(ledger.position(log.id()), 0, "nothing was written yet");
    assert!(run.last_error().is_some(), "an outage is visible");
    log.append(&harness.rows(20..40));
    harness.bring_up().await;
    run.drained().await;
    assert_stored(harness, 0..40, Guarantee::ExactlyOnce).await;
    assert_eq!(ledger.position(log.id()), 40);
}

/// Faults of the network and of the server are retried; what surely was not taken arrives once.
pub async fn retries_through_faults(harness: &dyn Harness) {
    let Some(gate) = harness.gate() else { return };
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    let faults = [
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(503),
        Fault::Reset,
        Fault::HalfAnswer,
    ];
    gate.inject(faults);
    log.append(&harness.rows(0..20));
    drain(harness, std::slice::from_ref(&log), &ledger).await;
    assert!(gate.is_clear(), "not every fault was met");
    assert_stored(harness, 0..20, Guarantee::ExactlyOnce).await;
    assert_eq!(ledger.rejected(), []);
}

/// An answer that is lost on the way may repeat rows only as the guarantee allows.
pub async fn survives_lost_answers(harness: &dyn Harness) {
    let Some(gate) = harness.gate() else { return };
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    gate.inject([Fault::LostAnswer, Fault::LostAnswer]);
    log.append(&harness.rows(0..20));
    drain(harness, std::slice::from_ref(&log), &ledger).await;
    assert_stored(harness, 0..20, harness.guarantee()).await;
}

/// A row that the destination rejects goes to the ledger with its content; its neighbours arrive.
pub async fn rejects_only_the_bad_row(harness: &dyn Harness) {
    let Some(poison) = harness.poison() else { return };
    let (ledger, log) = (MemoryLedger::default(), log(harness, 0));
    log.append(&harness.rows(0..10));
    log.append(&poison);
    log.append(&harness.rows(10..20));
    drain(harness, std::slice::from_ref(&log), &ledger).await;
    assert_stored(harness, 0..20, harness.guarantee()).await;
    assert_eq!(ledger.position(log.id()), 21);
    let rejected = ledger.rejected();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!((&rejected[0].feed, rejected[0].offset), (log.id(), 10));
    assert!(!rejected[0].reason.is_empty());
    let row: Value = serde_json::from_str(&rejected[0].row).expect("a rejected row is kept as JSON");
    assert_eq!(row, row_json(&poison, 0));
}

fn log(harness: &dyn Harness, partition: u32) -> MemoryLog {
    MemoryLog::new("readings", partition, harness.rows(0..0).schema())
}

async fn drain(harness: &dyn Harness, logs: &[MemoryLog], ledger: &MemoryLedger) {
    Running::start(harness, logs, ledger).drained().await;
}

/// A runner at work.
struct Running {
    task: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    retries: watch::Receiver<u32>,
    status: Arc<crate::SinkStatus>,
}

impl Running {
    fn start(harness: &dyn Harness, logs: &[MemoryLog], ledger: &MemoryLedger) -> Self {
        let feeds = logs.iter().map(|log| log.feed(ledger)).collect();
        let (retried, retries) = watch::channel(0);
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5)).with_jitter(move || {
            retried.send_modify(|count| *count += 1);
            0.0
        });
        let sink = ledger.watch(harness.open());
        let runner = Runner::new("conformance", sink, feeds, Arc::new(ledger.clone())).with_backoff(backoff);
        let status = runner.status();
        let phase = watch::Sender::new(Phase::Run);
        let task = tokio::spawn(runner.run(phase.subscribe()));
        Self { task, phase, retries, status }
    }

    async fn retried(&mut self, times: u32) {
        self.retries.wait_for(|count| *count >= times).await.expect("the runner runs");
    }

    fn last_error(&self) -> Option<String> {
        self.status.last_error()
    }

    async fn drained(self) {
        self.phase.send_replace(Phase::Drain);
        let limit = Duration::from_secs(60);
        let error = || self.status.last_error();
        match tokio::time::timeout(limit, self.task).await {
            Ok(done) => done.expect("the runner did not panic"),
            Err(_) => panic!("not drained in {limit:?}; last error {:?}", error()),
        }
        assert_eq!(self.status.lag_rows(), 0);
    }
}

/// The destination holds exactly these ids; duplicates only where the guarantee has them.
async fn assert_stored(harness: &dyn Harness, ids: std::ops::Range<i64>, guarantee: Guarantee) {
    let rows = harness.rows(ids);
    let expected = (0..rows.num_rows()).filter_map(|row| harness.expected(row_json(&rows, row))).collect();
    let mut stored = harness.stored().await;
    if guarantee == Guarantee::AtLeastOnce {
        let mut seen = std::collections::HashSet::new();
        stored.retain(|row| seen.insert(row.to_string()));
    }
    assert_same(stored, expected);
}

/// Both hold the same rows as often, in whatever order.
fn assert_same(stored: Vec<Value>, expected: Vec<Value>) {
    let mut counts: HashMap<String, i64> = HashMap::new();
    for row in stored {
        *counts.entry(canonical(&row)).or_default() += 1;
    }
    for row in expected {
        *counts.entry(canonical(&row)).or_default() -= 1;
    }
    let mut wrong: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
    wrong.sort();
    assert!(wrong.is_empty(), "rows that are too many (+) or too few (-): {wrong:#?}");
}

/// JSON with sorted keys and without nulls, since not every destination has them.
fn canonical(row: &Value) -> String {
    let Value::Object(fields) = row else { return row.to_string() };
    let fields: std::collections::BTreeMap<_, _> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
    serde_json::to_string(&fields).expect("a map of JSON values is JSON")
}

/// Makes a test of each promise; the argument is an async expression that gives a harness with a fresh destination.
#[macro_export]
#[doc(hidden)]
macro_rules! sink_conformance {
    ($harness:expr) => {
        $crate::sink_conformance!(@tests $harness; delivers_rows, takes_odd_values, keeps_its_guarantee_when_repeated,
            survives_a_crash_before_the_cursor_moved, survives_a_restart, waits_for_a_destination_that_is_down,
            retries_through_faults, survives_lost_answers, rejects_only_the_bad_row);
    };
    (@tests $harness:expr; $($promise:ident),*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let harness = $harness.await;
                $crate::conformance::suite::$promise(&harness).await;
            }
        )*
    };
}
