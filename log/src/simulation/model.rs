//! What the log has promised: every change it was asked for, in order, and what became of each.
//!
//! After a crash the log must hold what was acknowledged or seen, then some number of the changes that were under way
//! (each entirely or not at all, none without those before it), and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot::error::TryRecvError;

use crate::commit::{OffsetRange, Receipt};
use crate::error::{Error, Result};
use crate::intake::Reply;
use crate::simulation::ids::{Bounds, Id, Ids, Verdict};
use crate::simulation::rows::Level;
use crate::stream::{Retention, Stream, StreamId, StreamSpec};

/// One row as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub n: i64,
    pub append_ms: i64,
    /// The columns that it was appended with.
    pub level: Level,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PartitionModel {
    /// All rows there ever were, by offset.
    pub rows: Vec<Row>,
    /// The oldest row that was seen to be kept.
    pub start: u64,
    /// Retention may have removed the rows before.
    pub removable: u64,
}

impl PartitionModel {
    pub(super) fn end(&self) -> u64 {
        self.rows.len() as u64
    }

    fn allow_removal(&mut self, retention: Retention, slowest_cursor: u64, now_ms: i64) {
        if retention.max_bytes.is_some_and(|bytes| bytes < SMALL_RETENTION_BYTES) {
            self.removable = self.end();
        }
        let Some(max_age) = retention.max_age else { return };
        let oldest_ms = now_ms.saturating_sub(ms(max_age));
        let is_old = |row: &Row| row.append_ms < oldest_ms;
        while self.removable < self.end().min(slowest_cursor)
            && is_old(&self.rows[usize::try_from(self.removable).unwrap()])
        {
            self.removable += 1;
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct StreamModel {
    pub id: StreamId,
    pub spec: StreamSpec,
    /// What held before, but not before the sealer's last look began: it may still go by that.
    earlier: Vec<Retention>,
    pub partitions: Vec<PartitionModel>,
}

/// Everything a log holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    pub streams: BTreeMap<String, StreamModel>,
    pub cursors: BTreeMap<(String, StreamId, u32), u64>,
    pub values: BTreeMap<String, Vec<u8>>,
    pub ids: Ids,
}

/// Rows of a commit.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub stream: StreamId,
    pub partition: u32,
    pub level: Level,
    pub numbers: Vec<i64>,
}

/// What a log was asked to do.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Commit {
        id: Option<Id>,
        rows: Vec<Appended>,
        cursors: Vec<(String, StreamId, u32, u64)>,
        values: Vec<(String, Option<Vec<u8>>)>,
    },
    Define(StreamId, StreamSpec),
}

impl Change {
    fn id(&self) -> Option<Id> {
        match self {
            Self::Commit { id, .. } => *id,
            Self::Define(..) => None,
        }
    }
}

impl Contents {
    pub(super) fn partition(&mut self, stream: StreamId, partition: u32) -> &mut PartitionModel {
        let stream = self.streams.values_mut().find(|known| known.id == stream).expect("the stream is known");
        &mut stream.partitions[partition as usize]
    }

    /// Does the change, unless its id says that it was done before or cannot be; returns the offsets that its rows get.
    pub(super) fn apply(&mut self, change: &Change, append_ms: i64) -> Vec<OffsetRange> {
        let mut ranges = Vec::new();
        if matches!(self.ids.decide(change.id()), Verdict::Duplicate(_) | Verdict::OutOfSequence) {
            return ranges;
        }
        match change {
            Change::Define(id, spec) => {
                let partitions = vec![PartitionModel::default(); spec.partitions as usize];
                let new = StreamModel { id: *id, spec: spec.clone(), earlier: Vec::new(), partitions };
                let stream = self.streams.entry(spec.name.clone()).or_insert(new);
                stream.earlier.push(stream.spec.retention);
                stream.spec = spec.clone();
            }
            Change::Commit { id, rows, cursors, values } => {
                for Appended { stream, partition, level, numbers } in rows {
                    let known = self.partition(*stream, *partition);
                    let start = known.end();
                    known.rows.extend(numbers.iter().map(|n| Row { n: *n, append_ms, level: *level }));
                    ranges.push(OffsetRange { stream: *stream, partition: *partition, start, end: known.end() });
                }
                for (name, stream, partition, next_offset) in cursors {
                    self.cursors.insert((name.clone(), *stream, *partition), *next_offset);
                }
                for (key, value) in values {
                    match value {
                        Some(value) => self.values.insert(key.clone(), value.clone()),
                        None => self.values.remove(key),
                    };
                }
                if let Some(id) = id {
                    self.ids.store(*id, &ranges, append_ms);
                }
            }
        }
        ranges
    }

