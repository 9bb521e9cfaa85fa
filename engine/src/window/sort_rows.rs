//! Sorts the rows of a batch into panes, and finds the late ones.

use std::collections::HashMap;

use arrow::array::{Array, TimestampMicrosecondArray, UInt32Array};

use super::assign::{Assigner, Assignment, PaneKey};

/// A row that no window took, as the index of its row in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LateRow {
    /// Index of the row.
    pub(crate) row: u32,
    /// Where its partition's watermark stood.
    pub(crate) watermark_us: i64,
}

/// Rows with their panes.
#[derive(Debug, Default)]
pub(super) struct RowsByPane {
    /// The panes that have rows.
    pub(super) panes: Vec<PaneKey>,
    /// Of each row that is taken, in order, which of these panes it belongs to.
    pub(super) pane_of: Vec<u32>,
    /// The rows that are taken; `None` where all are.
    pub(super) taken: Option<Vec<u32>>,
    /// Those that came too late for every window.
    pub(super) late: Vec<LateRow>,
}

impl RowsByPane {
    /// Leaves out a row; `index` rows before it were looked at.
    fn leave_out(&mut self, index: usize) {
        self.taken.get_or_insert_with(|| (0..index as u32).collect());
    }

    fn take(&mut self, index: usize, pane: u32) {
        if let Some(taken) = &mut self.taken {
            taken.push(index as u32);
        }
        self.pane_of.push(pane);
    }

    /// A join may have made several rows of a late one; it is late once.
    fn add_late(&mut self, row: LateRow) {
        if self.late.last() != Some(&row) {
            self.late.push(row);
        }
    }
}

/// Sorts the rows that the stage left into panes: `times` and `watermarks` are of all rows, `row_of` says which of them
/// each one that was left came of.
pub(super) fn sort_rows(
    assigner: &Assigner,
    lateness_us: i64,
    times: &TimestampMicrosecondArray,
    watermarks: &[i64],
    row_of: &UInt32Array,
) -> RowsByPane {
    let mut rows = RowsByPane { pane_of: Vec::with_capacity(row_of.len()), ..RowsByPane::default() };
    // Rows of one pane mostly follow each other, or take turns with those of few others: the map is asked for others only.
    let mut ordinals: HashMap<PaneKey, u32> = HashMap::new();
    let mut recent: [Recent; RECENT] = [Recent::NONE; RECENT];
    let mut next_recent = 0;
    let has_nulls = times.null_count() > 0;
    for (index, row) in row_of.values().iter().enumerate() {
        let at = *row as usize;
        let (time_us, watermark_us) = (times.value(at), watermarks[at]);
        if has_nulls && times.is_null(at) {
            rows.leave_out(index);
            rows.add_late(LateRow { row: *row, watermark_us });
            continue;
        }
        let over_us = watermark_us.saturating_sub(lateness_us);
        if let Some(known) = recent.iter().find(|known| known.holds(time_us, watermark_us, over_us)) {
            rows.take(index, known.ordinal);
            continue;
        }
        match assigner.assign(time_us, watermark_us, lateness_us) {
            Assignment::Uncovered => rows.leave_out(index),
            Assignment::Late => {
                rows.leave_out(index);
                rows.add_late(LateRow { row: *row, watermark_us });
            }
            Assignment::Pane(key) => {
                let ordinal = *ordinals.entry(key).or_insert_with(|| {
                    rows.panes.push(key);
                    rows.panes.len() as u32 - 1
                });
                rows.take(index, ordinal);
                recent[next_recent] = Recent { key, pane_end_us: assigner.pane_end_us(key.start_us), ordinal };
                next_recent = (next_recent + 1) % RECENT;
            }
        }
    }
    rows
}

/// Panes that are looked at before the map is.
const RECENT: usize = 4;

/// A pane that rows came to.
#[derive(Debug, Clone, Copy)]
struct Recent {
    key: PaneKey,
    pane_end_us: i64,
    ordinal: u32,
}

impl Recent {
    const NONE: Self = Self {
        key: PaneKey { start_us: i64::MAX, first_end_us: i64::MIN, on_time_end_us: i64::MIN },
        pane_end_us: i64::MIN,
        ordinal: u32::MAX,
    };

    /// Whether a row belongs to it. The watermark only rises: while it has passed no end that the pane's key names, the key
    /// stays.
    fn holds(&self, time_us: i64, watermark_us: i64, over_us: i64) -> bool {
        (self.key.start_us..self.pane_end_us).contains(&time_us)
            && watermark_us < self.key.on_time_end_us
            && over_us < self.key.first_end_us
    }
}
