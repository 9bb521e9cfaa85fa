//! Sorts the rows of a batch into panes, and finds the late ones.

use std::collections::HashMap;

use arrow::array::{Array, TimestampMicrosecondArray, UInt32Array};

use super::assign::{Assigner, Assignment, PaneKey};
use crate::watermark::Watermark;

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

    /// Takes rows that are all of one pane.
    fn take_all(&mut self, index: usize, rows: usize, pane: u32) {
        if let Some(taken) = &mut self.taken {
            taken.extend(index as u32..(index + rows) as u32);
        }
        self.pane_of.resize(self.pane_of.len() + rows, pane);
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

/// Rows that are looked at together: mostly they are all of one pane.
const CHUNK_ROWS: usize = 1_024;

/// The rows to sort: `times` are of all rows that were read, `row_of` says which of them each one that the stage left came of.
pub(super) struct Rows<'a> {
    pub(super) times: &'a TimestampMicrosecondArray,
    pub(super) row_of: &'a UInt32Array,
    /// Where the watermark stood before them, and stands after them.
    pub(super) before: Watermark,
    pub(super) after_us: i64,
}

/// Sorts the rows that the stage left into panes.
pub(super) fn sort_rows(assigner: &Assigner, lateness_us: i64, rows: &Rows<'_>) -> RowsByPane {
    let mut sorter = Sorter {
        assigner,
        lateness_us,
        rows,
        exact: rows.before,
        passed: 0,
        recent: Recents::default(),
        ordinals: HashMap::new(),
    };
    let mut sorted = RowsByPane { pane_of: Vec::with_capacity(rows.row_of.len()), ..RowsByPane::default() };
    let times = rows.times.values();
    let mut index = 0;
    for chunk in rows.row_of.values().chunks(CHUNK_ROWS) {
        let bounds = chunk.iter().fold((i64::MAX, i64::MIN), |(least, most), row| {
            let time_us = times[*row as usize];
            (least.min(time_us), most.max(time_us))
        });
        match sorter.pane_of_all(bounds) {
            Some(ordinal) => sorted.take_all(index, chunk.len(), ordinal),
            None => sorter.sort_chunk(index, chunk, &mut sorted),
        }
        index += chunk.len();
    }
    sorted
}

struct Sorter<'a> {
    assigner: &'a Assigner,
    lateness_us: i64,
    rows: &'a Rows<'a>,
    /// The watermark that the next row meets whose pane depends on it, and the rows before that one.
    exact: Watermark,
    passed: usize,
    /// Rows of one pane mostly follow each other, or take turns with those of few others: the map is asked for others only.
    recent: Recents,
    ordinals: HashMap<PaneKey, u32>,
}

