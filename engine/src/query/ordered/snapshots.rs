//! The snapshots of an ordered query. What they hold is taken where it stands; another thread writes it (`snapshots.rs`).

use std::sync::Arc;

use thermocline_log::Log;

use super::super::chain::{Chain, read_again};
use super::super::ordered_partition::without_row;
use super::super::progress::Ledger;
use super::super::snapshots::{Fate, Snapshots, Written};
use super::super::{file_name, holds_every_row, remove_older_snapshots};
use super::{InputStreams, OrderedQuery};
use crate::error::Result;
use crate::ordered::{OrderedOperator, OrderedPlace, OrderedState, PartitionPlace, waiting_rows, waiting_shape};
use crate::snapshot::{Increment, StoredTables, TableShape, Tracking};
use crate::stage::Stage;

/// The tables of a query's state.
#[derive(Debug)]
pub(super) struct Shapes {
    /// Of the rows that wait in every partition of every input.
    waiting: Vec<TableShape>,
    /// Those, then the operator's.
    all: Arc<[TableShape]>,
}

impl Shapes {
    pub(super) fn of(inputs: &[InputStreams], stages: &[Stage], operator: &dyn OrderedOperator) -> Self {
        let of_input = |(input, stage): (&InputStreams, &Stage)| {
            vec![waiting_shape(&without_row(&stage.schema())); input.stream.partitions() as usize]
        };
        let waiting: Vec<TableShape> = inputs.iter().zip(stages).flat_map(of_input).collect();
        let all = waiting.iter().chain(operator.state_shapes()).cloned().collect();
        Self { waiting, all }
    }

    /// The state that these make, which follow each other, the newest first.
    fn whole(&self, states: Vec<StoredTables<OrderedPlace>>) -> Result<OrderedState> {
        let mut states = states.into_iter();
        let Some(newest) = states.next() else { return Ok(OrderedState::empty()) };
        let whole = StoredTables::merge(newest, &mut states.map(Ok), &self.all)?;
        let (place, tables) = whole.into_tables(&self.all)?;
        OrderedState::of(place, tables, &self.waiting)
    }
}

/// What is stored of a query, and what is under way.
#[derive(Debug)]
pub(super) struct StoredState {
    shapes: Shapes,
    files: Snapshots,
    tracking: Tracking,
    /// What is under way.
    taken: Option<Taken>,
}

/// Where a query stood when a snapshot was taken.
#[derive(Debug)]
struct Taken {
    partitions: Vec<PartitionPlace>,
    /// Decisions about silence before this one are in it.
    next_decision: u64,
}

impl StoredState {
    /// Reads what is stored; no state where the query has to begin anew: `is_new_text`, or what is stored is of other columns,
    /// or cannot be read and all rows that it was made of are still held.
    pub(super) fn open(
        query: &str,
        ledger: &Ledger,
        log: &Log,
        inputs: &[InputStreams],
        shapes: Shapes,
        distance_rows: Option<u64>,
        is_new_text: bool,
    ) -> Result<(Self, Option<OrderedState>)> {
        let are_held = || inputs.iter().all(|input| holds_every_row(log, &input.stream));
        let names = ledger.snapshot_files(log, 0);
        let read = match is_new_text {
            true => None,
            false => {
                Chain::read(log, &names, shapes.all.as_ref()).or_else(|error| read_again(query, error, are_held()))?
            }
        };
        let (chain, state) = match read {
            None => (Chain::default(), None),
            Some((chain, states)) => (chain, Some(shapes.whole(states)?)),
        };
        let stored =
            Self { shapes, files: Snapshots::after(vec![chain]), tracking: Tracking::new(distance_rows), taken: None };
        Ok((stored, state))
    }

    /// The operator is as what is stored says, which goes so far.
    pub(super) fn restored(&mut self, rows: u64, operator: &mut dyn OrderedOperator) {
        self.tracking.restored(rows, operator.tracked());
    }

