//! Sorts the rows of a batch into panes, and finds the late ones.

use arrow::array::{Array, TimestampMicrosecondArray, UInt32Array};
use hashbrown::HashMap;

use super::assign::{Assigner, Assignment, PaneKey};
use super::known_panes::{KnownPanes, UNKNOWN};
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
#[derive(Debug, Default, PartialEq)]
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

/// Stands for the pane of a row that no window takes.
const LEFT_OUT: u32 = UNKNOWN;

/// Rows that are looked at together: those of a pane that was not seen before are looked at once more.
const CHUNK_ROWS: usize = 1_024;

/// Panes that are known at once, at most; rows of others are looked at one by one.
const KNOWN_PANES: usize = 4_096;

/// The rows to sort: `times` are of all rows that were read, `row_of` says which of them each one that the stage left came of.
pub(super) struct Rows<'a> {
    pub(super) times: &'a TimestampMicrosecondArray,
    /// The earliest and the latest of these.
    pub(super) bounds_us: Option<(i64, i64)>,
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
        known: None,
        recent: Vec::new(),
        ordinals: HashMap::new(),
        sorted: RowsByPane { pane_of: Vec::with_capacity(rows.row_of.len()), ..RowsByPane::default() },
    };
    let rows_of = rows.row_of.values();
    let Some((first, others)) = rows_of.split_first() else { return sorter.sorted };
    let Some(bounds_us) = rows.bounds_us else {
        rows_of.iter().for_each(|row| sorter.sort_exactly(*row));
        return sorter.sorted();
    };
    sorter.know(bounds_us);
    sorter.sort_exactly(*first);
    match sorter.pane_of_all(bounds_us) {
        Some(ordinal) => sorter.sorted.pane_of.resize(rows_of.len(), ordinal),
        None => others.chunks(CHUNK_ROWS).for_each(|chunk| sorter.sort(chunk)),
    }
    sorter.sorted()
}

struct Sorter<'a> {
    assigner: &'a Assigner,
    lateness_us: i64,
    rows: &'a Rows<'a>,
    /// The watermark that the next row meets whose pane depends on it, and the rows before that one.
    exact: Watermark,
    passed: usize,
    /// Those panes have numbers that their rows belong to whatever the watermark was that each of them met.
    known: Option<KnownPanes>,
    /// Of each of these panes what its last row came to that was looked at by itself.
    recent: Vec<Option<Recent>>,
    ordinals: HashMap<PaneKey, u32>,
    sorted: RowsByPane,
}

