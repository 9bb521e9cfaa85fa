//! A continuous query that takes its rows in event-time order.
//!
//! It advances in steps: every partition of every input that has rows takes some, side by side; then the rows that the combined watermark
//! has passed go to the operator in order, and what it emits is committed together with the progress.
//!
//! Recovery: the query starts at its last snapshot and reads again up to where the committed progress had read; what the
//! operator emits up to the watermark of that progress was emitted.

mod absence;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::{FutureExt, select_all};
use thermocline_log::{Commit, Log, Stream};
use thermocline_sql::{EventTime, OrderedShape};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::snapshots::{Shapes, StoredState};
use super::failed::failed_rows;
use super::failed_results::FailedResults;
use super::ordered_partition::{OrderedPartition, OrderedStep, PartitionSource};
use super::progress::{Ledger, Progress};
use super::{Control, Counters, Emitter, Stored, commit_when_possible};
use crate::clock::Clock;
use crate::error::Result;
use crate::late::late_rows;
use crate::ordered::{
    OrderedOperator, OrderedState, PartitionPlace, PartitionPosition, Run, merge_runs, operator, part_before, tidy_runs,
};
use crate::stage::Stage;
use crate::tables::Tables;
use crate::views::{Inlet, told};
use crate::watermark::NO_WATERMARK;

/// Rows that wait in a partition before it pauses for another to catch up, and their bytes.
const WAITING_ROWS: usize = 1 << 19;
const WAITING_BYTES: usize = 64 << 20;

/// Rows that the operator is given at once, at least and at most: few where many rows come of each.
const GIVEN_ROWS_MIN: usize = 256;
const GIVEN_ROWS_MAX: usize = 1 << 18;

/// Bytes that come of them before they are committed, and fewer rows are given.
const GATHERED_BYTES: usize = 32 << 20;

/// What an ordered query is made of.
pub(crate) struct OrderedSettings<'a> {
    pub(crate) name: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) shape: &'a OrderedShape,
    pub(crate) log: &'a Log,
    pub(crate) inputs: Vec<InputStreams>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    /// Rows between snapshots; the default when `None`.
    pub(crate) snapshot_rows: Option<u64>,
}

/// The streams of one input.
pub(crate) struct InputStreams {
    pub(crate) stream: Stream,
    pub(crate) late: Stream,
    pub(crate) failed: Stream,
    pub(crate) event_time: EventTime,
    /// What is told about the rows of a view.
    pub(crate) inlet: Option<Inlet>,
}

/// An ordered query, ready to run.
#[derive(Debug)]
pub(crate) struct OrderedQuery {
    name: String,
    log: Log,
    inputs: Vec<Input>,
    operator: Box<dyn OrderedOperator>,
    /// The watermark that the operator has seen.
    watermark_us: i64,
    output: Stage,
    emitter: Emitter,
    commit: Commit,
    tables: Arc<Tables>,
    clock: Arc<dyn Clock>,
    counters: Counters,
    failed_results: FailedResults,
    stored: StoredState,
    /// Where the query watches for silence.
    watch: Option<absence::Watch>,
    /// Rows that the operator is given at once.
    given_rows: usize,
    /// Bytes of what was emitted and not committed.
    gathered_bytes: usize,
}

/// One input with its partitions.
#[derive(Debug)]
struct Input {
    stream: Stream,
    late: Stream,
    failed: Stream,
    ledger: Ledger,
    schema: SchemaRef,
    partitions: Vec<Option<OrderedPartition>>,
    /// When each partition last had rows, by the engine's clock.
    active: Vec<Duration>,
    idle_timeout: Option<Duration>,
    inlet: Option<Inlet>,
}

impl Input {
    fn partitions(&self) -> impl Iterator<Item = &OrderedPartition> {
        self.partitions.iter().flatten()
    }

    /// How far a partition is, by its rows or by what is told about them.
    fn watermark_us(&self, partition: &OrderedPartition) -> i64 {
        partition.watermark_us().max(self.inlet.as_ref().map_or(NO_WATERMARK, Inlet::floor_us))
    }

    /// Takes what is told about the rows of a view, which are of one partition.
    fn look_upstream(&mut self) {
        if let (Some(inlet), Some(partition)) = (&mut self.inlet, self.partitions.iter().flatten().next()) {
            inlet.look(partition.next_offset());
        }
    }

