//! Makes one state of several that follow each other, of what is stored alone: the live state is not asked.
//!
//! The newest state of a group counts. Only keys that are in a newer state are held while an older one is looked
//! through, and a table of which nothing is newer is taken as it is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use arrow::array::RecordBatch;

use super::aggregate::WindowAggregate;
use super::assign::PaneKey;
use super::checkpoint::PartitionState;
use crate::error::Result;
use crate::snapshot::KnownKeys;

/// The state that `newest` makes with those before it, which come newest first.
pub(super) fn merge(
    newest: PartitionState,
    older: &mut dyn Iterator<Item = Result<PartitionState>>,
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
                newer.extend(known.keys.others(table, &known.columns)?);
            }
        }
        merged.after = state.after;
    }
    Ok(merged)
}

/// The keys of a pane's first tables.
struct Known {
    keys: KnownKeys,
    columns: Range<usize>,
    tables: usize,
}

impl Known {
    fn new(aggregate: &WindowAggregate) -> Result<Self> {
        let schema = aggregate.functions.key_schema();
        Ok(Self { keys: KnownKeys::new(schema)?, columns: 0..schema.fields().len(), tables: 0 })
    }

    /// Adds the keys of those tables that are new.
    fn add(&mut self, tables: &[RecordBatch]) -> Result<()> {
        tables[self.tables..].iter().try_for_each(|table| self.keys.add(table, &self.columns))?;
        self.tables = tables.len();
        Ok(())
    }
}
