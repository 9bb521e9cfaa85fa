//! One log on one simulated machine, in one thread: the writer and the sealer run when they are told to, one inside of an
//! operation of the other, and every step is compared with the model.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;

use crate::clock::{Clock, ManualClock};
use crate::commit::Commit;
use crate::commit::Receipt;
use crate::error::{Error, Result};
use crate::intake::Reply;
use crate::journal::{FOLDER, Writer};
use crate::log::Log;
use crate::options::{Durability, LogOptions};
use crate::sealer;
use crate::simulation::check;
use crate::simulation::ids::{Bounds, PRODUCERS};
use crate::simulation::inode::Survival;
use crate::simulation::machine::{Crash, Machine, Op, on_operation};
use crate::simulation::model::{Change, Model, ms};
use crate::simulation::random::Random;
use crate::simulation::readers::Readers;
use crate::simulation::rows::{self, FIRST_NUMBER};
use crate::simulation::trace::Event;
use crate::simulation::{Kind, Watch};
use crate::stream::StreamId;
use crate::surroundings::Surroundings;

thread_local! {
    static WORLD: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// Above the data directory; it is new as well.
const FOLDER_ABOVE: &str = "/data";
/// Steps of the writer in which what the disk refused must not come back.
const WATCHED_STEPS: u32 = 8;

pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) random: RefCell<Random>,
    pub(super) machine: Arc<Machine>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) model: RefCell<Model>,
    /// Commits with an id, which may be made again.
    pub(super) identified: RefCell<Vec<(Commit, Change)>>,
    pub(super) readers: Readers,
    options: LogOptions,
    log: RefCell<Option<Log>>,
    writer: RefCell<Option<Writer>>,
    sealing: Cell<bool>,
    /// Whether something happens inside of an operation of the disk already.
    inside: Cell<bool>,
    failures_before: Cell<u64>,
    limits_told_before: Cell<u64>,
    next_number: Cell<i64>,
    /// For so many steps of the writer somebody looks what a power loss would leave: the disk was full.
    watched_steps: Cell<u32>,
    /// How far each partition was read for the record.
    seen: RefCell<BTreeMap<(StreamId, u32), u64>>,
    traced: bool,
}

impl World {
    /// A machine with an empty disk on which the log was just created.
    pub(super) fn new(kind: Kind, seed: u64, watch: Watch) -> Rc<Self> {
        let traced = watch == Watch::Printed;
        let mut random = Random::new(seed);
        let machine = Machine::new(random.next(), Path::new("/"), traced);
        if watch == Watch::Recorded {
            machine.record();
        }
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let options = draw_options(kind, &mut random, &clock);
        let bounds = Bounds { window_ms: ms(options.idempotency_window), keys: options.idempotency_keys as u64 };
        let world = Rc::new(Self {
            kind,
            random: RefCell::new(random),
            machine,
            clock,
            model: RefCell::new(Model::new(bounds)),
            identified: RefCell::default(),
            readers: Readers::default(),
            options,
            log: RefCell::default(),
            writer: RefCell::default(),
            sealing: Cell::new(false),
            inside: Cell::new(false),
            failures_before: Cell::new(0),
            limits_told_before: Cell::new(0),
            next_number: Cell::new(FIRST_NUMBER),
            watched_steps: Cell::new(0),
            seen: RefCell::default(),
            traced,
        });
        world.trace(|| format!("{:?}", world.options));
        WORLD.with(|slot| *slot.borrow_mut() = Rc::downgrade(&world));
        let weak = Rc::downgrade(&world);
        on_operation(Some(Rc::new(move |op| {
            if let Some(world) = weak.upgrade() {
                world.meanwhile(op);
            }
        })));
        world.open(false);
        world
    }