    fn partitions_mut(&mut self) -> impl Iterator<Item = &mut OrderedPartition> {
        self.partitions.iter_mut().flatten()
    }
}

impl OrderedQuery {
    /// Compiles the query, loads its snapshot and replays what came after it.
    pub(crate) async fn open(settings: OrderedSettings<'_>, output: Stage, emitter: Emitter) -> Result<Self> {
        let OrderedSettings { name, sql, shape, log, inputs, tables, clock, counters, snapshot_rows } = settings;
        let ledger = Ledger::of_input(name, 0);
        let mut commit = Commit::new();
        let stages = compile_inputs(shape, &tables).await?;
        let mut operator = operator(shape, &stages)?;
        let is_new_text = ledger.claim(log, sql, &mut commit);
        let shapes = Shapes::of(&inputs, &stages, operator.as_ref());
        let (mut stored, state) = StoredState::open(name, &ledger, log, &inputs, shapes, snapshot_rows, is_new_text)?;
        let is_changed = state.is_none();
        if is_changed {
            tracing::info!(
                query = name,
                "query begins anew: it goes on where it was, from all rows that are still held"
            );
        }
        let state = state.unwrap_or_else(OrderedState::empty);
        if !state.operator.is_empty() {
            operator.restore(&state.operator)?;
            let rows = state.partitions.iter().map(|partition| partition.place.next_offset).sum();
            stored.restored(rows, operator.as_mut());
        }
        let mut positions = state.partitions.into_iter();
        let mut opened = Vec::new();
        // Whether what is committed is about these inputs: a changed query may read others.
        let mut reads_the_same = true;
        for (n, (streams, input)) in inputs.into_iter().zip(&shape.inputs).enumerate() {
            let ledger = Ledger::of_input(name, n);
            let mut partitions = Vec::new();
            for partition in 0..streams.stream.partitions() {
                reads_the_same &= log.cursor(&ledger.cursor(), streams.stream.id(), partition).is_some();
                let start = match is_changed {
                    true => ledger.start_anew(log, &streams.stream, partition, &mut commit),
                    false => ledger.register(log, &streams.stream, partition, &mut commit),
                };
                let place = PartitionPlace { next_offset: start, watermark_us: NO_WATERMARK };
                let at_start = PartitionPosition { place, runs: Vec::new() };
                let source = PartitionSource {
                    log,
                    stream: &streams.stream,
                    partition,
                    time_column: streams.event_time.column,
                    delay_us: streams.event_time.delay_us,
                };
                let stage = Stage::over_stream(&input.plan, &input.stream, Arc::clone(&tables)).await?;
                let decisions = ledger.decisions(log, partition)?;
                let position = positions.next().unwrap_or(at_start);
                partitions.push(Some(OrderedPartition::new(&source, stage, position, decisions)?));
            }
            let InputStreams { stream, late, failed, event_time, inlet } = streams;
            opened.push(Input {
                ledger,
                schema: partitions
                    .iter()
                    .flatten()
                    .map(OrderedPartition::schema)
                    .next()
                    .expect("a stream has partitions"),
                active: vec![clock.elapsed(); partitions.len()],
                partitions,
                idle_timeout: event_time.idle_timeout,
                inlet,
                stream,
                late,
                failed,
            });
        }
        let progress = ledger.progress(log)?;
        let failed_results = FailedResults::below(&shape.output, &opened[0].failed, &counters);
        let mut query = Self {
            name: name.to_owned(),
            log: log.clone(),
            inputs: opened,
            operator,
            watermark_us: state.watermark_us,
            output,
            emitter,
            commit,
            tables,
            clock,
            failed_results,
            counters,
            stored,
            watch: None,
            given_rows: GIVEN_ROWS_MIN,
            gathered_bytes: 0,
        };
        query.open_watch(shape, is_changed, progress.is_some()).await?;
        if let Some(progress) = progress {
            query.replay(progress, reads_the_same).await?;
        }
        if is_changed {
            query.doubt_watch();
            // Before a snapshot of the new text can stand under the name of one of the old.
            let (_nobody_stops_it, mut control) = watch::channel(Control::Run);
            let _stored = query.store(&mut control).await?;
        }
        Ok(query)
    }

