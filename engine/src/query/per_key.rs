//! A continuous query over a stream with a watermark `PER` key.
//!
//! It advances in steps: every partition that has rows takes some, side by side; what came of them is emitted, partition after
//! partition, and committed with how far they have read. No partition waits for another, and the clock decides nothing.
//!
//! Recovery: each partition starts at its last snapshot and reads again up to where the committed progress had read. Whatever
//! those rows lead to was committed with it, and is left out.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use futures::future::{FutureExt, select_all};
use thermocline_log::{Commit, Log, Stream};
use thermocline_sql::{EventTime, OrderedOperator, OrderedShape, QueryShape, WindowedShape};
use tokio::sync::watch;

use super::chain::stored_chains;
use super::failed::{FailedOffset, failed_rows};
use super::failed_results::FailedResults;
use super::per_key_partition::{PerKeyPartition, PerKeySource, PerKeyStep, key_schema};
use super::progress::{Ledger, Progress};
use super::side_by_side::{Partitions, side_by_side};
use super::snapshots::{Fate, Snapshots, Written};
use super::{Control, Counters, Emitter, Stored, commit_when_possible, file_name, remove_older_snapshots};
use crate::error::Result;
use crate::late::{LateOffset, late_rows};
use crate::per_key::{AlignedWindows, Emitted, KeyWatermarks, Lateness, PerKeyOperator, PerKeyPlace, PerKeyState};
use crate::snapshot::{Increment, StoredTables, TableShape};
use crate::stage::Stage;
use crate::tables::Tables;
use crate::watermark::NO_WATERMARK;

/// What a query by key is made of.
pub(crate) struct PerKeySettings<'a> {
    pub(crate) name: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) shape: PerKeyShape<'a>,
    pub(crate) event_time: &'a EventTime,
    pub(crate) log: &'a Log,
    pub(crate) stream: Stream,
    pub(crate) late: Stream,
    pub(crate) failed: Stream,
    pub(crate) tables: Arc<Tables>,
    pub(crate) counters: Counters,
    /// Rows between snapshots; the default when `None`.
    pub(crate) snapshot_rows: Option<u64>,
}

/// What it does with its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PerKeyShape<'a> {
    Windowed {
        shape: &'a WindowedShape,
        /// `ALLOW LATENESS`
        lateness: Lateness,
    },
    Ordered(&'a OrderedShape),
}

/// A query by key, ready to run.
#[derive(Debug)]
pub(crate) struct PerKeyQuery {
    name: String,
    log: Log,
    stream: Stream,
    late: Stream,
    failed: Stream,
    failed_results: FailedResults,
    partitions: Partitions<PerKeyPartition>,
    shapes: Arc<[TableShape]>,
    snapshots: Snapshots,
    output: Stage,
    emitter: Emitter,
    ledger: Ledger,
    commit: Commit,
    tables: Arc<Tables>,
    counters: Counters,
}

impl<'a> PerKeyShape<'a> {
    /// The same of a query over a stream with watermarks by key; `None` where it goes by the watermark of all keys: rows by
    /// themselves know none, and silence is told by how far the others have got.
    pub(crate) fn of(shape: &'a QueryShape, lateness: Lateness) -> Option<Self> {
        match shape {
            QueryShape::Stateless { .. } => None,
            QueryShape::Windowed(shape) => Some(Self::Windowed { shape, lateness }),
            QueryShape::Ordered(shape) if matches!(shape.operator, OrderedOperator::Absence(_)) => None,
            QueryShape::Ordered(shape) => Some(Self::Ordered(shape)),
        }
    }

    /// From the stream to the rows that the operator takes.
    async fn stage(self, tables: &Arc<Tables>) -> Result<Stage> {
        let (plan, stream) = match self {
            Self::Windowed { shape, .. } => (&shape.input, &shape.stream),
            Self::Ordered(shape) => (&shape.inputs[0].plan, &shape.inputs[0].stream),
        };
        Ok(Stage::over_stream(plan, stream, Arc::clone(tables)).await?)
    }

    fn operator(self, stage: &Stage) -> Result<Box<dyn PerKeyOperator>> {
        Ok(match self {
            Self::Windowed { shape, lateness } => {
                Box::new(AlignedWindows::try_new(shape, lateness, stage.df_schema())?)
            }
            Self::Ordered(shape) => crate::per_key::in_order(shape, stage)?,
        })
    }

    /// What runs over the rows that the operator emits.
    pub(crate) async fn output(self, tables: &Arc<Tables>) -> Result<Stage> {
        Ok(Stage::over_placeholder_rows(self.output_plan(), Arc::clone(tables)).await?)
    }

    fn output_plan(self) -> &'a LogicalPlan {
        match self {
            Self::Windowed { shape, .. } => &shape.output,
            Self::Ordered(shape) => &shape.output,
        }
    }

    /// Compiles all parts and runs nothing.
    pub(crate) async fn compile(self, tables: &Arc<Tables>) -> Result<()> {
        self.operator(&self.stage(tables).await?)?;
        self.output(tables).await.map(|_| ())
    }
}

