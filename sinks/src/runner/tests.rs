//! The runner against a sink that does what a script says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Backoff, Phase, Runner, SinkState, SinkStatus};
use crate::conformance::{MemoryLedger, MemoryLog, sensor_rows, sensor_schema};
use crate::error::{Error, Result};
use crate::sink::{Delivery, Feed, FeedId, FeedRows, Ledger, Limits, Outcome, Rejected, RejectedRow, Sink};

type Answer = Box<dyn FnOnce(&[Delivery]) -> Result<Outcome> + Send>;

/// What the sink was asked to write: feed partition and offsets.
type Written = Vec<(u32, Vec<u64>)>;

struct Script {
    limits: Limits,
    extends: bool,
    position: Arc<Mutex<Option<u64>>>,
    answers: VecDeque<Answer>,
    writes: watch::Sender<Vec<Written>>,
}

impl Script {
    fn new(answers: Vec<Answer>) -> Self {
        Self {
            limits: Limits { max_rows: 1000, linger: Duration::ZERO },
            extends: false,
            position: Arc::default(),
            answers: answers.into(),
            writes: watch::Sender::default(),
        }
    }
}

#[async_trait]
impl Sink for Script {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn extends_on_retry(&self) -> bool {
        self.extends
    }

    async fn position(&mut self, _: &FeedId) -> Result<Option<u64>> {
        Ok(*self.position.lock())
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let written = deliveries.iter().map(|d| (d.feed.partition, d.offsets.clone())).collect();
        self.writes.send_modify(|writes| writes.push(written));
        self.answers.pop_front().map_or_else(|| Ok(Outcome::default()), |answer| answer(deliveries))
    }
}

fn fails(error: Error) -> Answer {
    Box::new(move |_| Err(error))
}

fn unavailable() -> Error {
    Error::Unavailable { destination: "there".into(), reason: "busy".into(), retry_after: None }
}

fn log(rows: i64) -> MemoryLog {
    partition(0, 0..rows)
}

fn partition(partition: u32, ids: std::ops::Range<i64>) -> MemoryLog {
    let log = MemoryLog::new("readings", partition, sensor_schema());
    log.append(&sensor_rows(ids));
    log
}

struct Running {
    task: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    writes: watch::Receiver<Vec<Written>>,
    status: Arc<SinkStatus>,
}

impl Running {
    fn start(script: Script, feeds: Vec<Box<dyn Feed>>, ledger: impl Ledger + 'static) -> Self {
        Self::start_with(script, feeds, ledger, Backoff::new(Duration::from_millis(1), Duration::from_millis(2)))
    }

    fn start_with(script: Script, feeds: Vec<Box<dyn Feed>>, ledger: impl Ledger + 'static, backoff: Backoff) -> Self {
        let writes = script.writes.subscribe();
        let runner = Runner::new("script", Box::new(script), feeds, Arc::new(ledger)).with_backoff(backoff);
        let status = runner.status();
        let phase = watch::Sender::new(Phase::Run);
        let task = tokio::spawn(runner.run(phase.subscribe()));
        Self { task, phase, writes, status }
    }

    async fn written(&mut self, times: usize) -> Vec<Written> {
        self.writes.wait_for(|writes| writes.len() >= times).await.unwrap().clone()
    }

    /// Drains and returns every write.
    async fn drained(self) -> Vec<Written> {
        self.phase.send_replace(Phase::Drain);
        self.task.await.unwrap();
        self.writes.borrow().clone()
    }
}

