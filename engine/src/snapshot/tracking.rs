//! How far a state is stored, and what is under way.

use crate::keyed::KeyTable;

/// Groups of the default distance that make a snapshot due before so many rows were read.
const CHANGED_KEYS: u64 = 1 << 18;

/// What is stored of a state whose keys are tracked by these tables.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    /// How far what is stored goes; `None` where it cannot be added to.
    stored: Option<u64>,
    is_taken: bool,
}

impl Tracking {
    /// The state is as what is stored up to a position says.
    pub(crate) fn restored(&mut self, position: u64, tables: Vec<&mut KeyTable>) {
        self.stored = Some(position);
        tables.into_iter().for_each(KeyTable::restored);
    }

    /// Whether a state is about to be stored, and it is not known yet if it could be.
    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Whether so much has changed that it should be stored.
    pub(crate) fn has_changed_much(tables: &[&mut KeyTable]) -> bool {
        tables.iter().map(|table| table.changed()).sum::<u64>() >= CHANGED_KEYS
    }

    /// The state is about to be stored; returns what it will add to. Where it is as much as all there is, it takes the place
    /// of what is stored.
    pub(crate) fn take(&mut self, mut tables: Vec<&mut KeyTable>) -> Option<u64> {
        debug_assert!(!self.is_taken, "one after the other");
        self.is_taken = true;
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