impl PerKeyQuery {
    /// Compiles the query, loads its snapshots and replays what came after them.
    pub(crate) async fn open(settings: PerKeySettings<'_>, output: Stage, emitter: Emitter) -> Result<Self> {
        let PerKeySettings { name, sql, shape, event_time, log, stream, late, failed, tables, snapshot_rows, .. } =
            settings;
        let ledger = Ledger::new(name);
        let mut commit = Commit::new();
        let mut parts = Vec::new();
        for _ in 0..stream.partitions() {
            let stage = shape.stage(&tables).await?;
            let operator = shape.operator(&stage)?;
            parts.push((stage, operator));
        }
        // The same query is another one when the stream's watermark becomes another.
        let key: Vec<_> = key_schema(&stream, event_time).fields().iter().map(|field| field.name().clone()).collect();
        let is_new_text = ledger.claim(log, &format!("{sql} PER {}", key.join(", ")), &mut commit);
        let mut shapes = vec![KeyWatermarks::new(&key_schema(&stream, event_time), 0)?.state_shape().clone()];
        shapes.extend(parts[0].1.state_shapes().iter().cloned());
        let stored = match is_new_text {
            true => None,
            false => stored_chains(name, &ledger, log, &stream, &shapes[..])?,
        };
        let is_changed = stored.is_none();
        if is_changed {
            tracing::info!(
                query = name,
                "query begins anew: it goes on where it was, from all rows that are still held"
            );
        }
        let nothing = || (0..stream.partitions()).map(|_| Default::default()).collect();
        let (chains, states): (Vec<_>, Vec<_>) = stored.unwrap_or_else(nothing).into_iter().unzip();
        let mut states = states.into_iter();
        let mut partitions = Vec::new();
        for (partition, (stage, operator)) in (0..).zip(parts) {
            let start = match is_changed {
                true => ledger.start_anew(log, &stream, partition, &mut commit),
                false => ledger.register(log, &stream, partition, &mut commit),
            };
            let source = PerKeySource { log, stream: &stream, partition, event_time, stage, operator, snapshot_rows };
            let finishes = ledger.finishes(log, partition)?;
            let state = states.next().map_or(Ok(None), |states| whole(states, &shapes))?;
            partitions.push(Some(PerKeyPartition::new(source, start, state, finishes)?));
        }
        let progress = ledger.progress(log)?;
        let mut query = Self {
            name: name.to_owned(),
            log: log.clone(),
            partitions,
            shapes: shapes.into(),
            snapshots: Snapshots::after(chains),
            output,
            emitter,
            ledger,
            commit,
            tables,
            failed_results: FailedResults::below(shape.output_plan(), &failed, &settings.counters),
            counters: settings.counters,
            stream,
            late,
            failed,
        };
        if let Some(progress) = progress {
            query.replay(&progress.next_offsets).await?;
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
        loop {
            let wanted = *control.borrow_and_update();
            if wanted == Control::Stop {
                let written = self.snapshots.finish();
                self.keep_snapshots(written)?;
                return self.store(&mut control).await.map(|_| ());
            }
            self.tables.refresh().await;
            let steps = self.step(None).await?;
            let read = self.take_steps(steps).await?;
            self.snapshot_when_due()?;
            let written = self.snapshots.written();
            self.keep_snapshots(written)?;
            if self.store(&mut control).await? == Stored::Abandoned {
                return Ok(());
            }
            self.measure()?;
            if read > 0 {
                continue;
            }
            if wanted == Control::Finish {
                return self.finish(&mut control).await;
            }
            let written = self.snapshots.notified();
            let rows = select_all(self.partitions.iter_mut().flatten().map(|partition| partition.wait().boxed()));
            tokio::select! {
                _ = rows => {}
                () = written => {}
                _ = control.changed() => {}
            }
        }
    }

    /// Reads again what came after the snapshots, up to where the progress had read; what comes of it was emitted.
    async fn replay(&mut self, until: &[u64]) -> Result<()> {
        loop {
            let steps = self.step(Some(until)).await?;
            if steps.iter().all(|step| step.rows == 0) {
                return Ok(());
            }
        }
    }

    /// Every partition takes some rows. `until`: an offset for each.
    async fn step(&mut self, until: Option<&[u64]>) -> Result<Vec<PerKeyStep>> {
        let steps = side_by_side(&mut self.partitions, |mut partition| {
            // One that the progress does not know was not read.
            let stop = until.map(|until| until.get(partition.partition() as usize).copied().unwrap_or(0));
            async move {
                let step = partition.step(stop).await;
                (partition, step)
            }
        });
        steps.await
    }

    /// Keeps and emits what came of the steps; returns how many rows they read.
    async fn take_steps(&mut self, steps: Vec<PerKeyStep>) -> Result<u64> {
        let mut read = 0;
        for step in steps {
            read += step.rows;
            self.keep_late(&step.late)?;
            self.keep_failed(&step.failed)?;
            self.emit(step.emitted).await?;
        }
        self.counters.add_in(read);
        Ok(read)
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

    async fn emit(&mut self, emitted: Vec<Emitted>) -> Result<()> {
        let mut count = 0;
        for Emitted { rows, is_correction } in emitted {
            let rows = self.failed_results.run_rows(&mut self.output, &rows, &mut self.commit).await?;
            count += match is_correction {
                true => self.emitter.correct(&rows, &mut self.commit)?,
                false => self.emitter.emit(&rows, &mut self.commit)?,
            };
        }
        self.counters.add_out(count as u64);
        Ok(())
    }

    /// Completes everything: nothing more will come. That is journaled, so that a later run goes on after it.
    async fn finish(&mut self, control: &mut watch::Receiver<Control>) -> Result<()> {
        let mut all = Vec::new();
        for partition in self.partitions.iter_mut().flatten() {
            all.extend(partition.finish()?);
            self.ledger.store_finish(partition.partition(), partition.next_offset(), &mut self.commit);
        }
        self.emit(all).await?;
        let written = self.snapshots.finish();
        self.keep_snapshots(written)?;
        self.store(control).await.map(|_| ())
    }

    /// Takes snapshots of the partitions that have read enough since their last one, or of which enough keys have changed.
    fn snapshot_when_due(&mut self) -> Result<()> {
        for number in 0..self.partitions.len() {
            let partition = self.partitions[number].as_mut().expect("partitions are back after each step");
            if !partition.is_due() {
                continue;
            }
            let state = partition.take_state(&self.shapes)?;
            let (next_offset, number) = (state.position, number as u32);
            let name = format!("{}{next_offset:020}.snapshot", self.snapshot_prefix(number));
            let (log, shapes) = (self.log.clone(), Arc::clone(&self.shapes));
            self.snapshots.begin(number, next_offset, move |chain| chain.extended(&log, name, state, &shapes));
        }
        Ok(())
    }

    /// What the names of a partition's snapshots begin with.
    fn snapshot_prefix(&self, partition: u32) -> String {
        format!("{}-key-{partition}-", file_name(&self.name))
    }

    /// Refers to snapshots that were written, from the next commit on.
    fn keep_snapshots(&mut self, written: Vec<Written>) -> Result<()> {
        for written in written {
            let Written { partition: number, next_offset, .. } = written;
            let partition = self.partitions[number as usize].as_mut().expect("partitions are back after each step");
            match written.fate(&self.name) {
                Fate::Stored => partition.stored(next_offset),
                fate => {
                    partition.not_stored(fate == Fate::Broken);
                    continue;
                }
            }
            // A file that is not needed any more stays until the chain without it is committed.
            let committed = self.ledger.snapshot_files(&self.log, number);
            remove_older_snapshots(&self.log, &self.snapshot_prefix(number), &committed);
            let files = self.snapshots.chain(number).names();
            self.ledger.store_snapshot_files(number, files, &mut self.commit);
            self.ledger.forget_finishes(&self.log, number, next_offset, &mut self.commit)?;
            self.commit.move_cursor(&self.ledger.cursor(), self.stream.id(), number, next_offset);
        }
        Ok(())
    }

    /// Commits what has gathered, with the progress it belongs to.
    async fn store(&mut self, control: &mut watch::Receiver<Control>) -> Result<Stored> {
        // Nobody goes by a watermark of rows that have one each.
        self.emitter.flush(NO_WATERMARK, &mut self.commit)?;
        if self.commit.is_empty() {
            return Ok(Stored::Yes);
        }
        let mut commit = std::mem::take(&mut self.commit);
        self.ledger.store_progress(&self.progress(), &mut commit);
        commit_when_possible(&self.log, commit, control).await
    }

    fn progress(&self) -> Progress {
        let partitions = || self.partitions.iter().flatten();
        // Nothing here goes by it; a text with a watermark for each partition goes on after it.
        let closed_us = partitions().map(PerKeyPartition::latest_us).max().unwrap_or(NO_WATERMARK);
        let next_offsets = partitions().map(PerKeyPartition::next_offset).collect();
        Progress { closed_us, settled_us: None, next_offsets }
    }

    fn measure(&self) -> Result<()> {
        let (mut lag, mut bytes, mut position) = (0, 0, 0);
        for partition in self.partitions.iter().flatten() {
            lag += partition.lag(&self.log);
            bytes += partition.bytes();
            position += partition.next_offset();
        }
        self.counters.set_lag(lag);
        self.counters.set_position(position);
        self.counters.set_state_bytes(bytes as u64)
    }
}

/// The state that these make, which follow each other, the newest first.
fn whole(states: Vec<StoredTables<PerKeyPlace>>, shapes: &[TableShape]) -> Result<Option<PerKeyState>> {
    let mut states = states.into_iter();
    let Some(newest) = states.next() else { return Ok(None) };
    let next_offset = newest.position;
    let (_, tables) = StoredTables::merge(newest, &mut states.map(Ok), shapes)?.into_tables(shapes)?;
    Ok(Some(PerKeyState { next_offset, tables }))
}
