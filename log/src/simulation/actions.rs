//! What happens in a world: commits, streams, time, readers, the sealer, and faults, drawn from the seed.

use std::time::Duration;

use crate::clock::Clock;
use crate::commit::Commit;
use crate::error::Error;
use crate::intake;
use crate::route::split_by_key;
use crate::simulation::Kind;
use crate::simulation::ids::{Id, PRODUCERS};
use crate::simulation::machine::Op;
use crate::simulation::model::{Appended, Asked, Change, Contents, SMALL_RETENTION_BYTES};
use crate::simulation::rows;
use crate::simulation::world::World;
use crate::stream::{Retention, StreamId, StreamSpec};

/// Most commits that may be made again.
const MAX_IDENTIFIED: usize = 8;

impl World {
    /// One thing after the other; afterwards the log is open.
    pub(super) fn live(&self, actions: u64) {
        for _ in 0..actions {
            self.disturb();
            if self.is_watched() && self.random.borrow_mut().percent(70) {
                self.commit();
                self.step();
            } else {
                self.act();
            }
            if self.machine.is_down() {
                self.crash(self.draw_crash());
            } else if self.is_poisoned() && self.random.borrow_mut().percent(60) {
                if self.random.borrow_mut().percent(50) { self.close() } else { self.crash(self.draw_crash()) }
            }
        }
    }

    fn act(&self) {
        let choice = self.below(100);
        match choice {
            0..30 => {
                self.commit();
                if choice < 20 {
                    self.step();
                }
            }
            30..45 => {
                self.step();
            }
            45..58 => self.seal(choice < 50),
            58..68 => self.move_clock(),
            68..82 => self.read(),
            82..88 => self.define(),
            88..91 => self.check_whole(),
            91..93 => self.check_locked(),
            93..95 => self.back_up(),
            95..97 => self.close(),
            _ => self.crash(self.draw_crash()),
        }
    }

    /// What other threads do while one waits for the disk.
    pub(super) fn act_meanwhile(&self) {
        let choice = self.below(10);
        match choice {
            0..4 => {
                self.commit();
                self.step();
            }
            4 => {
                self.step();
            }
            5..7 => self.seal(choice == 5),
            _ => self.read(),
        }
    }

