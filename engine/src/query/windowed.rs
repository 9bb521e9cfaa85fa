//! A windowed continuous query.
//!
//! It advances in steps: every partition that has rows takes some, side by side; then the windows that the combined
//! watermark has passed are closed, in order, and what they emit is committed together with the progress.
//!
//! Besides, windows that are not closed yet, and closed ones that late rows have changed, are emitted where the query asks
//! for it; that comes after what the watermark closes, in the same commit.
//!
//! Recovery: each partition starts at its last snapshot and reads again up to where the committed progress had read;
//! windows that were closed by then are not closed again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, select_all};
use thermocline_log::{Commit, Log, Stream};
use thermocline_sql::{Early, Emit, EventTime, WindowedShape};
use tokio::sync::watch;

use super::chain::stored_chains;
use super::committing::{Committing, Measures};
use super::member::Member;
use super::partition::{Input, PartitionTask, Step};
use super::parts::{first_parts, keys, make_parts, windows};
use super::progress::Progress;
use super::side_by_side::{Partitions, side_by_side};
use super::snapshots::{Fate, Snapshots, Written};
use super::{Control, Emitter, Stored, file_name};
use crate::clock::Clock;
use crate::error::Result;
use crate::stage::Stage;
use crate::tables::Tables;
use crate::views::{Inlet, told};
use crate::watermark::NO_WATERMARK;
use crate::window::{
    Closed, Due, GivenKeys, Openness, PartitionState, PartitionWindows, Position, Previews, WindowAggregate,
    WindowOperator,
};

/// Windows that are closed at once, at most, and groups that they have, about: their parts wait in memory.
const CLOSED_TOGETHER: usize = 32;
const GROUPS_TOGETHER: usize = 1 << 18;

/// What a windowed query is made of, or several that share panes.
pub(crate) struct WindowedSettings<'a> {
    pub(crate) members: Vec<Member>,
    /// What all members need.
    pub(crate) shape: &'a WindowedShape,
    pub(crate) emit: Emit,
    pub(crate) event_time: &'a EventTime,
    /// What is told about the rows of a view.
    pub(crate) inlet: Option<Inlet>,
    pub(crate) log: &'a Log,
    pub(crate) stream: Stream,
    pub(crate) late: Stream,
    pub(crate) tables: Arc<Tables>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Rows between checkpoints; the default when `None`.
    pub(crate) checkpoint_rows: Option<u64>,
}

/// A windowed query, or several that share panes, ready to run.
#[derive(Debug)]
pub(crate) struct WindowedQuery {
    /// Name of what they share; that of the only one.
    name: String,
    members: Vec<Member>,
    log: Log,
    stream: Stream,
    late: Stream,
    inlet: Option<Inlet>,
    partitions: Partitions<PartitionTask>,
    idle: Vec<Idle>,
    aggregate: Arc<WindowAggregate>,
    operator: WindowOperator,
    early: Early,
    /// When results were last emitted early, by the engine's clock.
    emitted_early: Duration,
    commit: Commit,
    committing: Committing,
    /// Up to where windows were closed by the last commit.
    committed_us: i64,
    snapshots: Snapshots,
    tables: Arc<Tables>,
    clock: Arc<dyn Clock>,
    idle_timeout: Option<Duration>,
}

/// When a partition last had rows, by the engine's clock.
#[derive(Debug, Clone, Copy)]
struct Idle {
    since: Duration,
}