impl Sorter<'_> {
    /// Prepares for rows of these times.
    fn know(&mut self, (least_us, most_us): (i64, i64)) {
        let assigner = self.assigner;
        let over_us = self.exact.current_us().saturating_sub(self.lateness_us);
        if !assigner.is_in_range(most_us) || !assigner.is_in_range(least_us.max(over_us).min(most_us)) {
            return;
        }
        let most = KNOWN_PANES.min(self.rows.times.len());
        let pane_us = assigner.pane_end_us(assigner.pane_start_us(most_us)).abs_diff(assigner.pane_start_us(most_us));
        // No row before that counts, and none is sure before the watermark: where there are too many panes, those from there on.
        let first_us = least_us.max(assigner.first_open_pane_us(over_us)).min(most_us);
        let from_us = match most_us.abs_diff(first_us) / pane_us < most as u64 {
            true => first_us,
            false => least_us.max(over_us).min(most_us),
        };
        let known = KnownPanes::over(assigner, (from_us, most_us), most);
        self.recent = vec![None; known.len()];
        self.known = Some(known);
    }

    /// The pane that all rows belong to.
    fn pane_of_all(&self, (least_us, most_us): (i64, i64)) -> Option<u32> {
        let known = self.known.as_ref().filter(|_| self.rows.times.null_count() == 0)?;
        let ordinal = known.number(least_us);
        (ordinal != UNKNOWN && ordinal == known.number(most_us)).then_some(ordinal)
    }

    /// Sorts rows: at once where all are of known panes, or else one by one.
    fn sort(&mut self, chunk: &[u32]) {
        let times = self.rows.times.values();
        if let Some(known) = self.known.as_ref().filter(|_| self.rows.times.null_count() == 0) {
            let pane_of = &mut self.sorted.pane_of;
            let mut all_known = true;
            pane_of.extend(chunk.iter().map(|row| {
                let ordinal = known.number(times[*row as usize]);
                all_known &= ordinal != UNKNOWN;
                ordinal
            }));
            if all_known {
                return;
            }
            pane_of.truncate(pane_of.len() - chunk.len());
        }
        for row in chunk {
            let at = *row as usize;
            let known = self.known.as_ref().filter(|_| self.rows.times.is_valid(at));
            match known.map_or(UNKNOWN, |known| known.number(times[at])) {
                UNKNOWN => self.sort_exactly(*row),
                ordinal => self.sorted.pane_of.push(ordinal),
            }
        }
    }

    /// The watermark that a row met; rows are asked for in their order.
    fn watermark_us(&mut self, row: usize) -> i64 {
        if self.passed < row {
            self.exact.pass(self.rows.times, self.passed..row);
            self.passed = row;
        }
        self.exact.current_us()
    }

    /// Sorts one row, by the watermark that it met.
    fn sort_exactly(&mut self, row: u32) {
        let at = row as usize;
        let time_us = self.rows.times.value(at);
        let watermark_us = self.watermark_us(at);
        let late = LateRow { row, watermark_us };
        if self.rows.times.is_null(at) {
            return self.add_late(late);
        }
        let over_us = watermark_us.saturating_sub(self.lateness_us);
        let pane = self.known.as_ref().and_then(|known| known.pane(time_us));
        if let Some(recent) =
            pane.and_then(|pane| self.recent[pane]).filter(|recent| recent.takes(watermark_us, over_us))
        {
            return self.sorted.pane_of.push(recent.ordinal);
        }
        match self.assigner.assign(time_us, watermark_us, self.lateness_us) {
            Assignment::Uncovered => self.sorted.pane_of.push(LEFT_OUT),
            Assignment::Late => self.add_late(late),
            Assignment::Pane(key) => {
                let ordinal = *self.ordinals.entry(key).or_insert_with(|| {
                    self.sorted.panes.push(key);
                    self.sorted.panes.len() as u32 - 1
                });
                self.sorted.pane_of.push(ordinal);
                let (Some(pane), Some(known)) = (pane, &mut self.known) else { return };
                let recent = Recent { key, ordinal };
                let after_us = self.rows.after_us;
                if recent.takes(after_us, after_us.saturating_sub(self.lateness_us)) {
                    known.know(pane, ordinal);
                }
                self.recent[pane] = Some(recent);
            }
        }
    }

    /// Leaves a row out. A join may have made several rows of a late one; it is late once.
    fn add_late(&mut self, row: LateRow) {
        self.sorted.pane_of.push(LEFT_OUT);
        if self.sorted.late.last() != Some(&row) {
            self.sorted.late.push(row);
        }
    }

    /// The rows, without those that are left out.
    fn sorted(self) -> RowsByPane {
        let mut sorted = self.sorted;
        if sorted.pane_of.contains(&LEFT_OUT) {
            let taken = (0..).zip(&sorted.pane_of).filter(|(_, pane)| **pane != LEFT_OUT);
            sorted.taken = Some(taken.map(|(index, _)| index).collect());
            sorted.pane_of.retain(|pane| *pane != LEFT_OUT);
        }
        sorted
    }
}

/// What a row of a pane came to.
#[derive(Debug, Clone, Copy)]
struct Recent {
    key: PaneKey,
    ordinal: u32,
}