impl Sorter<'_> {
    /// The pane that rows with times between these all belong to, whatever the watermark was that each of them met.
    fn pane_of_all(&self, (least_us, most_us): (i64, i64)) -> Option<u32> {
        if self.rows.times.null_count() > 0 {
            return None;
        }
        let after_us = self.rows.after_us;
        let known = self.recent.find(least_us, after_us, after_us.saturating_sub(self.lateness_us))?;
        (most_us < known.pane_end_us).then_some(known.ordinal)
    }

    /// The watermark that a row met; rows are asked for in their order.
    fn watermark_us(&mut self, row: usize) -> i64 {
        if self.passed < row {
            self.exact.pass(self.rows.times, self.passed..row);
            self.passed = row;
        }
        self.exact.current_us()
    }

    /// Sorts rows; `index` were looked at before them.
    fn sort_chunk(&mut self, index: usize, chunk: &[u32], sorted: &mut RowsByPane) {
        let times = self.rows.times.values();
        let has_nulls = self.rows.times.null_count() > 0;
        let mut sure = self.sure();
        for (index, row) in (index..).zip(chunk) {
            match sure.ordinal(times[*row as usize]).filter(|_| !has_nulls) {
                Some(ordinal) => sorted.take(index, ordinal),
                None => {
                    self.sort(index, *row, sorted);
                    sure = self.sure();
                }
            }
        }
    }

    /// The recent panes that their rows belong to whatever the watermark was that each of them met.
    fn sure(&self) -> SurePanes {
        let after_us = self.rows.after_us;
        let over_us = after_us.saturating_sub(self.lateness_us);
        let mut panes = self.recent.panes;
        panes.iter_mut().filter(|known| !known.takes_at(after_us, over_us)).for_each(|known| *known = Recent::NONE);
        panes.sort_unstable_by_key(|known| known.key.start_us);
        SurePanes {
            starts_us: panes.map(|known| known.key.start_us),
            ends_us: panes.map(|known| known.pane_end_us),
            ordinals: panes.map(|known| known.ordinal),
        }
    }

    /// Sorts one row; `index` were looked at before it.
    fn sort(&mut self, index: usize, row: u32, sorted: &mut RowsByPane) {
        let at = row as usize;
        let time_us = self.rows.times.value(at);
        let is_null = self.rows.times.is_null(at);
        let watermark_us = self.watermark_us(at);
        let late = LateRow { row, watermark_us };
        if is_null {
            sorted.leave_out(index);
            sorted.add_late(late);
            return;
        }
        let over_us = watermark_us.saturating_sub(self.lateness_us);
        if let Some(known) = self.recent.find(time_us, watermark_us, over_us) {
            sorted.take(index, known.ordinal);
            return;
        }
        match self.assigner.assign(time_us, watermark_us, self.lateness_us) {
            Assignment::Uncovered => sorted.leave_out(index),
            Assignment::Late => {
                sorted.leave_out(index);
                sorted.add_late(late);
            }
            Assignment::Pane(key) => {
                let ordinal = *self.ordinals.entry(key).or_insert_with(|| {
                    sorted.panes.push(key);
                    sorted.panes.len() as u32 - 1
                });
                sorted.take(index, ordinal);
                let pane_end_us = self.assigner.pane_end_us(key.start_us);
                self.recent.add(Recent { key, pane_end_us, ordinal });
            }
        }
    }
}

/// Panes that rows came to last.
#[derive(Debug)]
struct Recents {
    panes: [Recent; RECENT],
    /// Which is the next to go.
    oldest: usize,
}

/// Panes that are looked at before the map is.
const RECENT: usize = 8;

impl Default for Recents {
    fn default() -> Self {
        Self { panes: [Recent::NONE; RECENT], oldest: 0 }
    }
}

impl Recents {
    fn find(&self, time_us: i64, watermark_us: i64, over_us: i64) -> Option<&Recent> {
        self.panes.iter().find(|known| known.holds(time_us, watermark_us, over_us))
    }

    fn add(&mut self, pane: Recent) {
        self.panes[self.oldest] = pane;
        self.oldest = (self.oldest + 1) % RECENT;
    }
}

/// Panes in the order of their times. Rows take turns among them, which no branch foresees: a row's pane is counted, not
/// looked for.
#[derive(Debug)]
struct SurePanes {
    starts_us: [i64; RECENT],
    ends_us: [i64; RECENT],
    ordinals: [u32; RECENT],
}

impl SurePanes {
    /// The pane of a time.
    fn ordinal(&self, time_us: i64) -> Option<u32> {
        let begun: usize = self.starts_us.iter().map(|start_us| usize::from(*start_us <= time_us)).sum();
        let last = begun.checked_sub(1)?;
        (time_us < self.ends_us[last]).then(|| self.ordinals[last])
    }
}

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
        (self.key.start_us..self.pane_end_us).contains(&time_us) && self.takes_at(watermark_us, over_us)
    }

    /// Whether a row of its times belongs to it.
    fn takes_at(&self, watermark_us: i64, over_us: i64) -> bool {
        watermark_us < self.key.on_time_end_us && over_us < self.key.first_end_us
    }
}