    /// Runs until it is told to finish or stop.
    pub(crate) async fn run(mut self, mut control: watch::Receiver<Control>) -> Result<()> {
        self.emitter.tell(self.watermark_us)?;
        loop {
            let wanted = *control.borrow_and_update();
            if wanted == Control::Stop {
                self.await_snapshots()?;
                return self.store(&mut control).await.map(|_| ());
            }
            self.tables.refresh().await;
            let read = self.step(self.catch_up().as_deref(), false).await?;
            self.decide_idle();
            self.begin_watch().await?;
            self.inputs.iter_mut().for_each(Input::look_upstream);
            if self.advance_by_parts(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            let has_more = self.judge_silence(read).await?;
            self.snapshot_when_due(read)?;
            self.keep_snapshots()?;
            if self.store(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            self.measure()?;
            if read > 0 || has_more {
                continue;
            }
            if wanted == Control::Finish {
                return self.finish(&mut control).await;
            }
            self.wait(&mut control).await;
        }
    }

    /// Reads again what came after the snapshot, up to where the progress had read; what comes of it was emitted.
    async fn replay(&mut self, mut progress: Progress, reads_the_same: bool) -> Result<()> {
        if !reads_the_same || progress.next_offsets.len() != self.partitions().count() {
            // Of an input that is new, all rows that are there come before what is emitted next.
            progress.next_offsets = self.partitions().map(|p| p.next_offset() + p.lag(&self.log)).collect();
        }
        loop {
            let read = self.step(Some(&progress.next_offsets), true).await?;
            self.stored.read_again(read);
            self.advance(self.combined_us().min(progress.closed_us), false).await?;
            self.measure()?;
            if read == 0 {
                break;
            }
        }
        // A decision may have moved the watermark further than the rows of one partition show.
        self.advance(progress.closed_us, false).await?;
        if self.watch.is_some() {
            // What was decided at that very moment was emitted too.
            let _emitted = self.operator.advance(self.watermark_us)?;
        }
        self.hold_watermarks(progress.closed_us);
        Ok(())
    }

    /// Partitions that are far ahead of one that has rows to read, as (watermark, rows that wait) at least: they pause, so
    /// that their rows need not wait in memory while the other catches up.
    fn pause(&self) -> Option<(i64, usize)> {
        let behind_us = self.combined_us();
        let catches_up = |p: &OrderedPartition| p.watermark_us() == behind_us && p.lag(&self.log) > 0;
        self.partitions().any(catches_up).then_some((behind_us.saturating_add(1), WAITING_ROWS))
    }

    /// Moves the watermark of every partition to at least that of the operator, which takes no row before it. Where it is
    /// behind, rows or decisions that had moved it are gone: retention removed them, or another text forgot them.
    fn hold_watermarks(&mut self, watermark_us: i64) {
        for input in &mut self.inputs {
            for partition in input.partitions.iter_mut().flatten() {
                if partition.watermark_us() < watermark_us {
                    let decision = partition.decide(watermark_us);
                    input.ledger.store_decision(partition.partition(), decision, &mut self.commit);
                }
            }
        }
    }

    /// Every partition takes some rows; returns how many in all. `until`: an offset for each partition of each input.
    async fn step(&mut self, until: Option<&[u64]>, is_replay: bool) -> Result<u64> {
        // What is read again is bounded by the snapshot.
        let pause = if is_replay { None } else { self.pause() };
        let is_paused = |partition: &OrderedPartition| {
            let is_full = |rows| partition.waiting() >= rows || partition.bytes() >= WAITING_BYTES;
            pause.is_some_and(|(ahead_us, rows)| partition.watermark_us() >= ahead_us && is_full(rows))
        };
        let mut running = JoinSet::new();
        let mut stops = until.into_iter().flatten();
        for (n, input) in self.inputs.iter_mut().enumerate() {
            for slot in &mut input.partitions {
                // A partition that the progress does not know was not read.
                let stop = until.map(|_| stops.next().copied().unwrap_or(0));
                if slot.as_ref().is_some_and(is_paused) {
                    continue;
                }
                let mut task = slot.take().expect("partitions are back after each step");
                running.spawn(async move {
                    let step = task.step(stop).await;
                    (n, task, step)
                });
            }
        }
        let mut failed = None;
        let mut steps = BTreeMap::new();
        while let Some(done) = running.join_next().await {
            let (input, task, step) = match done {
                Ok(done) => done,
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            };
            let partition = task.partition() as usize;
            self.inputs[input].partitions[partition] = Some(task);
            match step {
                Ok(step) => {
                    steps.insert((input, partition), step);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => self.take_steps(steps, is_replay),
        }
    }

    /// Keeps what the steps found, unless it is a replay: then it is stored already.
    fn take_steps(&mut self, steps: BTreeMap<(usize, usize), OrderedStep>, is_replay: bool) -> Result<u64> {
        let now = self.clock.elapsed();
        let mut rows = 0;
        for ((input, partition), step) in steps {
            let input = &mut self.inputs[input];
            if step.rows > 0 {
                input.active[partition] = now;
            }
            rows += step.rows;
            if is_replay {
                continue;
            }
            if !step.late.is_empty() {
                self.counters.add_late(step.late.len() as u64);
                let late = late_rows(&self.log, &input.stream, &self.name, &step.late)?;
                self.commit.append(input.late.id(), late);
            }
            if !step.failed.is_empty() {
                self.counters.add_failed(step.failed.len() as u64);
                let failed = failed_rows(&self.log, &input.stream, &step.failed)?;
                self.commit.append(input.failed.id(), failed);
            }
        }
        self.counters.add_in(rows);
        Ok(rows)
    }

    /// Gives the operator what the combined watermark has passed, part by part: what comes of a part is committed before the
    /// next where it is large, so that it never is in memory as a whole.
    async fn advance_by_parts(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        let target_us = self.combined_us();
        loop {
            let runs: Vec<&Run> = self.partitions().flat_map(OrderedPartition::waiting_runs).collect();
            let part_us = part_before(&runs, target_us, self.given_rows);
            let before = self.gathered_bytes;
            self.advance(part_us, true).await?;
            let is_much = self.gathered_bytes - before > GATHERED_BYTES / 4;
            let given_rows = if is_much { self.given_rows / 4 } else { self.given_rows * 2 };
            self.given_rows = given_rows.clamp(GIVEN_ROWS_MIN, GIVEN_ROWS_MAX);
            if part_us >= target_us {
                return Ok(Stored::Yes);
            }
            if self.gathered_bytes > GATHERED_BYTES {
                if self.store(control).await? == Stored::Abandoned {
                    return Ok(Stored::Abandoned);
                }
                self.measure()?;
            }
        }
    }

    /// Gives the operator what the watermark has passed, and emits what comes of it, unless that was emitted before.
    async fn advance(&mut self, watermark_us: i64, emit: bool) -> Result<()> {
        if watermark_us <= self.watermark_us {
            return Ok(());
        }
        let schemas: Vec<SchemaRef> = self.inputs.iter().map(|input| Arc::clone(&input.schema)).collect();
        let mut runs: Vec<Vec<&mut Run>> = Vec::with_capacity(self.inputs.len());
        for input in &mut self.inputs {
            runs.push(input.partitions_mut().flat_map(|partition| partition.runs().iter_mut()).collect());
        }
        if let Some(rows) = merge_runs(&mut runs, &schemas, watermark_us)? {
            self.operator.update(&rows)?;
        }
        for partition in self.inputs.iter_mut().flat_map(Input::partitions_mut) {
            tidy_runs(partition.runs())?;
        }
        let emitted = self.operator.advance(watermark_us)?;
        self.watermark_us = watermark_us;
        let failed = self.operator.take_failed();
        if emit {
            for (rows, failed) in failed {
                self.failed_results.keep(&rows, &failed, &mut self.commit)?;
            }
            self.emit(emitted).await?;
        }
        Ok(())
    }

    async fn emit(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let mut emitted = 0;
        for rows in batches {
            let rows = self.failed_results.run_rows(&mut self.output, &rows, &mut self.commit).await?;
            self.gathered_bytes += rows.get_array_memory_size();
            emitted += self.emitter.emit(&rows, &mut self.commit)?;
        }
        self.counters.add_out(emitted as u64);
        Ok(())
    }

    /// The combined watermark: that of the partition that is furthest behind.
    fn combined_us(&self) -> i64 {
        let of_input = |input: &Input| input.partitions().map(|p| input.watermark_us(p)).min();
        self.inputs.iter().filter_map(of_input).min().unwrap_or(NO_WATERMARK)
    }

    fn partitions(&self) -> impl Iterator<Item = &OrderedPartition> {
        self.inputs.iter().flat_map(Input::partitions)
    }

    /// Lets partitions without rows stop holding the others back; each decision is journaled with what it leads to.
    fn decide_idle(&mut self) {
        let now = self.clock.elapsed();
        let log = &self.log;
        let is_idle = |input: &Input, n: usize, partition: &OrderedPartition| {
            let waiting = input.idle_timeout.is_some_and(|timeout| now >= input.active[n] + timeout);
            waiting && partition.lag(log) == 0
        };
        let mut states = Vec::new();
        for input in &self.inputs {
            for (n, partition) in input.partitions().enumerate() {
                states.push((is_idle(input, n, partition), input.watermark_us(partition)));
            }
        }
        let active = states.iter().filter(|(idle, _)| !idle).map(|(_, watermark_us)| *watermark_us).min();
        let target_us = active.or(states.iter().map(|(_, watermark_us)| *watermark_us).max()).unwrap_or(NO_WATERMARK);
        let mut states = states.into_iter();
        for input in &mut self.inputs {
            for partition in input.partitions.iter_mut().flatten() {
                let (idle, watermark_us) = states.next().expect("one for each partition");
                if idle && watermark_us < target_us {
                    let decision = partition.decide(target_us);
                    input.ledger.store_decision(partition.partition(), decision, &mut self.commit);
                }
            }
        }
    }

    /// Completes everything: nothing more will come. The decision is journaled, so that a later run goes on after it.
    async fn finish(&mut self, control: &mut watch::Receiver<Control>) -> Result<()> {
        let last_us = self.partitions().filter_map(OrderedPartition::last_us).max();
        let all_rows_us = last_us.map_or(self.watermark_us, |last_us| last_us.saturating_add(1)).max(self.watermark_us);
        self.advance(all_rows_us, true).await?;
        let end_us = self.operator.horizon_us().unwrap_or(all_rows_us).max(all_rows_us);
        self.advance(end_us, true).await?;
        self.hold_watermarks(end_us);
        self.await_snapshots()?;
        self.store(control).await.map(|_| ())
    }

    /// Commits what has gathered, with the progress it belongs to.
    async fn store(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        self.gathered_bytes = 0;
        let is_due = self.emitter.flush(self.watermark_us, &mut self.commit)?;
        if self.commit.is_empty() && !is_due {
            return Ok(Stored::Yes);
        }
        let mut commit = std::mem::take(&mut self.commit);
        let next_offsets = self.partitions().map(OrderedPartition::next_offset).collect();
        let progress = Progress { closed_us: self.watermark_us, settled_us: None, next_offsets };
        self.inputs[0].ledger.store_progress(&progress, &mut commit);
        let stored = commit_when_possible(&self.log, commit, control).await?;
        if stored == Stored::Yes {
            self.emitter.tell(self.watermark_us)?;
        }
        Ok(stored)
    }

    /// Resolves when there are rows, or something else to look at: a control, an idle partition.
    async fn wait(&mut self, control: &mut watch::Receiver<Control>) {
        let now = self.clock.elapsed();
        let look = self.next_look();
        let idle_at = self.inputs.iter().filter_map(|input| {
            let timeout = input.idle_timeout?;
            input.active.iter().map(|active| *active + timeout).filter(|at| *at > now).min()
        });
        let timeout = idle_at.min().map(|at| at - now).into_iter().chain(look).min();
        let written = self.stored.notified();
        let something = self.inputs.iter_mut().flat_map(|Input { partitions, inlet, .. }| {
            let rows = partitions.iter_mut().flatten().map(|partition| partition.wait().boxed());
            rows.chain([told(inlet.as_mut()).boxed()])
        });
        let something = select_all(something);
        tokio::select! {
            _ = something => {}
            () = written => {}
            _ = control.changed() => {}
            () = tokio::time::sleep(timeout.unwrap_or(Duration::MAX)), if timeout.is_some() => {}
        }
    }

    fn measure(&self) -> Result<()> {
        let (mut lag, mut bytes, mut position) = (0, self.operator.bytes() + self.emitter.bytes(), 0);
        for partition in self.partitions() {
            lag += partition.lag(&self.log);
            bytes += partition.bytes();
            position += partition.next_offset();
        }
        self.counters.set_lag(lag);
        self.counters.set_position(position);
        self.counters.set_state_bytes(bytes as u64)
    }
}

/// The stage of each input.
pub(crate) async fn compile_inputs(shape: &OrderedShape, tables: &Arc<Tables>) -> Result<Vec<Stage>> {
    let mut stages = Vec::with_capacity(shape.inputs.len());
    for input in &shape.inputs {
        stages.push(Stage::over_stream(&input.plan, &input.stream, Arc::clone(tables)).await?);
    }
    Ok(stages)
}
