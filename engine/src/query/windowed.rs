//! A windowed continuous query.
//!
//! It advances in steps: every partition that has rows takes some, side by side; then the windows that the combined
//! watermark has passed are closed, one after the other, and what they emit is committed together with the progress.
//!
//! Besides, windows that are not closed yet, and closed ones that late rows have changed, are emitted where the query asks
//! for it; that comes after what the watermark closes, in the same commit.
//!
//! Recovery: each partition starts at its last snapshot and reads again up to where the committed progress had read;
//! windows that were closed by then are not closed again.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt, select_all};
use thermocline_log::{Commit, Log, Stream};
use thermocline_sql::{Early, Emit, EventTime, WindowedShape};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::failed::{FailedOffset, failed_rows};
use super::partition::{PartitionTask, Step};
use super::progress::{Ledger, Progress};
use super::{Control, Counters, Emitter, Stored, commit_when_possible, file_name};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::late::{LateOffset, late_rows};
use crate::stage::Stage;
use crate::tables::Tables;
use crate::views::{Inlet, told};
use crate::watermark::NO_WATERMARK;
use crate::window::{
    Closed, Openness, PartitionState, PartitionWindows, Position, Previews, WindowAggregate, WindowOperator,
    read_snapshot, write_snapshot,
};

/// What a windowed query is made of.
pub(crate) struct WindowedSettings<'a> {
    pub(crate) name: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) shape: &'a WindowedShape,
    pub(crate) emit: Emit,
    pub(crate) event_time: &'a EventTime,
    /// What is told about the rows of a view.
    pub(crate) inlet: Option<Inlet>,
    pub(crate) log: &'a Log,
    pub(crate) stream: Stream,
    pub(crate) late: Stream,
    pub(crate) failed: Stream,
    pub(crate) tables: Arc<Tables>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    /// Rows between checkpoints; the default when `None`.
    pub(crate) checkpoint_rows: Option<u64>,
}

/// A windowed query, ready to run.
#[derive(Debug)]
pub(crate) struct WindowedQuery {
    name: String,
    log: Log,
    stream: Stream,
    late: Stream,
    failed: Stream,
    inlet: Option<Inlet>,
    partitions: Vec<Option<PartitionTask>>,
    idle: Vec<Idle>,
    operator: WindowOperator,
    early: Early,
    /// When results were last emitted early, by the engine's clock.
    emitted_early: Duration,
    output: Stage,
    emitter: Emitter,
    ledger: Ledger,
    commit: Commit,
    tables: Arc<Tables>,
    clock: Arc<dyn Clock>,
    idle_timeout: Option<Duration>,
    counters: Counters,
}

/// When a partition last had rows, by the engine's clock.
#[derive(Debug, Clone, Copy)]
struct Idle {
    since: Duration,
}

impl WindowedQuery {
    /// Compiles the query's input, loads its snapshots and replays what came after them.
    pub(crate) async fn open(settings: WindowedSettings<'_>, output: Stage, emitter: Emitter) -> Result<Self> {
        let WindowedSettings { name, sql, shape, event_time, log, stream, late, failed, .. } = settings;
        let WindowedSettings { tables, clock, counters, inlet, .. } = settings;
        let ledger = Ledger::new(name);
        let mut commit = Commit::new();
        let stage = Stage::over_stream(&shape.input, &shape.stream, Arc::clone(&tables)).await?;
        let aggregate = Arc::new(WindowAggregate::try_new(shape, stage.df_schema())?);
        let is_new_text = ledger.claim(log, sql, &mut commit);
        let states = if is_new_text { None } else { stored_states(name, &ledger, log, &stream, &aggregate)? };
        let is_changed = states.is_none();
        if is_changed {
            tracing::info!(
                query = name,
                "query begins anew: it goes on where it was, from all rows that are still held"
            );
        }
        let mut states = states.unwrap_or_default().into_iter();
        let progress = ledger.progress(log)?;
        let start = Position { closed_us: NO_WATERMARK, settled_us: NO_WATERMARK };
        let mut position = progress.as_ref().map_or(start, Progress::position);
        if settings.emit.lateness_us == 0 {
            // The text before this one may have allowed some.
            position.settled_us = position.closed_us;
        }
        let openness = openness(settings.emit, &emitter);
        let now = clock.elapsed();
        let mut query = Self {
            name: name.to_owned(),
            log: log.clone(),
            inlet,
            partitions: Vec::new(),
            idle: vec![Idle { since: now }; stream.partitions() as usize],
            operator: WindowOperator::new(Arc::clone(&aggregate), openness, position),
            early: settings.emit.early,
            emitted_early: now,
            output,
            emitter,
            commit,
            clock,
            idle_timeout: event_time.idle_timeout,
            counters,
            stream,
            late,
            failed,
            tables: Arc::clone(&tables),
            ledger,
        };
        for partition in 0..query.stream.partitions() {
            if is_changed {
                query.ledger.start_anew(log, &query.stream, partition, &mut query.commit);
            } else {
                query.ledger.register(log, &query.stream, partition, &mut query.commit);
            }
            let aggregate = Arc::clone(&aggregate);
            let mut windows = PartitionWindows::new(aggregate, openness, event_time.delay_us, settings.checkpoint_rows);
            if let Some(state) = states.next().flatten() {
                windows.restore(state);
            }
            let decisions = query.ledger.decisions(log, partition)?;
            let stage = Stage::over_stream(&shape.input, &shape.stream, Arc::clone(&tables)).await?;
            let column = event_time.column;
            let task = PartitionTask::new(log, &query.stream, partition, column, windows, stage, decisions)?;
            query.partitions.push(Some(task));
        }
        if let Some(progress) = progress {
            query.replay(&progress).await?;
        }
        if is_changed {
            // Before a snapshot of the new text can stand under the name of one of the old.
            let (_nobody_stops_it, mut control) = watch::channel(Control::Run);
            let _stored = query.store(&mut control).await?;
        }
        Ok(query)
    }