impl WindowedQuery {
    /// Compiles the input, loads the snapshots and replays what came after them. All members go on at the same place.
    pub(crate) async fn open(settings: WindowedSettings<'_>) -> Result<Self> {
        let WindowedSettings { members, shape, event_time, log, stream, late, tables, clock, inlet, .. } = settings;
        let ledger = members[0].ledger();
        let mut commit = Commit::new();
        let keys = Arc::new(GivenKeys::of(shape, stream.schema())?);
        let stage = Stage::over_stream(&keys.plan, &shape.stream, Arc::clone(&tables)).await?;
        let aggregate = Arc::new(WindowAggregate::try_new(shape, stage.df_schema(), &keys.fields)?);
        let mut is_new_text = false;
        for member in &members {
            is_new_text |= member.ledger().claim(log, &member.sql, &mut commit);
        }
        let name = shared_name(&members);
        let stored = if is_new_text { None } else { stored_chains(&name, &ledger, log, &stream, aggregate.as_ref())? };
        let is_changed = stored.is_none();
        if is_changed {
            tracing::info!(
                query = name,
                "query begins anew: it goes on where it was, from all rows that are still held"
            );
        }
        let nothing = || (0..stream.partitions()).map(|_| Default::default()).collect();
        let (chains, states): (Vec<_>, Vec<_>) = stored.unwrap_or_else(nothing).into_iter().unzip();
        let progress = ledger.progress(log)?;
        let start = Position { closed_us: NO_WATERMARK, settled_us: NO_WATERMARK };
        let mut position = progress.as_ref().map_or(start, Progress::position);
        if settings.emit.lateness_us == 0 {
            // The text before this one may have allowed some.
            position.settled_us = position.closed_us;
        }
        let openness = openness(settings.emit, &members[0].emitter);
        let now = clock.elapsed();
        let mut query = Self {
            name,
            members,
            log: log.clone(),
            inlet,
            partitions: Vec::new(),
            idle: vec![Idle { since: now }; stream.partitions() as usize],
            operator: WindowOperator::new(Arc::clone(&aggregate), openness, position),
            aggregate,
            early: settings.emit.early,
            emitted_early: now,
            commit,
            committing: Committing::default(),
            committed_us: NO_WATERMARK,
            snapshots: Snapshots::after(chains),
            clock,
            idle_timeout: event_time.idle_timeout,
            stream,
            late,
            tables: Arc::clone(&tables),
        };
        for (partition, states) in (0..).zip(states) {
            for ledger in query.members.iter().map(Member::ledger) {
                match is_changed {
                    true => ledger.start_anew(log, &query.stream, partition, &mut query.commit),
                    false => ledger.register(log, &query.stream, partition, &mut query.commit),
                };
            }
            let aggregate = Arc::clone(&query.aggregate);
            let mut windows =
                PartitionWindows::new(aggregate, openness, event_time.delay_us, settings.checkpoint_rows)?;
            windows.restore(states)?;
            let decisions = ledger.decisions(log, partition)?;
            let stage = Stage::over_stream(&keys.plan, &shape.stream, Arc::clone(&tables)).await?;
            let input = Input { stage, keys: Arc::clone(&keys), time_column: event_time.column };
            let task = PartitionTask::new(log, &query.stream, partition, input, windows, decisions)?;
            query.partitions.push(Some(task));
        }
        if let Some(progress) = progress {
            query.replay(&progress).await?;
        }
        if is_changed {
            // Before a snapshot of the new text can stand under the name of one of the old.
            let (_nobody_stops_it, mut control) = watch::channel(Control::Run);
            let _stored = query.store_and_wait(&mut control).await?;
        }
        Ok(query)
    }

