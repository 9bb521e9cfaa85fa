//! How far a state is stored, when it is next, and what is under way.

use super::tables::{TableShape, TableState};
use crate::keyed::KeyTable;

/// Rows between two snapshots where no distance is asked for, unless so many keys have changed before.
const DISTANCE_ROWS: u64 = 1 << 20;
const CHANGED_KEYS: u64 = 1 << 18;

/// How many times as many rows are read between snapshots, at least, as are stored as a whole each time: writing them stays a
/// small part of the work.
const WHOLE_FACTOR: u64 = 4;

/// What is stored of a state whose keys are tracked by these tables.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    /// How far what is stored goes; `None` where it cannot be added to.
    stored: Option<u64>,
    is_taken: bool,
    /// Rows between snapshots that were asked for.
    distance_rows: Option<u64>,
    /// Rows that were read since it was last taken.
    rows_since: u64,
    /// Rows before which it is not taken again, as what is stored as a whole has so many.
    whole_rows: u64,
}

impl Tracking {
    /// Nothing is stored; `distance_rows`: rows between snapshots, the default when `None`.
    pub(crate) fn new(distance_rows: Option<u64>) -> Self {
        Self { distance_rows, ..Self::default() }
    }

    /// Takes note of rows that were read.
    pub(crate) fn read(&mut self, rows: u64) {
        self.rows_since += rows;
    }

    /// The state is as what is stored up to a position says.
    pub(crate) fn restored(&mut self, position: u64, tables: Vec<&mut KeyTable>) {
        self.stored = Some(position);
        tables.into_iter().for_each(KeyTable::restored);
    }

    /// Whether the state should be stored now: enough rows have been read, or enough keys have changed, and nothing is under way.
    /// Without a row since it would have the name of what is stored.
    pub(crate) fn is_due(&self, tables: &[&mut KeyTable]) -> bool {
        if self.is_taken || self.rows_since == 0 || self.rows_since < self.whole_rows {
            return false;
        }
        let has_changed_much = || tables.iter().map(|table| table.changed()).sum::<u64>() >= CHANGED_KEYS;
        match self.distance_rows {
            Some(rows) => self.rows_since >= rows,
            None => self.rows_since >= DISTANCE_ROWS || has_changed_much(),
        }
    }

    /// The state is about to be stored; returns what it will add to. Where it is as much as all there is, it takes the place
    /// of what is stored.
    pub(crate) fn take(&mut self, mut tables: Vec<&mut KeyTable>) -> Option<u64> {
        debug_assert!(!self.is_taken, "one after the other");
        self.is_taken = true;
        self.rows_since = 0;
        if tables.iter().all(|table| table.has_mostly_changed()) || tables.iter().any(|table| table.has_mostly_gone()) {
            self.stored = None;
        }
        for table in &mut tables {
            if self.stored.is_none() {
                table.change_all();
            }
            table.take_changes();
        }
        self.stored
    }

    /// What was taken, of which some is stored as a whole each time.
    pub(crate) fn taken(&mut self, state: &[TableState], shapes: &[TableShape]) {
        let whole = state.iter().zip(shapes).filter(|(_, shape)| shape.key.is_none());
        self.whole_rows = WHOLE_FACTOR * whole.map(|(table, _)| table.size() as u64).sum::<u64>();
    }

    /// What was taken is stored up to this position.
    pub(crate) fn stored(&mut self, position: u64, tables: Vec<&mut KeyTable>) {
        self.is_taken = false;
        self.stored = Some(position);
        tables.into_iter().for_each(KeyTable::stored);
    }

    /// What was taken could not be stored.
    pub(crate) fn not_stored(&mut self, tables: Vec<&mut KeyTable>) {
        self.is_taken = false;
        tables.into_iter().for_each(KeyTable::not_stored);
    }

    /// What is stored cannot be added to.
    pub(crate) fn store_all(&mut self) {
        self.stored = None;
    }
}