    /// Something may go wrong from now on.
    fn disturb(&self) {
        let mut random = self.random.borrow_mut();
        if random.percent(5) {
            self.machine.crash_in(Some(random.below(80)));
        }
        if self.kind != Kind::Faults {
            return;
        }
        if random.percent(8) {
            let ops = [
                Op::SyncFile,
                Op::SyncFile,
                Op::SyncFolder,
                Op::Write,
                Op::Write,
                Op::Read,
                Op::Open,
                Op::Create,
                Op::Rename,
                Op::Remove,
                Op::Resize,
                Op::Allocate,
                Op::CreateFolder,
            ];
            self.machine.fail(Some((random.pick(&ops), random.below(4))));
        }
        if random.percent(if self.machine.is_limited() { 20 } else { 7 }) {
            let limited = self.machine.is_limited();
            self.machine.limit_space((!limited).then(|| random.pick(&[1_000, 4_000, 16_000])));
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// A partition that exists, and its end.
    pub(super) fn draw_partition(&self) -> Option<(StreamId, u32, u64)> {
        let model = self.model.borrow();
        let streams: Vec<_> = model.current.streams.values().collect();
        let mut random = self.random.borrow_mut();
        if streams.is_empty() {
            return None;
        }
        let stream = streams[random.index(streams.len())];
        let number = random.index(stream.partitions.len());
        Some((stream.id, u32::try_from(number).unwrap(), stream.partitions[number].end()))
    }

    fn commit(&self) {
        let again = {
            let (mut random, identified) = (self.random.borrow_mut(), self.identified.borrow());
            (!identified.is_empty() && random.percent(15)).then(|| identified[random.index(identified.len())].clone())
        };
        if let Some((commit, change)) = again {
            self.trace(|| format!("again: {change:?}"));
            return self.queue(commit, change);
        }
        let mut commit = Commit::new();
        let mut rows = Vec::new();
        for _ in 0..self.below(4) {
            self.append(&mut commit, &mut rows);
        }
        let mut cursors = Vec::new();
        let mut values = Vec::new();
        let mut expected = self.model.borrow().expected();
        let id = self.draw_id(&rows, &expected);
        let appended = Change::Commit { id: None, rows: rows.clone(), cursors: Vec::new(), values: Vec::new() };
        expected.apply(&appended, 0);
        for _ in 0..self.below(3) {
            let Some((stream, number, _)) = self.draw_partition() else { break };
            let mut random = self.random.borrow_mut();
            let end = expected.partition(stream, number).end();
            let next_offset = if random.percent(70) { end } else { random.below(end + 1) };
            let name = random.pick(&["fast", "slow"]);
            commit.move_cursor(name, stream, number, next_offset);
            cursors.push((name.to_owned(), stream, number, next_offset));
        }
        for _ in 0..self.below(3) {
            let mut random = self.random.borrow_mut();
            let key = random.pick(&["a", "b", "c"]);
            let value = random.percent(75).then(|| vec![7; usize::try_from(random.pick(&[0_u64, 1, 9, 400])).unwrap()]);
            match &value {
                Some(value) => commit.put(key, value.clone()),
                None => commit.delete(key),
            };
            values.push((key.to_owned(), value));
        }
        let change = Change::Commit { id, rows, cursors, values };
        if let Some(id) = id {
            id.put_on(&mut commit);
            let mut identified = self.identified.borrow_mut();
            identified.truncate(MAX_IDENTIFIED);
            identified.insert(0, (commit.clone(), change.clone()));
        }
        self.queue(commit, change);
    }

    fn queue(&self, commit: Commit, change: Change) {
        let Some(log) = self.log() else { return };
        let has_rows = matches!(&change, Change::Commit { rows, .. } if !rows.is_empty());
        match intake::queue(log.shared(), commit) {
            Ok(reply) => self.model.borrow_mut().ask(change, Asked::Commit(reply)),
            Err(Error::Overloaded { .. }) => {}
            Err(Error::Full { .. }) if has_rows && log.shared().space.is_low() && self.is_tight() => {}
            Err(Error::Poisoned { .. }) if self.is_poisoned() => {}
            Err(Error::Closed) if log.shared().sealer.is_closing() => {}
            Err(error) => self.fail(&format!("a commit was refused for no reason: {error}")),
        }
    }

    /// What a commit of these rows is to be recognised by, if anything. Without rows nobody could tell whether it is there.
    fn draw_id(&self, rows: &[Appended], expected: &Contents) -> Option<Id> {
        let first = *rows.iter().find_map(|appended| appended.numbers.first())?;
        let mut random = self.random.borrow_mut();
        match random.below(10) {
            0..3 => Some(Id::Key(first.cast_unsigned())),
            3..6 => {
                let producer = random.pick(&PRODUCERS);
                let next = expected.ids.next_sequence(producer).unwrap_or(random.below(3));
                Some(Id::Producer(producer, next + u64::from(random.percent(10))))
            }
            _ => None,
        }
    }

    fn append(&self, commit: &mut Commit, appended: &mut Vec<Appended>) {
        let Some((stream, number, _)) = self.draw_partition() else { return };
        let Some(entry) = self.log().and_then(|log| log.shared().catalog.entry(stream)) else { return };
        let (count, level, now) = {
            let (mut random, now) = (self.random.borrow_mut(), self.level(stream));
            let older = random.index(now + 1);
            (random.pick(&[0, 1, 1, 1, 2, 3, 5, 8, 40, 300]), if random.percent(70) { now } else { older }, now)
        };
        let numbers = self.numbers(count);
        let batch = rows::batch(level, &numbers);
        if entry.key_columns.is_empty() {
            if !numbers.is_empty() {
                appended.push(Appended { stream, partition: number, level, numbers });
            }
            commit.append_to(stream, number, batch);
        } else {
            let newest = rows::batch(now, &numbers);
            for (partition, rows) in split_by_key(&newest, &entry.key_columns, entry.stream.partitions()).unwrap() {
                appended.push(Appended { stream, partition, level, numbers: rows::numbers(&rows) });
            }
            commit.append(stream, batch);
        }
    }

    /// Creates a stream, or changes its columns or how long its rows are kept.
    fn define(&self) {
        let Some(log) = self.log() else { return };
        if self.model.borrow().is_defining() {
            return;
        }
        let (name, partitions, key) =
            self.random.borrow_mut().pick(&[("plain", 1, None), ("parted", 2, None), ("keyed", 3, Some("device"))]);
        let retention = self.draw_retention();
        let partition_key = key.into_iter().map(str::to_owned).collect();
        let known = log.stream(name);
        let changed = usize::from(self.below(10) < 4);
        let level = known.as_ref().map_or(0, |known| (rows::level(known.schema()) + changed).min(rows::last_level()));
        let spec = StreamSpec { partitions, partition_key, retention, ..StreamSpec::new(name, rows::schema(level)) };
        if known.as_ref().is_some_and(|known| known.spec() == &spec) {
            return;
        }
        let id = known.map_or_else(|| log.shared().catalog.next_id(), |known| known.id());
        let asked = spec.clone();
        let mut defined = Box::pin(async move { log.create_stream(asked).await });
        let waiting = {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(defined.as_mut(), &mut context).is_pending()
        };
        if waiting {
            self.model.borrow_mut().ask(Change::Define(id, spec), Asked::Define(defined));
        } else {
            self.fail("a stream was defined without being written");
        }
    }

    fn draw_retention(&self) -> Retention {
        let mut random = self.random.borrow_mut();
        Retention {
            max_age: random.percent(30).then(|| Duration::from_secs(random.pick(&[10, 1000]))),
            max_bytes: random.percent(30).then(|| random.pick(&[4 << 10, SMALL_RETENTION_BYTES << 10])),
        }
    }

    /// Forward mostly, by seconds or hours; sometimes back.
    fn move_clock(&self) {
        let mut random = self.random.borrow_mut();
        let by_ms = random.pick(&[1, 900, 5_000, 70_000, 4_000_000]);
        let back = random.percent(15);
        self.clock.set(self.clock.now_ms() + if back { -by_ms } else { by_ms });
        let ids = &mut self.model.borrow_mut().current.ids;
        ids.latest_ms = ids.latest_ms.max(self.clock.now_ms());
    }

    /// Nothing is under way, so the log is exactly what the model says, and would be after a crash.
    fn check_whole(&self) {
        if self.durability() == crate::options::Durability::Sync {
            self.check_durable();
        }
        self.check_power_loss();
    }

    /// A second process is turned away.
    fn check_locked(&self) {
        if self.log().is_some() && !self.machine.is_down() {
            let failures = self.machine.failures();
            match self.aside(|| self.open_on(&self.machine)) {
                Err(Error::Locked { .. }) => {}
                Err(_) if self.has_failed_since(failures) => {}
                other => self.fail(&format!("a second process is not turned away: {:?}", other.err())),
            }
        }
    }
}