    /// What was removed or forgotten there may be here too.
    fn allow_as(&mut self, other: &Self) {
        self.ids.latest_ms = other.ids.latest_ms;
        for (name, stream) in &mut self.streams {
            let Some(other) = other.streams.get(name) else { continue };
            for (ours, other) in stream.partitions.iter_mut().zip(&other.partitions) {
                ours.removable = ours.removable.max(other.removable);
            }
        }
    }

    /// The sealer looks anew.
    pub(super) fn forget_earlier_retention(&mut self) {
        self.streams.values_mut().for_each(|stream| stream.earlier.clear());
    }

    /// Notes which rows retention may remove at this time.
    pub(super) fn allow_removal(&mut self, now_ms: i64) {
        for stream in self.streams.values_mut() {
            for retention in stream.earlier.iter().chain([&stream.spec.retention]) {
                for (number, partition) in (0..).zip(&mut stream.partitions) {
                    let cursors = self.cursors.iter().filter(|((_, id, of), _)| (*id, *of) == (stream.id, number));
                    let slowest = cursors.map(|(_, next)| *next).min().unwrap_or(u64::MAX);
                    partition.allow_removal(*retention, slowest, now_ms);
                }
            }
        }
    }
}

/// With less than this a stream may lose any of its sealed rows; simulations do not write more than that.
pub(super) const SMALL_RETENTION_BYTES: u64 = 1 << 20;

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How the answer to a change comes.
pub(super) enum Asked {
    Commit(Reply),
    Define(Pin<Box<dyn Future<Output = Result<Stream>>>>),
    /// It will not come any more.
    Nobody,
}

impl Asked {
    fn answer(&mut self) -> Option<Result<Receipt>> {
        match self {
            Self::Commit(reply) => match reply.try_recv() {
                Ok(answer) => Some(answer),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Closed) => Some(Err(Error::Closed)),
            },
            Self::Define(answer) => match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => Some(answer.map(|_| Receipt::default())),
                Poll::Pending => None,
            },
            Self::Nobody => None,
        }
    }
}

struct Waiting {
    change: Change,
    asked: Asked,
    /// When the writer took it; `None` while it is in the queue.
    taken_ms: Option<i64>,
}

#[derive(Default)]
pub(super) struct Model {
    /// What was acknowledged, which is what readers see.
    pub current: Contents,
    /// What was there when the log was opened, and the changes acknowledged since.
    opened: Contents,
    acknowledged: Vec<(Change, i64)>,
    waiting: VecDeque<Waiting>,
    /// How many changes found no space.
    refused: u64,
}

/// The log as it is seen at an instant, and how many changes were acknowledged until then.
pub(super) struct Instant {
    contents: Contents,
    acknowledged: usize,
}

impl Model {
    pub(super) fn new(bounds: Bounds) -> Self {
        let mut empty = Self::default();
        empty.current.ids.bounds = bounds;
        empty.opened.ids.bounds = bounds;
        empty
    }

    pub(super) fn instant(&self) -> Instant {
        Instant { contents: self.current.clone(), acknowledged: self.acknowledged.len() }
    }

    /// The log at that instant and at every one since, those included that are under way.
    pub(super) fn since(&self, begin: &Instant) -> Vec<Contents> {
        let acknowledged = self.acknowledged.iter().skip(begin.acknowledged).map(|(change, at)| (change, *at));
        self.after(begin.contents.clone(), acknowledged)
    }

    pub(super) fn ask(&mut self, change: Change, asked: Asked) {
        self.waiting.push_back(Waiting { change, asked, taken_ms: None });
    }

    /// The writer takes everything that is queued.
    pub(super) fn take_queued(&mut self, now_ms: i64) {
        for waiting in &mut self.waiting {
            waiting.taken_ms.get_or_insert(now_ms);
        }
    }

    /// What is there once all that is queued is done.
    pub(super) fn expected(&self) -> Contents {
        let mut contents = self.current.clone();
        for waiting in &self.waiting {
            contents.apply(&waiting.change, 0);
        }
        contents
    }