    pub(super) fn dir() -> PathBuf {
        Path::new(FOLDER_ABOVE).join("log")
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{}", line());
        }
    }

    /// The open log.
    pub(super) fn log(&self) -> Option<Log> {
        self.log.borrow().clone()
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.log().is_some_and(|log| log.shared().poison.error().is_some())
    }

    pub(super) fn durability(&self) -> Durability {
        self.options.durability
    }

    /// Whether the log had a reason to fail since `failures`.
    pub(super) fn has_failed_since(&self, failures: u64) -> bool {
        self.machine.is_down() || self.machine.failures() > failures || self.is_poisoned()
    }

    /// Whether the log was told since it was opened that there is not much space.
    pub(super) fn is_tight(&self) -> bool {
        self.machine.limits_told() > self.limits_told_before.get()
    }

    /// Numbers of new rows.
    pub(super) fn numbers(&self, count: u64) -> Vec<i64> {
        let from = self.next_number.get();
        self.next_number.set(from + count.cast_signed());
        (from..self.next_number.get()).collect()
    }

    /// What is expected to hold does not.
    #[track_caller]
    pub(super) fn fail(&self, what: &str) -> ! {
        panic!("after {} operations of the disk: {what}", self.machine.operations());
    }

    /// The writer takes what is queued, or marks what it has synced. False when it is in the middle of something.
    pub(super) fn step(&self) -> bool {
        let Ok(mut writer) = self.writer.try_borrow_mut() else { return false };
        let Some(running) = writer.as_mut() else { return false };
        self.trace(|| "writer".to_owned());
        self.model.borrow_mut().take_queued(self.clock.now_ms());
        running.step(Some(Instant::now()));
        drop(writer);
        let refused = self.model.borrow().refused();
        self.observe();
        if self.model.borrow().refused() > refused {
            self.watched_steps.set(WATCHED_STEPS);
        }
        if let Some(left) = self.watched_steps.get().checked_sub(1) {
            self.watched_steps.set(left);
            self.check_power_loss();
        }
        true
    }

    /// Whether the disk was full just now.
    pub(super) fn is_watched(&self) -> bool {
        self.watched_steps.get() > 0
    }

    /// One look of the sealer at everything. It waits for the writer in retention and where syncs are not immediate.
    pub(super) fn seal(&self, all: bool) {
        let Some(log) = self.log() else { return };
        let writing = self.writer.try_borrow_mut().is_err();
        let may_wait = self.durability() != Durability::Sync || self.model.borrow().may_remove();
        if (writing && may_wait) || self.sealing.replace(true) {
            return;
        }
        self.trace(|| format!("sealer, all {all}"));
        // What retention may remove is decided now: what is changed meanwhile comes too late.
        self.observe();
        self.model.borrow_mut().current.forget_earlier_retention();
        let failures = self.machine.failures();
        let done = sealer::pass(log.shared(), all);
        self.sealing.set(false);
        self.observe();
        match done {
            Ok(()) if log.shared().space.is_low() && !self.machine.is_limited() && !self.has_failed_since(failures) => {
                self.fail("there is space, and the sealer has not noticed");
            }
            Ok(()) => {}
            Err(Error::Full { .. }) if self.is_tight() => {}
            Err(Error::Closed) if log.shared().sealer.is_closing() => {}
            Err(error) if !self.has_failed_since(failures) || matches!(error, Error::Corrupt { .. }) => {
                self.fail(&format!("sealing failed for no reason: {error}"));
            }
            Err(_) => {}
        }
    }

    /// Takes answers, and looks at what readers would see.
    pub(super) fn observe(&self) {
        let Some(log) = self.log() else { return };
        let failing = self.has_failed_since(self.failures_before.get());
        let mut model = self.model.borrow_mut();
        let acknowledged = model.take_answers(failing, self.is_tight()).unwrap_or_else(|what| self.fail(&what));
        for n in acknowledged {
            self.machine.add_event(|| Event::Acknowledged(n));
            if self.durability() == Durability::Sync
                && !self.machine.is_down()
                && !self.machine.holds(&Self::dir().join(FOLDER), n)
            {
                self.fail(&format!("row {} is acknowledged and not durable", n - FIRST_NUMBER));
            }
        }
        model.current.allow_removal(self.clock.now_ms());
        for stream in model.current.streams.values_mut() {
            for (number, partition) in (0..).zip(&mut stream.partitions) {
                let seen = log.range(stream.id, number).unwrap();
                let removable = partition.removable.max(partition.start);
                if seen.end != partition.end() || seen.start < partition.start || seen.start > removable {
                    let (start, end) = (partition.start, partition.end());
                    self.fail(&format!(
                        "{} partition {number}: readers see {seen:?}, durable is {start} (or up to {removable}) to {end}",
                        stream.spec.name
                    ));
                }
                partition.start = seen.start;
            }
        }
        drop(model);
        if self.machine.is_recording() {
            self.record_visible(&log);
        }
    }

    /// Reads what has become visible since it was looked at last.
    fn record_visible(&self, log: &Log) {
        let mut seen = self.seen.borrow_mut();
        for stream in log.streams() {
            for number in 0..stream.partitions() {
                let seen = seen.entry((stream.id(), number)).or_default();
                for rows in log.tail_rows(stream.id(), number, *seen).unwrap() {
                    *seen = rows.end_offset();
                    for n in rows::numbers(&rows.batch) {
                        self.machine.add_event(|| Event::Visible(n));
                    }
                }
            }
        }
    }

    /// While an operation of the disk takes its time, other threads go on.
    fn meanwhile(self: &Rc<Self>, op: Op) {
        if self.inside.replace(true) {
            return;
        }
        self.observe();
        // Then most names are not durable yet.
        if op == Op::SyncFolder && self.random.borrow_mut().percent(10) {
            self.check_power_loss();
        }
        if self.log.borrow().is_some() && self.random.borrow_mut().percent(4) {
            self.trace(|| format!("meanwhile, before {op:?}"));
            self.act_meanwhile();
        }
        self.inside.set(false);
    }

    /// Runs `look`, which is no part of what the machine does.
    pub(super) fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let inside = self.inside.replace(true);
        let found = look();
        self.inside.set(inside);
        found
    }

    /// The process ends without being asked, and another begins.
    pub(super) fn crash(&self, crash: Crash) {
        self.machine.halt();
        self.end_process();
        self.machine.restart(crash);
        self.open(crash == Crash::PowerLost && self.durability() != Durability::Sync);
    }

    /// The log is closed; whatever happens to the machine then, everything is there.
    pub(super) fn close(&self) {
        let (Some(log), Some(writer)) = (self.log(), self.writer.take()) else { return };
        self.trace(|| "close".to_owned());
        let closed = {
            let mut closing = pin!(log.close());
            let mut context = Context::from_waker(Waker::noop());
            assert!(closing.as_mut().poll(&mut context).is_pending(), "the writer has not ended yet");
            self.model.borrow_mut().take_queued(self.clock.now_ms());
            writer.run();
            let Poll::Ready(closed) = closing.poll(&mut context) else { self.fail("the log did not close") };
            closed
        };
        self.observe();
        let waiting = self.model.borrow().has_waiting();
        match closed {
            Ok(()) if waiting => self.fail("closed without an answer"),
            Err(error) if !self.has_failed_since(self.failures_before.get()) => {
                self.fail(&format!("closing failed for no reason: {error}"))
            }
            _ => {}
        }
        drop(log);
        let ended = self.machine.is_down() || closed.is_err();
        self.end_process();
        let crash = self.draw_crash();
        self.machine.restart(crash);
        self.open(ended && crash == Crash::PowerLost && self.durability() != Durability::Sync);
    }

    pub(super) fn draw_crash(&self) -> Crash {
        self.random.borrow_mut().pick(&[Crash::Killed, Crash::PowerLost])
    }

    fn end_process(&self) {
        self.model.borrow_mut().end_process();
        self.readers.clear();
        drop(self.writer.take());
        drop(self.log.take());
    }

    /// Opens the log, with crashes and faults in the middle of it, until it is open, and compares it with the model.
    fn open(&self, mut acknowledged_may_go: bool) {
        for attempt in 0.. {
            self.trace(|| format!("open, attempt {attempt}"));
            self.disturb_opening(attempt);
            let failures = self.machine.failures();
            self.limits_told_before.set(self.machine.limits_told());
            match self.open_on(&self.machine) {
                Ok((log, writer)) if !self.machine.is_down() => {
                    self.log.replace(Some(log));
                    self.writer.replace(Some(writer));
                    break;
                }
                _ if self.machine.is_down() => {
                    let crash = self.draw_crash();
                    acknowledged_may_go |= crash == Crash::PowerLost && self.durability() != Durability::Sync;
                    self.machine.restart(crash);
                }
                Ok(_) => unreachable!("opened by a machine that is down"),
                Err(Error::Io { .. } | Error::Full { .. }) if self.machine.failures() > failures => {
                    self.machine.limit_space(None);
                    self.machine.restart(Crash::Killed);
                }
                Err(error) => self.fail(&format!("the log does not open: {error}")),
            }
        }
        self.machine.crash_in(None);
        self.machine.fail(None);
        self.failures_before.set(self.machine.failures());
        self.aside(|| self.recognise(acknowledged_may_go));
        if self.random.borrow_mut().percent(25) {
            self.check_durable();
        }
    }

    fn disturb_opening(&self, attempt: u32) {
        let mut random = self.random.borrow_mut();
        self.machine.crash_in((attempt < 5 && random.percent(30)).then(|| random.below(60)));
        let ops = [Op::SyncFile, Op::SyncFolder, Op::Write, Op::Read, Op::Open, Op::Create, Op::Remove, Op::List];
        let fails = self.kind == Kind::Faults && attempt < 5 && random.percent(20);
        self.machine.fail(fails.then(|| (random.pick(&ops), random.below(3))));
    }

    pub(super) fn open_on(&self, machine: &Arc<Machine>) -> Result<(Log, Writer)> {
        self.open_in(machine, &Self::dir())
    }

    pub(super) fn open_in(&self, machine: &Arc<Machine>, dir: &Path) -> Result<(Log, Writer)> {
        let options = LogOptions { disk: machine.disk(), ..self.options.clone() };
        let surroundings = Surroundings { draw_log_id: || 0x1065_1d1d_1065_1d1d, wait: wait_by_stepping };
        Log::open_stopped(dir, options, &surroundings)
    }

    /// Finds out what of the changes that were under way is there.
    fn recognise(&self, acknowledged_may_go: bool) {
        let log = self.log().expect("it was just opened");
        let mut candidates = self.model.borrow().candidates(acknowledged_may_go);
        match check::compare_any(&log, &candidates) {
            Ok(found) => {
                self.model.borrow_mut().reopen(candidates.swap_remove(found));
                self.observe();
            }
            Err(wrong) => self.fail(&format!("the log holds none of what it may hold: {wrong:#?}")),
        }
    }

    /// If the power went now, the log would hold what it may hold, whatever of the rest reached the disk.
    pub(super) fn check_power_loss(&self) {
        if self.machine.is_down() {
            return;
        }
        let survival = Survival::draw(&mut self.random.borrow_mut());
        self.trace(|| format!("what if the power went, {survival:?}"));
        self.aside(|| {
            let other = self.machine.fork();
            other.lose_power(survival);
            let (log, _writer) = match self.open_on(&other) {
                Ok(opened) => opened,
                Err(error) => self.fail(&format!("after a power loss the log would not open: {error}")),
            };
            let candidates = self.model.borrow().candidates(self.durability() != Durability::Sync);
            if let Err(wrong) = check::compare_any(&log, &candidates) {
                self.fail(&format!("after a power loss the log would hold none of what it may hold: {wrong:#?}"));
            }
        });
    }

    /// Everything that is visible now would survive the power; what a sync that failed was for may be there or not.
    pub(super) fn check_durable(&self) {
        if self.log().is_none() || self.machine.is_down() {
            return;
        }
        self.aside(|| {
            let other = self.machine.fork();
            other.lose_power(Survival::NOTHING);
            let (log, _writer) = match self.open_on(&other) {
                Ok(opened) => opened,
                Err(error) => self.fail(&format!("without what is not durable the log does not open: {error}")),
            };
            let candidates = self.model.borrow().candidates(false);
            if let Err(wrong) = check::compare_any(&log, &candidates) {
                self.fail(&format!("what is visible is not durable: {wrong:#?}"));
            }
        });
    }
}