    /// Takes note of rows that were read again: the next snapshot has them.
    pub(super) fn read_again(&mut self, rows: u64) {
        self.tracking.read(rows);
    }

    /// Resolves when one more is written.
    pub(super) fn notified(&self) -> impl Future<Output = ()> + use<> {
        self.files.notified()
    }
}

impl OrderedQuery {
    /// Takes a snapshot when enough rows have been read since the last one, or enough keys have changed.
    pub(super) fn snapshot_when_due(&mut self, read: u64) -> Result<()> {
        self.stored.tracking.read(read);
        if !self.stored.tracking.is_due(&self.operator.tracked()) {
            return Ok(());
        }
        let after = self.stored.tracking.take(self.operator.tracked());
        let partitions: Vec<PartitionPlace> = self.partitions().map(|partition| partition.place()).collect();
        let mut tables = Vec::with_capacity(self.stored.shapes.all.len());
        for (partition, shape) in self.partitions().zip(&self.stored.shapes.waiting) {
            tables.push(waiting_rows(partition.waiting_runs(), shape)?);
        }
        tables.extend(self.operator.state()?);
        self.stored.tracking.taken(&tables, &self.stored.shapes.all);
        let place = OrderedPlace { watermark_us: self.watermark_us, partitions: partitions.clone() };
        let state = StoredTables { position: place.rows(), after, place, tables };
        let next_decision = self.operator.as_absence().map_or(0, |absence| absence.next_decision());
        self.begin_snapshot(state);
        self.stored.taken = Some(Taken { partitions, next_decision });
        Ok(())
    }

    fn begin_snapshot(&mut self, state: StoredTables<OrderedPlace>) {
        let stored = &mut self.stored;
        let name = format!("{}{:020}.snapshot", prefix(&self.name), state.position);
        let (log, shapes) = (self.log.clone(), Arc::clone(&stored.shapes.all));
        let position = state.position;
        stored.files.begin(0, position, move |chain| chain.extended(&log, name, state, &shapes));
    }

    /// Refers to a snapshot that was written, from the next commit on.
    pub(super) fn keep_snapshots(&mut self) -> Result<()> {
        let written = self.stored.files.written();
        self.keep_written(written)
    }

    /// The same of one that is on its way, once it is written.
    pub(super) fn await_snapshots(&mut self) -> Result<()> {
        let written = self.stored.files.finish();
        self.keep_written(written)
    }

    fn keep_written(&mut self, written: Vec<Written>) -> Result<()> {
        for written in written {
            let (stored, tables) = (&mut self.stored, self.operator.tracked());
            let Taken { partitions, next_decision } = stored.taken.take().expect("it was taken before it was written");
            match written.fate(&self.name) {
                Fate::Stored => stored.tracking.stored(written.next_offset, tables),
                Fate::NotStored => {
                    stored.tracking.not_stored(tables);
                    continue;
                }
                Fate::Broken => {
                    stored.tracking.not_stored(tables);
                    stored.tracking.store_all();
                    continue;
                }
            }
            let ledger = self.inputs[0].ledger.clone();
            // A file that is not needed any more stays until the chain without it is committed.
            remove_older_snapshots(&self.log, &prefix(&self.name), &ledger.snapshot_files(&self.log, 0));
            ledger.store_snapshot_files(0, self.stored.files.chain(0).names(), &mut self.commit);
            ledger.forget_absences(&self.log, next_decision, &mut self.commit);
            let mut places = partitions.into_iter();
            for input in &self.inputs {
                for (partition, place) in input.partitions().zip(&mut places) {
                    let (number, offset) = (partition.partition(), place.next_offset);
                    input.ledger.forget_decisions(&self.log, number, offset, &mut self.commit)?;
                    self.commit.move_cursor(&input.ledger.cursor(), input.stream.id(), number, offset);
                }
            }
        }
        Ok(())
    }
}

/// What the names of a query's files begin with.
fn prefix(query: &str) -> String {
    format!("{}-ordered-", file_name(query))
}