    pub(super) fn is_defining(&self) -> bool {
        self.waiting.iter().any(|waiting| matches!(waiting.change, Change::Define(..)))
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether retention may remove rows, now or with what is under way.
    pub(super) fn may_remove(&self) -> bool {
        let removes = |spec: &StreamSpec| spec.retention != Retention::default();
        self.is_defining() || self.current.streams.values().any(|stream| removes(&stream.spec))
    }

    /// Takes the answers that have come. Returns the rows acknowledged with them, or what is wrong with an answer.
    /// `failing` tells whether the log had a reason to refuse, `tight` whether it had to keep space free.
    pub(super) fn take_answers(&mut self, failing: bool, tight: bool) -> Result<Vec<i64>, String> {
        let mut rows = Vec::new();
        let mut unknown = false;
        let mut at = 0;
        while let Some(waiting) = self.waiting.get_mut(at) {
            match waiting.asked.answer() {
                None => {
                    unknown |= waiting.taken_ms.is_some() && matches!(waiting.asked, Asked::Nobody);
                    at += 1;
                }
                // Recognised as it came, perhaps before those in front of it were written.
                Some(Ok(receipt)) if receipt.duplicate => {
                    let change = self.waiting.remove(at).expect("it is there").change;
                    let by_producer = matches!(change.id(), Some(Id::Producer(..)));
                    match self.current.ids.decide(change.id()) {
                        Verdict::Duplicate(ranges) | Verdict::Either(ranges)
                            if receipt.ranges == ranges || by_producer && receipt.ranges.is_empty() => {}
                        other => return Err(format!("expected {other:?} for {change:?}, found {receipt:?}")),
                    }
                }
                Some(Err(Error::OutOfSequence { .. }))
                    if at == 0 && self.current.ids.decide(waiting.change.id()) == Verdict::OutOfSequence =>
                {
                    self.waiting.pop_front();
                }
                Some(Ok(receipt)) if unknown => return Err(format!("acknowledged behind a failure: {receipt:?}")),
                Some(Ok(receipt)) => {
                    let Waiting { change, taken_ms, .. } = self.waiting.remove(at).expect("it is there");
                    let Some(taken_ms) = taken_ms else { return Err("acknowledged before it was written".to_owned()) };
                    if at > 0 {
                        return Err(format!("acknowledged before those in front of it: {receipt:?}"));
                    }
                    let verdict = self.current.ids.decide(change.id());
                    if !matches!(verdict, Verdict::New | Verdict::Either(_)) {
                        return Err(format!("stored again: {change:?}, {verdict:?}"));
                    }
                    let expected = self.current.apply(&change, taken_ms);
                    if receipt.ranges != expected {
                        return Err(format!("expected {expected:?}, found {receipt:?}"));
                    }
                    if let Change::Commit { rows: appended, .. } = &change {
                        rows.extend(appended.iter().flat_map(|appended| appended.numbers.last().copied()));
                    }
                    self.acknowledged.push((change, taken_ms));
                }
                // Whoever is told this may try again: nothing of it may be there, ever.
                Some(Err(Error::Full { .. })) if failing || tight => {
                    self.waiting.remove(at);
                    self.refused += 1;
                }
                Some(Err(Error::Poisoned { .. } | Error::Closed)) if failing => {
                    waiting.asked = Asked::Nobody;
                    unknown = true;
                    at += 1;
                }
                Some(Err(error)) => return Err(format!("refused for no reason: {error}")),
            }
        }
        Ok(rows)
    }

    /// The process has ended: nobody will be answered, and what the writer never took is nowhere.
    pub(super) fn end_process(&mut self) {
        self.waiting.retain_mut(|waiting| {
            waiting.asked = Asked::Nobody;
            waiting.taken_ms.is_some()
        });
    }

    /// What may be there now: with each of the changes that were under way, or, where acknowledged may mean unsynced and
    /// the power went, since the log was opened.
    pub(super) fn candidates(&self, acknowledged_may_go: bool) -> Vec<Contents> {
        let contents = if acknowledged_may_go { self.opened.clone() } else { self.current.clone() };
        let acknowledged = self.acknowledged.iter().filter(|_| acknowledged_may_go).map(|(change, at)| (change, *at));
        self.after(contents, acknowledged)
    }

    /// `contents` and all that follows of it with each of the acknowledged changes, then of those under way.
    fn after<'a>(
        &'a self,
        mut contents: Contents,
        acknowledged: impl Iterator<Item = (&'a Change, i64)>,
    ) -> Vec<Contents> {
        // Older contents do not know how much may have been forgotten since.
        contents.ids.latest_ms = self.current.ids.latest_ms;
        let mut candidates = vec![contents.clone()];
        let mut newest = vec![contents];
        for (change, at_ms) in acknowledged {
            newest.iter_mut().for_each(|contents| _ = contents.apply(change, at_ms));
            candidates.extend(newest.iter().cloned());
        }
        for Waiting { change, taken_ms, .. } in &self.waiting {
            let mut next = Vec::new();
            for mut contents in newest {
                if matches!(contents.ids.decide(change.id()), Verdict::Either(_)) {
                    next.push(contents.clone());
                }
                contents.apply(change, taken_ms.unwrap_or(0));
                next.push(contents);
            }
            newest = next;
            candidates.extend(newest.iter().cloned());
        }
        candidates.iter_mut().for_each(|contents| contents.allow_as(&self.current));
        candidates
    }

    /// The log was opened and holds this.
    pub(super) fn reopen(&mut self, contents: Contents) {
        self.waiting.clear();
        self.acknowledged.clear();
        self.opened = contents.clone();
        self.current = contents;
    }
}