impl Recent {
    /// Whether another row of the pane comes to the same. The watermark only rises: while it has passed no end that the key
    /// names, the key stays.
    fn takes(&self, watermark_us: i64, over_us: i64) -> bool {
        watermark_us < self.key.on_time_end_us && over_us < self.key.first_end_us
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thermocline_sql::Window;

    use super::*;
    use crate::watermark::bounds_us;

    /// Every row by itself.
    fn sorted_one_by_one(assigner: &Assigner, lateness_us: i64, rows: &Rows<'_>) -> RowsByPane {
        let mut sorted = RowsByPane::default();
        let mut taken = Vec::new();
        let watermarks = rows.before.clone().observe(rows.times);
        for (index, row) in (0..).zip(rows.row_of.values()) {
            let watermark_us = watermarks[*row as usize];
            let is_null = rows.times.is_null(*row as usize);
            match assigner.assign(rows.times.value(*row as usize), watermark_us, lateness_us) {
                Assignment::Pane(key) if !is_null => {
                    let known = sorted.panes.iter().position(|pane| *pane == key);
                    sorted.pane_of.push(known.unwrap_or(sorted.panes.len()) as u32);
                    if known.is_none() {
                        sorted.panes.push(key);
                    }
                    taken.push(index);
                }
                Assignment::Uncovered if !is_null => {}
                _ => {
                    let late = LateRow { row: *row, watermark_us };
                    if sorted.late.last() != Some(&late) {
                        sorted.late.push(late);
                    }
                }
            }
        }
        sorted.taken = (taken.len() < rows.row_of.len()).then_some(taken);
        sorted
    }

    fn times() -> impl Strategy<Value = Vec<Option<i64>>> {
        // In order but for some disorder, with holes, outliers and times that no window covers.
        let time = prop_oneof![
            40 => (0..30_i64).prop_map(|back| (Some(back), true)),
            1 => Just((None, true)),
            1 => prop_oneof![-5_000..5_000_i64, Just(i64::MIN), Just(i64::MAX - 1)].prop_map(|time| (Some(time), false)),
        ];
        (prop::collection::vec(time, 1..3_000), 1..40_i64).prop_map(|(times, rows_a_us)| {
            let times = (0_i64..).zip(times);
            times
                .map(|(n, (time, is_back))| time.map(|time| if is_back { n / rows_a_us - time } else { time }))
                .collect()
        })
    }

    fn windows() -> impl Strategy<Value = Window> {
        let hop = (1..40_i64, 1..120_i64, -5..5_i64);
        prop_oneof![
            hop.prop_map(|(slide_us, size_us, offset_us)| Window::Hop { slide_us, size_us, offset_us }),
            (1..400_i64, -5..5_i64).prop_map(|(size_us, offset_us)| Window::Tumble { size_us, offset_us }),
            (1..9_i64, 1..20_i64).prop_map(|(step_us, steps)| Window::Cumulate {
                step_us,
                size_us: step_us * steps,
                offset_us: 0
            }),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_sorted_as_one_by_one(
            window in windows(),
            times in times(),
            delay_us in 0..60_i64,
            lateness_us in prop_oneof![Just(0), 1..50_i64],
            left in prop_oneof![Just(1), 1..4_u32],
            seen_us in prop_oneof![Just(None), (-100..100_i64).prop_map(Some)],
        ) {
            let times = TimestampMicrosecondArray::from(times);
            // A filter leaves some rows, a join makes two of some.
            let row_of = (0..times.len() as u32).filter(|row| row % left == 0);
            let row_of: UInt32Array = row_of.flat_map(|row| [row, row].into_iter().take(1 + usize::from(row % 7 == 3))).collect();
            let mut before = Watermark::new(delay_us);
            if let Some(seen_us) = seen_us {
                before.advance_to(seen_us);
            }
            let mut after = before;
            after.pass(&times, 0..times.len());
            let rows =
                Rows { times: &times, bounds_us: bounds_us(&times), row_of: &row_of, before, after_us: after.current_us() };
            let assigner = Assigner::new(&window);
            prop_assert_eq!(sort_rows(&assigner, lateness_us, &rows), sorted_one_by_one(&assigner, lateness_us, &rows));
        }
    }
}
