//! Makes one state of several that follow each other, of what is stored alone: the live state is not asked.
//!
//! The newest state of a group counts. Only keys that are in a newer state are held while an older one is looked
//! through, and a table of which nothing is newer is taken as it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::checkpoint::PartitionState;
use crate::error::Result;
use crate::keyed::KeyTable;

/// Rows whose keys are looked at together, which bounds the memory that they take besides.
const ROWS: usize = 1 << 16;

/// The state that `newest` makes with those before it, which come newest first.
pub(crate) fn merge(
    newest: PartitionState,
    older: impl Iterator<Item = Result<PartitionState>>,
    aggregate: &WindowAggregate,
) -> Result<PartitionState> {
    let mut merged = newest;
    let mut known: HashMap<PaneKey, Known> = HashMap::new();
    for state in older {
        let state = state?;
        for (key, tables) in state.panes {
            // A pane that is not in the newest state is closed.
            let Some(newer) = merged.panes.get_mut(&key).filter(|_| !tables.is_empty()) else { continue };
            if newer.is_empty() {
                *newer = tables;
                continue;
            }
            let known = match known.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(Known::new(aggregate)?),
            };
            known.add(newer)?;
            for table in &tables {
                newer.extend(known.others(table)?);
            }
        }
        merged.after = state.after;
    }
    Ok(merged)
}

/// The keys of a pane's first tables.
struct Known {
    keys: KeyTable,
    tables: usize,
    /// The number of each row's key, kept for its memory.
    numbers: Vec<u32>,
}

impl Known {
    fn new(aggregate: &WindowAggregate) -> Result<Self> {
        Ok(Self { keys: KeyTable::new(aggregate.functions.key_schema())?, tables: 0, numbers: Vec::new() })
    }

    /// Adds the keys of those tables that are new.
    fn add(&mut self, tables: &[RecordBatch]) -> Result<()> {
        for rows in tables[self.tables..].iter().flat_map(pieces) {
            self.keys.intern(rows.num_rows(), self.key_columns(&rows), &mut self.numbers)?;
        }
        self.tables = tables.len();
        Ok(())
    }

    /// The groups of a table whose keys are not here.
    fn others(&self, table: &RecordBatch) -> Result<Option<RecordBatch>> {
        let mut is_other = Vec::with_capacity(table.num_rows());
        for rows in pieces(table) {
            is_other.extend(self.keys.are_known(rows.num_rows(), self.key_columns(&rows))?.iter().map(|known| !known));
        }
        let is_other = BooleanArray::from(is_other);
        match is_other.true_count() {
            0 => Ok(None),
            all if all == table.num_rows() => Ok(Some(table.clone())),
            _ => Ok(Some(filter_record_batch(table, &is_other)?)),
        }
    }

    fn key_columns<'a>(&self, rows: &'a RecordBatch) -> &'a [ArrayRef] {
        &rows.columns()[..self.keys.columns_len()]
    }
}

fn pieces(table: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..table.num_rows()).step_by(ROWS);
    starts.map(|start| table.slice(start, ROWS.min(table.num_rows() - start)))
}