#[tokio::test]
async fn after_an_error_the_very_same_rows_are_tried_again() {
    let (ledger, log) = (MemoryLedger::default(), log(5));
    let late = log.clone();
    let appends_then_fails: Answer = Box::new(move |_| {
        late.append(&sensor_rows(5..8));
        Err(unavailable())
    });
    let script = Script::new(vec![appends_then_fails, fails(unavailable())]);
    let run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    let status = Arc::clone(&run.status);
    let first = vec![(0, vec![0, 1, 2, 3, 4])];
    assert_eq!(run.drained().await, [first.clone(), first.clone(), first, vec![(0, vec![5, 6, 7])]]);
    assert_eq!((status.delivered_rows(), status.writes(), status.retries()), (8, 2, 2));
    assert_eq!((status.state(), status.last_error(), status.lag_rows()), (SinkState::Ok, None, 0));
    assert_eq!(ledger.position(log.id()), 8);
}

#[tokio::test]
async fn a_sink_that_wants_it_sees_later_rows_behind_the_same() {
    let (ledger, log) = (MemoryLedger::default(), log(3));
    let late = log.clone();
    let appends_then_fails: Answer = Box::new(move |_| {
        late.append(&sensor_rows(3..5));
        Err(unavailable())
    });
    let script = Script { extends: true, ..Script::new(vec![appends_then_fails]) };
    let run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    assert_eq!(run.drained().await, [vec![(0, vec![0, 1, 2])], vec![(0, vec![0, 1, 2, 3, 4])]]);
}

#[tokio::test]
async fn the_destinations_position_is_where_it_starts() {
    let (ledger, log) = (MemoryLedger::default(), log(10));
    let script = Script::new(vec![]);
    *script.position.lock() = Some(6);
    let run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    assert_eq!(run.drained().await, [vec![(0, vec![6, 7, 8, 9])]]);
    assert_eq!(ledger.position(log.id()), 10);
}

#[tokio::test]
async fn the_ledger_follows_a_destination_that_is_ahead_even_without_new_rows() {
    let (ledger, log) = (MemoryLedger::default(), log(10));
    let script = Script::new(vec![]);
    *script.position.lock() = Some(10);
    let run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    assert_eq!(run.drained().await, [] as [Written; 0]);
    assert_eq!(ledger.position(log.id()), 10);
}

#[tokio::test]
async fn a_destination_beyond_the_log_is_refused_not_skipped_to() {
    let (ledger, log) = (MemoryLedger::default(), log(10));
    let script = Script::new(vec![]);
    *script.position.lock() = Some(11);
    let (retried, mut retries) = watch::channel(());
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1)).with_jitter(move || {
        retried.send_replace(());
        0.0
    });
    let run = Running::start_with(script, vec![log.feed(&ledger)], ledger.clone(), backoff);
    retries.changed().await.unwrap();
    retries.changed().await.unwrap();
    assert_eq!(run.status.state(), SinkState::Failed);
    assert!(run.status.last_error().unwrap().contains("offset 11, but the log ends at 10"));
    run.phase.send_replace(Phase::Stop);
    run.task.await.unwrap();
    assert_eq!(ledger.position(log.id()), 0);
}

#[tokio::test]
async fn after_a_conflict_the_position_is_read_again() {
    let (ledger, log) = (MemoryLedger::default(), log(10));
    let script = Script::new(vec![]);
    let position = Arc::clone(&script.position);
    let conflict: Answer = Box::new(move |_| {
        *position.lock() = Some(4);
        Err(Error::Conflict { destination: "there".into(), reason: "another".into() })
    });
    let script = Script { answers: [conflict].into(), ..script };
    let run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    let writes = run.drained().await;
    assert_eq!(writes, [vec![(0, (0..10).collect())], vec![(0, (4..10).collect())]]);
}

#[tokio::test]
async fn what_needs_a_person_is_reported_and_still_tried() {
    let (ledger, log) = (MemoryLedger::default(), log(1));
    let schema = || Error::Schema { expected: "a".into(), found: "b".into() };
    let script = Script::new(vec![fails(schema()), fails(schema())]);
    let (seen, mut states) = watch::channel(None);
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let run = Running::start_with(
        script,
        vec![log.feed(&ledger)],
        ledger.clone(),
        backoff.with_jitter(move || {
            seen.send_replace(Some(()));
            0.0
        }),
    );
    states.changed().await.unwrap();
    let status = Arc::clone(&run.status);
    assert_eq!(run.drained().await.len(), 3);
    assert_eq!((status.state(), status.retries()), (SinkState::Ok, 2));
}