    /// Runs until it is told to finish or stop.
    pub(crate) async fn run(mut self, mut control: watch::Receiver<Control>) -> Result<()> {
        self.emitter.tell(self.operator.position().closed_us)?;
        loop {
            let wanted = *control.borrow_and_update();
            if wanted == Control::Stop {
                return self.store(&mut control).await.map(|_| ());
            }
            self.tables.refresh().await;
            let read = self.step().await?;
            self.decide_idle();
            self.look_upstream();
            self.close_windows(self.watermark_us()).await?;
            self.emit_changes().await?;
            if self.store(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            self.measure();
            if read > 0 {
                continue;
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
        for (partition, until) in self.partitions.iter_mut().flatten().zip(&progress.next_offsets) {
            while partition.next_offset() < *until {
                let step = partition.step(Some(*until)).await?;
                if step.rows == 0 {
                    break;
                }
                partition.windows.forget(settled_us);
            }
            partition.windows.forget(settled_us);
            // At a pace of the clock something may not have been emitted; an early result may come twice.
            if !matches!(self.early, Early::Every(_)) {
                partition.windows.forget_changes()?;
            }
        }
        Ok(())
    }

    /// Every partition takes some rows; returns how many in all.
    async fn step(&mut self) -> Result<u64> {
        let mut running = JoinSet::new();
        for slot in &mut self.partitions {
            let mut task = slot.take().expect("partitions are back after each step");
            running.spawn(async move {
                let step = task.step(None).await;
                (task, step)
            });
        }
        let mut failed = None;
        let mut steps: Vec<Option<Step>> = self.partitions.iter().map(|_| None).collect();
        while let Some(done) = running.join_next().await {
            let (task, step) = match done {
                Ok(done) => done,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
            let partition = task.partition() as usize;
            self.partitions[partition] = Some(task);
            match step {
                Ok(step) => steps[partition] = Some(step),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.take_steps(steps.into_iter().flatten().collect())
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
                self.store_snapshot(partition as u32, &state)?;
            }
        }
        self.counters.add_in(rows);
        self.keep_late(&late)?;
        self.keep_failed(&failed)?;
        Ok(rows)
    }

    fn keep_late(&mut self, late: &[LateOffset]) -> Result<()> {
        if late.is_empty() {
            return Ok(());
        }
        self.counters.add_late(late.len() as u64);
        let rows = late_rows(&self.log, &self.stream, &self.name, late)?;
        self.commit.append(self.late.id(), rows);
        Ok(())
    }

    fn keep_failed(&mut self, failed: &[FailedOffset]) -> Result<()> {
        if failed.is_empty() {
            return Ok(());
        }
        self.counters.add_failed(failed.len() as u64);
        let rows = failed_rows(&self.log, &self.stream, failed)?;
        self.commit.append(self.failed.id(), rows);
        Ok(())
    }

    fn store_snapshot(&mut self, partition: u32, state: &PartitionState) -> Result<()> {
        let file = format!("{}-{partition}-{:020}.snapshot", file_name(&self.name), state.next_offset);
        if let Err(error) = write_snapshot(&self.log, &file, state) {
            // The one before still stands, and the rows since stay in the log: recovery only reads more of them.
            tracing::warn!(query = self.name, file, %error, "snapshot not written; the next one will be tried");
            return Ok(());
        }
        if let Some(earlier) = self.ledger.snapshot(&self.log, partition)
            && earlier != file
        {
            // Two snapshots stay until the newer one is committed; the older of those two is the one to go now.
            super::remove_older_snapshots(&self.log, &format!("{}-{partition}-", file_name(&self.name)), &earlier);
        }
        self.ledger.store_snapshot(partition, &file, &mut self.commit);
        self.ledger.forget_decisions(&self.log, partition, state.next_offset, &mut self.commit)?;
        self.commit.move_cursor(&self.ledger.cursor(), self.stream.id(), partition, state.next_offset);
        Ok(())
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
        for (task, (idle, watermark_us)) in self.partitions.iter_mut().flatten().zip(states) {
            if idle && watermark_us < target_us {
                let decision = task.decide(target_us);
                self.ledger.store_decision(task.partition(), decision, &mut self.commit);
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

    /// The next result that the watermark lets out.
    fn close_next(&mut self, watermark_us: i64) -> Result<Option<Closed>> {
        let mut windows: Vec<&mut PartitionWindows> =
            self.partitions.iter_mut().flatten().map(|task| &mut task.windows).collect();
        Ok(self.operator.close_next(&mut windows, watermark_us)?)
    }

    /// Closes what the watermark has passed.
    async fn close_windows(&mut self, watermark_us: i64) -> Result<()> {
        let mut emitted = 0;
        while let Some(Closed { rows, is_correction }) = self.close_next(watermark_us)? {
            let rows = self.output.run(rows.num_rows(), |i| Arc::clone(rows.column(i))).await?;
            emitted += match is_correction {
                true => self.emitter.correct(&rows, &mut self.commit)?,
                false => self.emitter.emit(&rows, &mut self.commit)?,
            };
        }
        self.counters.add_out(emitted as u64);
        Ok(())
    }

    /// Emits groups that rows have changed, of windows that are open or take late rows, where the query asks for it now.
    async fn emit_changes(&mut self) -> Result<()> {
        let now = self.clock.elapsed();
        if self.early_at().is_some_and(|at| at > now) {
            return Ok(());
        }
        let mut windows: Vec<&mut PartitionWindows> =
            self.partitions.iter_mut().flatten().map(|task| &mut task.windows).collect();
        let changed = self.operator.changed(&mut windows)?;
        let mut emitted = 0;
        for rows in &changed {
            let rows = self.output.run(rows.num_rows(), |i| Arc::clone(rows.column(i))).await?;
            emitted += self.emitter.emit(&rows, &mut self.commit)?;
        }
        if !changed.is_empty() {
            self.emitted_early = now;
        }
        self.counters.add_out(emitted as u64);
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
            for task in self.partitions.iter_mut().flatten() {
                if task.windows.watermark.current_us() < end_us {
                    let decision = task.decide(end_us);
                    self.ledger.store_decision(task.partition(), decision, &mut self.commit);
                }
            }
            self.close_windows(end_us).await?;
        }
        self.early = Early::Nothing;
        self.emit_changes().await?;
        self.store(control).await.map(|_| ())
    }

    /// Commits what has gathered, with the progress it belongs to.
    async fn store(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        let Position { closed_us, settled_us } = self.operator.position();
        let is_due = self.emitter.flush(closed_us, &mut self.commit)?;
        if self.commit.is_empty() && !is_due {
            return Ok(Stored::Yes);
        }
        let mut commit = std::mem::take(&mut self.commit);
        let next_offsets = self.partitions.iter().flatten().map(PartitionTask::next_offset).collect();
        let settled_us = (settled_us != closed_us).then_some(settled_us);
        let progress = Progress { closed_us, settled_us, next_offsets };
        self.ledger.store_progress(&progress, &mut commit);
        let stored = commit_when_possible(&self.log, commit, control).await?;
        if stored == Stored::Yes {
            self.emitter.tell(closed_us)?;
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
        let rows = select_all(self.partitions.iter_mut().flatten().map(|task| task.wait().boxed()));
        tokio::select! {
            _ = rows => {}
            () = told(self.inlet.as_mut()) => {}
            _ = control.changed() => {}
            () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)), if timeout.is_some() => {}
        }
    }

    fn measure(&self) {
        let (mut lag, mut bytes, mut position) = (0, 0, 0);
        for task in self.partitions.iter().flatten() {
            lag += task.lag(&self.log);
            bytes += task.windows.bytes();
            position += task.next_offset();
        }
        self.counters.set_lag(lag);
        self.counters.set_state_bytes(bytes as u64);
        self.counters.set_position(position);
    }
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

/// The snapshots of all partitions, as far as there are any; `None` when one holds other types than the query's columns
/// have now, or cannot be read: it only saves reading the rows again that it was made of. Where some of those are gone, a
/// snapshot that cannot be read is an error: windows of what is left would be wrong.
fn stored_states(
    query: &str,
    ledger: &Ledger,
    log: &Log,
    stream: &Stream,
    aggregate: &WindowAggregate,
) -> Result<Option<Vec<Option<PartitionState>>>> {
    let mut states = Vec::new();
    for partition in 0..stream.partitions() {
        states.push(match ledger.snapshot(log, partition) {
            None => None,
            Some(file) => match read_snapshot(log, &file, aggregate) {
                Ok(None) => return Ok(None),
                Ok(state) => state,
                Err(error @ (Error::State { .. } | Error::Log(_))) if super::holds_every_row(log, stream) => {
                    tracing::warn!(query, partition, file, %error, "snapshot cannot be read: its rows are read again");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        });
    }
    Ok(Some(states))
}