    /// Runs until it is told to finish or stop.
    pub(crate) async fn run(mut self, mut control: watch::Receiver<Control>) -> Result<()> {
        let closed_us = self.operator.position().closed_us;
        for member in &mut self.members {
            member.emitter.tell(closed_us)?;
        }
        loop {
            let wanted = *control.borrow_and_update();
            if wanted == Control::Stop {
                return self.store_and_wait(&mut control).await.map(|_| ());
            }
            self.tables.refresh().await;
            let read = self.step().await?;
            self.decide_idle();
            self.look_upstream();
            self.close_windows(self.watermark_us()).await?;
            self.emit_changes().await?;
            let written = self.snapshots.written();
            self.keep_snapshots(written)?;
            if self.store(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            if read > 0 {
                continue;
            }
            if self.settle(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            if wanted == Control::Finish {
                return self.finish(&mut control).await;
            }
            self.wait(&mut control).await;
        }
    }

    /// Reads again what came after the snapshots, up to where the progress had read.
    async fn replay(&mut self, progress: &Progress) -> Result<()> {
        let settled_us = progress.position().settled_us;
        let mut before = 0;
        for (partition, until) in self.partitions.iter_mut().flatten().zip(&progress.next_offsets) {
            while partition.next_offset() < *until {
                let step = partition.step(Some(*until)).await?;
                if step.checkpoint.is_some() {
                    // It is stored at the first checkpoint after the replay.
                    partition.windows.not_stored();
                }
                if step.rows == 0 {
                    break;
                }
                partition.windows.forget(settled_us);
                self.members[0].counters.set_state_bytes((before + partition.windows.bytes()) as u64)?;
            }
            partition.windows.forget(settled_us);
            // At a pace of the clock something may not have been emitted; an early result may come twice.
            if !matches!(self.early, Early::Every(_)) {
                partition.windows.forget_changes();
            }
            before += partition.windows.bytes();
        }
        Ok(())
    }

    /// Every partition takes some rows; returns how many in all.
    async fn step(&mut self) -> Result<u64> {
        let steps = side_by_side(&mut self.partitions, |mut task| async move {
            let step = task.step(None).await;
            (task, step)
        });
        let steps = steps.await?;
        self.take_steps(steps)
    }

    fn take_steps(&mut self, steps: Vec<Step>) -> Result<u64> {
        let now = self.clock.elapsed();
        let mut rows = 0;
        let (mut late, mut failed) = (Vec::new(), Vec::new());
        for (partition, step) in steps.into_iter().enumerate() {
            if step.rows > 0 {
                self.idle[partition].since = now;
            }
            rows += step.rows;
            late.extend(step.late);
            failed.extend(step.failed);
            if let Some(state) = step.checkpoint {
                self.begin_snapshot(partition as u32, state);
            }
        }
        for member in &self.members {
            member.counters.add_in(rows);
            member.keep_late(&self.log, &self.stream, &self.late, &late, &mut self.commit)?;
            member.keep_failed(&self.log, &self.stream, &failed, &mut self.commit)?;
        }
        Ok(rows)
    }

    /// Writes a snapshot in the background.
    fn begin_snapshot(&mut self, partition: u32, state: PartitionState) {
        let next_offset = state.next_offset;
        let name = format!("{}{next_offset:020}.snapshot", self.snapshot_prefix(partition));
        let (log, aggregate) = (self.log.clone(), Arc::clone(&self.aggregate));
        self.snapshots.begin(partition, next_offset, move |chain| chain.extended(&log, name, state, &aggregate));
    }

    /// What the names of a partition's snapshots begin with.
    fn snapshot_prefix(&self, partition: u32) -> String {
        format!("{}-{partition}-", file_name(&self.name))
    }

    /// Refers to snapshots that were written, from the next commit on.
    fn keep_snapshots(&mut self, written: Vec<Written>) -> Result<()> {
        for written in written {
            let Written { partition, next_offset, .. } = written;
            let task = self.partitions[partition as usize].as_mut().expect("partitions are back after each step");
            match written.fate(&self.name) {
                Fate::Stored => task.windows.stored(next_offset),
                Fate::NotStored => {
                    task.windows.not_stored();
                    continue;
                }
                Fate::Broken => {
                    task.windows.not_stored();
                    task.windows.store_all();
                    continue;
                }
            }
            // A file that is not needed any more stays until the chain without it is committed: those go now that an earlier
            // one has made needless.
            let committed = self.members[0].ledger().snapshot_files(&self.log, partition);
            super::remove_older_snapshots(&self.log, &self.snapshot_prefix(partition), &committed);
            for ledger in self.members.iter().map(Member::ledger) {
                ledger.store_snapshot_files(partition, self.snapshots.chain(partition).names(), &mut self.commit);
                ledger.forget_decisions(&self.log, partition, next_offset, &mut self.commit)?;
                self.commit.move_cursor(&ledger.cursor(), self.stream.id(), partition, next_offset);
            }
        }
        Ok(())
    }

    /// Moves the watermark of a partition by a decision, which is journaled.
    fn decide(&mut self, partition: usize, watermark_us: i64) {
        let Some(task) = &mut self.partitions[partition] else { return };
        let decision = task.decide(watermark_us);
        for ledger in self.members.iter().map(Member::ledger) {
            ledger.store_decision(partition as u32, decision, &mut self.commit);
        }
    }

    /// Lets partitions without rows stop holding the others back; each decision is journaled with what it leads to.
    fn decide_idle(&mut self) {
        let now = self.clock.elapsed();
        let states: Vec<(bool, i64)> = self
            .partitions
            .iter()
            .flatten()
            .zip(&self.idle)
            .map(|(task, idle)| {
                let waiting = self.idle_timeout.is_some_and(|timeout| now >= idle.since + timeout);
                (waiting && task.lag(&self.log) == 0, task.windows.watermark.current_us())
            })
            .collect();
        let active = states.iter().filter(|(idle, _)| !idle).map(|(_, watermark_us)| *watermark_us).min();
        let target_us = active.or(states.iter().map(|(_, watermark_us)| *watermark_us).max()).unwrap_or(NO_WATERMARK);
        for (partition, (idle, watermark_us)) in states.into_iter().enumerate() {
            if idle && watermark_us < target_us {
                self.decide(partition, target_us);
            }
        }
    }

    /// The combined watermark: that of the partition that is furthest behind.
    fn watermark_us(&self) -> i64 {
        let watermarks = self.partitions.iter().flatten().map(|task| task.windows.watermark.current_us());
        let told_us = self.inlet.as_ref().map_or(NO_WATERMARK, Inlet::floor_us);
        watermarks.min().unwrap_or(NO_WATERMARK).max(told_us)
    }

    /// Takes what is told about the rows of a view, which are of one partition.
    fn look_upstream(&mut self) {
        if let (Some(inlet), Some(task)) = (&mut self.inlet, self.partitions.iter().flatten().next()) {
            inlet.look(task.next_offset());
        }
    }

    /// Closes what the watermark has passed.
    async fn close_windows(&mut self, watermark_us: i64) -> Result<()> {
        loop {
            let ends_us = self.due_together(watermark_us);
            if ends_us.len() > 1 {
                self.close_together(ends_us, watermark_us).await?;
                continue;
            }
            let due = self.operator.next_due(&mut windows(&mut self.partitions), watermark_us);
            let closed = match due {
                None => return Ok(()),
                Some(Due::First { end_us }) => {
                    let parts = make_parts(&mut self.partitions, 1, move |windows| windows.first_part(end_us)).await?;
                    self.operator.close_first(&mut windows(&mut self.partitions), end_us, parts)?
                }
                Some(Due::Last { end_us }) => self.operator.close_last(&mut windows(&mut self.partitions), end_us)?,
            };
            emit(&mut self.members, &closed, &mut self.commit).await?;
            self.operator.forget(&mut windows(&mut self.partitions));
        }
    }

    fn due_together(&mut self, watermark_us: i64) -> Arc<[i64]> {
        let most = CLOSED_TOGETHER.min(GROUPS_TOGETHER / keys(&self.partitions).max(1));
        self.operator.due_together(&windows(&mut self.partitions), watermark_us, most).into()
    }

    /// Emits the first results of windows, in order; as long as more can be closed together, partitions make their parts of the
    /// next ones meanwhile.
    async fn close_together(&mut self, mut ends_us: Arc<[i64]>, watermark_us: i64) -> Result<()> {
        let mut parts = first_parts(&mut self.partitions, &ends_us).await?;
        loop {
            self.operator.pass_together(&ends_us);
            let next = self.due_together(watermark_us);
            let emitted = async {
                let closed = self.operator.put_together(&ends_us, parts)?;
                emit(&mut self.members, &closed, &mut self.commit).await
            };
            if next.len() < 2 {
                return emitted.await;
            }
            // In this order: the one begins other tasks' work, the other is this one's.
            let (made, emitted) = tokio::join!(first_parts(&mut self.partitions, &next), emitted);
            emitted?;
            (ends_us, parts) = (next, made?);
        }
    }

    /// Emits groups that rows have changed, of windows that are open or take late rows, where the query asks for it now.
    async fn emit_changes(&mut self) -> Result<()> {
        let now = self.clock.elapsed();
        if self.early_at().is_some_and(|at| at > now) {
            return Ok(());
        }
        let changed = self.operator.changed(&mut windows(&mut self.partitions))?;
        for rows in &changed {
            for member in &mut self.members {
                member.emit_early(rows, &mut self.commit).await?;
            }
        }
        if !changed.is_empty() {
            self.emitted_early = now;
        }
        Ok(())
    }

    /// When early results may be emitted again, by the engine's clock; `None` at any time.
    fn early_at(&self) -> Option<Duration> {
        match self.early {
            Early::Every(interval) => Some(self.emitted_early + interval),
            Early::Nothing | Early::OnUpdate => None,
        }
    }

    /// Closes all windows: nothing more will come. The decision is journaled, so that rows of a later run are late for
    /// these windows only.
    async fn finish(&mut self, control: &mut watch::Receiver<Control>) -> Result<()> {
        let last_end_us = self.partitions.iter().flatten().filter_map(|task| task.windows.last_end_us()).max();
        if let Some(end_us) = last_end_us {
            let watermarks = self.partitions.iter().flatten().map(|task| task.windows.watermark.current_us());
            for (partition, watermark_us) in watermarks.collect::<Vec<_>>().into_iter().enumerate() {
                if watermark_us < end_us {
                    self.decide(partition, end_us);
                }
            }
            self.close_windows(end_us).await?;
        }
        self.early = Early::Nothing;
        self.emit_changes().await?;
        self.store_and_wait(control).await.map(|_| ())
    }

    /// Commits what has gathered, with the progress it belongs to, once the commit before it is durable. It may become
    /// durable itself while the next rows are read.
    async fn store(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        let Position { closed_us, settled_us } = self.operator.position();
        let mut is_due = false;
        for member in &mut self.members {
            is_due |= member.emitter.flush(closed_us, &mut self.commit)?;
        }
        if self.commit.is_empty() && !is_due {
            let measures = self.measure()?;
            self.committing.then(measures, self.members.iter().map(|member| &member.counters));
            return Ok(Stored::Yes);
        }
        if self.settle(control).await? == Stored::Abandoned {
            return Ok(Stored::Abandoned);
        }
        let mut commit = std::mem::take(&mut self.commit);
        let next_offsets = self.partitions.iter().flatten().map(PartitionTask::next_offset).collect();
        let settled_us = (settled_us != closed_us).then_some(settled_us);
        let progress = Progress { closed_us, settled_us, next_offsets };
        for ledger in self.members.iter().map(Member::ledger) {
            ledger.store_progress(&progress, &mut commit);
        }
        self.committing = Committing::begin(&self.log, commit, self.measure()?);
        self.committed_us = closed_us;
        Ok(Stored::Yes)
    }

    /// The same at an end: snapshots that are on their way belong to it.
    async fn store_and_wait(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        let written = self.snapshots.finish();
        self.keep_snapshots(written)?;
        match self.store(control).await? {
            Stored::Yes => self.settle(control).await,
            Stored::Abandoned => Ok(Stored::Abandoned),
        }
    }

    /// Waits until what was committed is durable; readers of a view are told then.
    async fn settle(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        if !self.committing.is_under_way() {
            return Ok(Stored::Yes);
        }
        let counters = self.members.iter().map(|member| &member.counters);
        let stored = self.committing.settle(&self.log, control, counters).await?;
        if stored == Stored::Yes {
            for member in &mut self.members {
                member.emitter.tell(self.committed_us)?;
            }
        }
        Ok(stored)
    }

    /// Resolves when there are rows, or something else to look at: a control, an idle partition.
    async fn wait(&mut self, control: &mut watch::Receiver<Control>) {
        let now = self.clock.elapsed();
        let idle_at = self
            .idle_timeout
            .and_then(|timeout| self.idle.iter().map(|idle| idle.since + timeout).filter(|at| *at > now).min());
        let early_at = self.early_at().filter(|at| *at > now);
        let timeout = idle_at.into_iter().chain(early_at).min().map(|at| at - now);
        let written = self.snapshots.notified();
        let rows = select_all(self.partitions.iter_mut().flatten().map(|task| task.wait().boxed()));
        tokio::select! {
            _ = rows => {}
            () = written => {}
            () = told(self.inlet.as_mut()) => {}
            _ = control.changed() => {}
            () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)), if timeout.is_some() => {}
        }
    }