#[tokio::test]
async fn rejected_rows_are_stored_with_their_content_and_the_position() {
    let (ledger, log) = (MemoryLedger::default(), log(3));
    let rejects: Answer =
        Box::new(|_| Ok(Outcome { rejected: vec![Rejected { delivery: 0, row: 1, reason: "too hot".into() }] }));
    let run = Running::start(Script::new(vec![rejects]), vec![log.feed(&ledger)], ledger.clone());
    let status = Arc::clone(&run.status);
    run.drained().await;
    let rejected = ledger.rejected();
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].offset, rejected[0].reason.as_str()), (1, "too hot"));
    assert!(rejected[0].row.contains(r#""id":1"#), "{}", rejected[0].row);
    assert_eq!((status.delivered_rows(), status.rejected_rows()), (2, 1));
}

/// A ledger that fails a few times.
struct Shaky(MemoryLedger, Mutex<u32>);

#[async_trait]
impl Ledger for Shaky {
    async fn advance(&self, positions: &[(FeedId, u64)], rejected: Vec<RejectedRow>) -> Result<()> {
        let fails = {
            let mut left = self.1.lock();
            *left = left.saturating_sub(1);
            *left > 0
        };
        if fails { Err(Error::Log("disk full".into())) } else { self.0.advance(positions, rejected).await }
    }
}

#[tokio::test]
async fn when_the_ledger_fails_only_the_ledger_is_tried_again() {
    let (ledger, log) = (MemoryLedger::default(), log(3));
    let shaky = Shaky(ledger.clone(), Mutex::new(4));
    let run = Running::start(Script::new(vec![]), vec![log.feed(&ledger)], shaky);
    assert_eq!(run.drained().await.len(), 1, "written once");
    assert_eq!(ledger.position(log.id()), 3);
}

#[tokio::test]
async fn a_busy_feed_does_not_starve_the_others() {
    let ledger = MemoryLedger::default();
    let logs = [partition(0, 0..1000), partition(1, 0..10), partition(2, 0..10)];
    let script = Script { limits: Limits { max_rows: 30, linger: Duration::ZERO }, ..Script::new(vec![]) };
    let feeds = logs.iter().map(|log| log.feed(&ledger)).collect();
    let mut run = Running::start(script, feeds, ledger.clone());
    let writes = run.written(1).await;
    assert_eq!(writes[0], [(0, (0..10).collect()), (1, (0..10).collect()), (2, (0..10).collect())]);
    let writes = run.drained().await;
    assert!(writes.iter().all(|write| write.iter().map(|(_, offsets)| offsets.len()).sum::<usize>() <= 30));
    assert_eq!(ledger.position(logs[0].id()), 1000);
}

#[tokio::test]
async fn a_full_write_does_not_wait_for_the_linger_and_a_drain_waits_for_none() {
    let (ledger, log) = (MemoryLedger::default(), log(25));
    let hour = Duration::from_secs(3600);
    let script = Script { limits: Limits { max_rows: 10, linger: hour }, ..Script::new(vec![]) };
    let mut run = Running::start(script, vec![log.feed(&ledger)], ledger.clone());
    assert_eq!(run.written(2).await.len(), 2, "the last five linger");
    assert_eq!(run.drained().await.len(), 3);
}

#[tokio::test]
async fn rows_that_come_later_are_delivered_without_being_asked_for() {
    let (ledger, log) = (MemoryLedger::default(), log(1));
    let mut run = Running::start(Script::new(vec![]), vec![log.feed(&ledger)], ledger.clone());
    run.written(1).await;
    log.append(&sensor_rows(1..3));
    ledger.reached(log.id(), 3).await;
    assert_eq!(run.drained().await.len(), 2);
}

/// A feed whose filter lets nothing through.
struct Nothing(Box<dyn Feed>);

#[async_trait]
impl Feed for Nothing {
    fn id(&self) -> &FeedId {
        self.0.id()
    }

    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn seek(&mut self, offset: u64) {
        self.0.seek(offset);
    }

    async fn next(&mut self, max_rows: usize) -> Result<Option<FeedRows>> {
        let read = self.0.next(max_rows).await?;
        Ok(read.map(|read| FeedRows { rows: RecordBatch::new_empty(sensor_schema()), offsets: vec![], ..read }))
    }

    async fn wait(&mut self) {
        self.0.wait().await;
    }

    fn lag(&self) -> u64 {
        self.0.lag()
    }
}

#[tokio::test]
async fn positions_move_where_no_row_passes_the_filter_and_nothing_is_written() {
    let (ledger, log) = (MemoryLedger::default(), log(50));
    let run = Running::start(Script::new(vec![]), vec![Box::new(Nothing(log.feed(&ledger)))], ledger.clone());
    assert_eq!(run.drained().await, [] as [Written; 0]);
    assert_eq!(ledger.position(log.id()), 50);
}

/// A feed that cannot be read.
struct Damaged(Nothing);

#[async_trait]
impl Feed for Damaged {
    fn id(&self) -> &FeedId {
        self.0.id()
    }

    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn seek(&mut self, offset: u64) {
        self.0.seek(offset);
    }

    async fn next(&mut self, _: usize) -> Result<Option<FeedRows>> {
        Err(Error::Log("segment damaged".into()))
    }

    async fn wait(&mut self) {
        self.0.wait().await;
    }

    fn lag(&self) -> u64 {
        self.0.lag()
    }
}

#[tokio::test]
async fn a_feed_that_cannot_be_read_shows_and_does_not_hold_back_the_others() {
    let ledger = MemoryLedger::default();
    let (good, bad) = (partition(0, 0..10), partition(1, 0..10));
    let (failed, mut failures) = watch::channel(());
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1)).with_jitter(move || {
        failed.send_replace(());
        0.0
    });
    let feeds: Vec<Box<dyn Feed>> = vec![Box::new(Damaged(Nothing(bad.feed(&ledger)))), good.feed(&ledger)];
    let run = Running::start_with(Script::new(vec![]), feeds, ledger.clone(), backoff);
    ledger.reached(good.id(), 10).await;
    failures.changed().await.unwrap();
    assert_eq!(run.status.state(), SinkState::Failed);
    assert_eq!(run.status.last_error().as_deref(), Some("log: segment damaged"));
    run.phase.send_replace(Phase::Stop);
    run.task.await.unwrap();
    assert_eq!((ledger.position(bad.id()), run.status.lag_rows()), (0, 10));
}

#[tokio::test]
async fn stop_ends_a_long_wait_and_leaves_the_cursor() {
    let (ledger, log) = (MemoryLedger::default(), log(5));
    let hour = Error::Unavailable {
        destination: "there".into(),
        reason: "busy".into(),
        retry_after: Some(Duration::from_secs(3600)),
    };
    let mut run = Running::start(Script::new(vec![fails(hour)]), vec![log.feed(&ledger)], ledger.clone());
    run.written(1).await;
    run.phase.send_replace(Phase::Stop);
    run.task.await.unwrap();
    assert_eq!((run.status.state(), run.status.lag_rows()), (SinkState::Retrying, 5));
    assert_eq!(ledger.position(log.id()), 0);
}

#[tokio::test]
async fn a_sender_that_is_gone_stops_it() {
    let (ledger, log) = (MemoryLedger::default(), log(5));
    let run = Running::start(Script::new(vec![]), vec![log.feed(&ledger)], ledger.clone());
    ledger.reached(log.id(), 5).await;
    drop(run.phase);
    run.task.await.unwrap();
}