/// The sealer waits for the writer: the writer does something.
fn wait_by_stepping(mut reply: Reply) -> Result<Receipt> {
    let world = WORLD.with(|slot| slot.borrow().upgrade()).expect("a log of a simulation lives in its world");
    loop {
        match reply.try_recv() {
            Ok(answer) => return answer,
            Err(TryRecvError::Empty) if world.step() => {}
            Err(_) => return Err(Error::Closed),
        }
    }
}

/// Everything small, so that all that can happen happens often.
fn draw_options(kind: Kind, random: &mut Random, clock: &Arc<ManualClock>) -> LogOptions {
    let relaxed = [Durability::Interval(Duration::ZERO), Durability::Interval(Duration::MAX / 4), Durability::Os];
    LogOptions {
        durability: if kind == Kind::Relaxed { random.pick(&relaxed) } else { Durability::Sync },
        tail_bytes: random.pick(&[8 << 10, 64 << 10, 1 << 20]),
        seal_bytes: random.pick(&[1 << 10, 4 << 10, 1 << 20]),
        seal_age: Duration::from_secs(random.pick(&[1, 60, 1 << 30])),
        journal_file_bytes: random.pick(&[1 << 10, 4 << 10, 16 << 10]),
        idempotency_window: Duration::from_secs(random.pick(&[60, 24 * 60 * 60])),
        idempotency_keys: random.pick(&[2, 5, 1000]),
        producers: random.pick(&[PRODUCERS.len(), 1000]),
        reserve_bytes: random.pick(&[0, 2 << 10, 8 << 10]),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        disk: Arc::new(crate::disk::OsDisk),
        ..LogOptions::default()
    }
}