    fn measure(&self) -> Result<Measures> {
        let mut measures = Measures::default();
        let emitters = self.members.iter().map(|member| member.emitter.bytes());
        measures.state_bytes = (emitters.sum::<usize>() + self.operator.bytes()) as u64;
        for task in self.partitions.iter().flatten() {
            measures.lag += task.lag(&self.log);
            measures.state_bytes += task.windows.bytes() as u64;
            measures.position += task.next_offset();
        }
        self.members[0].counters.set_state_bytes(measures.state_bytes)?;
        Ok(measures)
    }
}

async fn emit(members: &mut [Member], closed: &Closed, commit: &mut Commit) -> Result<()> {
    for member in members {
        member.emit(closed, commit).await?;
    }
    Ok(())
}

/// How long windows take rows, and what is looked at meanwhile. An alert is told of the last result of a window only: what
/// raises it must not depend on when rows arrive.
fn openness(emit: Emit, emitter: &Emitter) -> Openness {
    let previews = match (emitter, emit.early) {
        (Emitter::Alert(_), _) => Previews::None,
        (_, Early::OnUpdate | Early::Every(_)) => Previews::All,
        (_, Early::Nothing) if emit.lateness_us > 0 => Previews::Late,
        (_, Early::Nothing) => Previews::None,
    };
    Openness { lateness_us: emit.lateness_us, previews }
}

/// What the files of panes are named after. Queries that share some may part company later: those of several are not
/// called as one of them.
fn shared_name(members: &[Member]) -> String {
    match members {
        [only] => only.name.clone(),
        members => {
            let mut names = DefaultHasher::new();
            members.iter().for_each(|member| member.name.hash(&mut names));
            format!("shared.{:016x}.{}", names.finish(), members[0].name)
        }
    }
}
