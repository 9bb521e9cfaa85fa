//! A stateless continuous query: each row by itself, read position and rows committed together.

use std::sync::Arc;

use futures::future::{FutureExt, select_all};
use thermocline_log::{Commit, Log, Stream};
use tokio::sync::watch;

use super::failed::failed_rows;
use super::progress::Ledger;
use super::reader::{StageReader, StageRows};
use super::side_by_side::{Partitions, side_by_side};
use super::{Control, Counters, Emitter, Stored, commit_when_possible};
use crate::error::Result;
use crate::stage::Stage;
use crate::tables::Tables;
use crate::watermark::NO_WATERMARK;

/// Rows that are read and committed at once.
const STEP_ROWS: usize = 65_536;
/// Rows that a step looks at, at most, where the filter leaves hardly any: what was passed is committed too.
const STEP_ROWS_PASSED: u64 = 4 << 20;

/// What a stateless query is made of.
pub(crate) struct StatelessSettings<'a> {
    pub(crate) name: &'a str,
    pub(crate) log: &'a Log,
    pub(crate) stream: Stream,
    pub(crate) failed: Stream,
    pub(crate) tables: Arc<Tables>,
    pub(crate) counters: Counters,
}

/// A stateless query into a stream or an alert.
#[derive(Debug)]
pub(crate) struct StatelessQuery {
    log: Log,
    stream: Stream,
    failed: Stream,
    partitions: Partitions<Partition>,
    emitter: Emitter,
    ledger: Ledger,
    /// What the next step commits besides its own.
    commit: Commit,
    tables: Arc<Tables>,
    counters: Counters,
}

/// One partition of the stream.
#[derive(Debug)]
struct Partition {
    reader: StageReader,
    stage: Stage,
}

impl Partition {
    /// What there is, up to a step's rows. The tail gives the rows of one group at a time, and all that is there goes into
    /// one commit: a step that waited for the disk for each of them would fall behind those that append.
    async fn read(&mut self) -> Result<Vec<StageRows>> {
        let (mut read, mut taken, mut passed) = (Vec::new(), 0, 0);
        while taken < STEP_ROWS
            && passed < STEP_ROWS_PASSED
            && let Some(rows) = self.reader.next(STEP_ROWS - taken, &mut self.stage).await?
        {
            taken += rows.input.num_rows();
            passed += rows.read;
            read.push(rows);
        }
        Ok(read)
    }
}

impl StatelessQuery {
    /// Starts at the committed cursor; `stages` has one for each partition.
    pub(crate) fn open(settings: StatelessSettings<'_>, stages: Vec<Stage>, emitter: Emitter) -> Result<Self> {
        let StatelessSettings { name, log, stream, failed, tables, counters } = settings;
        let ledger = Ledger::new(name);
        let mut commit = Commit::new();
        let partitions = (0..stream.partitions())
            .zip(stages)
            .map(|(partition, stage)| {
                let offset = ledger.register(log, &stream, partition, &mut commit);
                let reader = StageReader::selective(log, &stream, partition, offset, &stage)?;
                Ok(Some(Partition { reader, stage }))
            })
            .collect::<Result<_>>()?;
        Ok(Self { log: log.clone(), stream, failed, partitions, emitter, ledger, commit, tables, counters })
    }

    /// Runs until it is told to finish or stop.
    pub(crate) async fn run(mut self, mut control: watch::Receiver<Control>) -> Result<()> {
        loop {
            let wanted = *control.borrow_and_update();
            if wanted == Control::Stop {
                return Ok(());
            }
            self.tables.refresh().await;
            let Some(read) = self.step(&mut control).await? else { return Ok(()) };
            if read > 0 {
                continue;
            }
            if wanted == Control::Finish {
                return Ok(());
            }
            let rows =
                select_all(self.partitions.iter_mut().flatten().map(|partition| partition.reader.wait().boxed()));
            tokio::select! {
                _ = rows => {}
                _ = control.changed() => {}
            }
        }
    }

    /// Reads and commits some rows; returns how many, or `None` when it was told to stop before it could commit them.
    async fn step(&mut self, control: &mut watch::Receiver<Control>) -> Result<Option<u64>> {
        let mut commit = std::mem::take(&mut self.commit);
        let (mut read, mut emitted) = (0, 0);
        for (partition, rows) in (0..).zip(self.read().await?) {
            let Some(last) = rows.last() else { continue };
            let next_offset = last.end_offset();
            for rows in rows {
                read += rows.read;
                emitted += self.emitter.emit(&rows.rows(), &mut commit)? as u64;
                if !rows.failed.is_empty() {
                    let failed = rows.failed.into_iter().map(|row| row.at(partition, rows.start_offset));
                    let failed: Vec<_> = failed.collect();
                    self.counters.add_failed(failed.len() as u64);
                    commit.append(self.failed.id(), failed_rows(&self.log, &self.stream, &failed)?);
                }
            }
            commit.move_cursor(&self.ledger.cursor(), self.stream.id(), partition, next_offset);
        }
        self.emitter.flush(NO_WATERMARK, &mut commit)?;
        self.counters.add_in(read);
        self.counters.add_out(emitted);
        if !commit.is_empty() && commit_when_possible(&self.log, commit, control).await? == Stored::Abandoned {
            return Ok(None);
        }
        self.measure()?;
        Ok(Some(read))
    }

    /// Every partition takes some rows, side by side.
    async fn read(&mut self) -> Result<Vec<Vec<StageRows>>> {
        let read = side_by_side(&mut self.partitions, |mut partition| async move {
            let read = partition.read().await;
            (partition, read)
        });
        read.await
    }

    fn measure(&self) -> Result<()> {
        let (mut lag, mut position) = (0, 0);
        for (partition, reader) in (0..).zip(self.partitions.iter().flatten().map(|partition| &partition.reader)) {
            lag += self.log.range(self.stream.id(), partition)?.end.saturating_sub(reader.position());
            position += reader.position();
        }
        self.counters.set_lag(lag);
        self.counters.set_position(position);
        self.counters.set_state_bytes(self.emitter.bytes() as u64)
    }
}
