//! `SESSION` by key: a session ends a gap after its last row, once its key's watermark is there or a later row has come.
//!
//! What a row of the stream ends is emitted by (end, group).

use arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use thermocline_sql::KeyedAggregate;

use super::{Advance, ByKeyOperator};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::ordered::{BATCH_ROWS, Ended, OrderedRows, WindowSlots};
use crate::snapshot::{TableShape, TableState};

/// Open sessions by group.
#[derive(Debug)]
pub(super) struct SessionsByKey {
    gap_us: i64,
    slots: WindowSlots,
    /// By the number of the group.
    open: Vec<Option<Held>>,
    /// By the number of the watermark's key.
    keys: Vec<Key>,
    ended: Vec<Ended>,
    state_shapes: [TableShape; 1],
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u32,
    first_us: i64,
    last_us: i64,
}

/// What a key has open.
#[derive(Debug, Clone)]
struct Key {
    /// Groups with a session.
    groups: Vec<u32>,
    /// No session ends before this.
    due_us: i64,
}

/// Nothing is due.
const NEVER: i64 = i64::MAX;

impl SessionsByKey {
    pub(super) fn try_new(gap_us: i64, aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let slots = WindowSlots::try_new(aggregate, input_schema)?;
        let state_shapes = [slots.window_shape(&["first_us", "last_us", "key"])?];
        Ok(Self { gap_us, slots, open: Vec::new(), keys: Vec::new(), ended: Vec::new(), state_shapes })
    }

    fn end_us(&self, held: Held) -> i64 {
        held.last_us.saturating_add(self.gap_us)
    }

    fn grow(&mut self, groups: &[u32], keys: impl Iterator<Item = u32>) {
        let count = |last: Option<u32>| last.map_or(0, |last| last as usize + 1);
        let (groups, keys) = (count(groups.iter().max().copied()), count(keys.max()));
        if groups > self.open.len() {
            self.open.resize(groups, None);
        }
        if keys > self.keys.len() {
            self.keys.resize(keys, Key { groups: Vec::new(), due_us: NEVER });
        }
    }

    /// Puts a row into the session of its group, which it may open.
    fn place(&mut self, group: u32, key: u32, time_us: i64) -> u32 {
        let held = self.open[group as usize];
        if let Some(held) = held {
            if time_us < self.end_us(held) {
                self.open[group as usize] = Some(Held { last_us: time_us, ..held });
                return held.slot;
            }
            self.end(group, held);
        }
        let new = Held { slot: self.slots.allocate(), first_us: time_us, last_us: time_us };
        self.hold(group, key, new, held.is_some());
        new.slot
    }

    fn hold(&mut self, group: u32, key: u32, held: Held, is_listed: bool) {
        self.open[group as usize] = Some(held);
        let end_us = self.end_us(held);
        let key = &mut self.keys[key as usize];
        key.due_us = key.due_us.min(end_us);
        if !is_listed {
            key.groups.push(group);
        }
    }

    fn end(&mut self, group: u32, held: Held) {
        let (start_us, end_us) = (held.first_us, self.end_us(held));
        self.ended.push(Ended { key: group, slot: held.slot, start_us, end_us });
    }

    /// Ends the sessions of a key that end at or before its watermark.
    fn end_before(&mut self, key: u32, watermark_us: i64) {
        if self.keys.get(key as usize).is_none_or(|key| key.due_us > watermark_us) {
            return;
        }
        let mut groups = std::mem::take(&mut self.keys[key as usize].groups);
        let mut due_us = NEVER;
        groups.retain(|group| {
            let held = self.open[*group as usize].expect("listed groups have a session");
            if self.end_us(held) > watermark_us {
                due_us = due_us.min(self.end_us(held));
                return true;
            }
            self.end(*group, held);
            self.open[*group as usize] = None;
            false
        });
        self.keys[key as usize] = Key { groups, due_us };
    }

    /// Sorts the sessions from `start` on that have ended, by (end, group).
    fn sort_ended(&mut self, start: usize) {
        let keys = &self.slots.keys;
        self.ended[start..].sort_unstable_by(|a, b| {
            a.end_us.cmp(&b.end_us).then_with(|| keys.ordered(a.key).cmp(keys.ordered(b.key)))
        });
    }

    fn held(&self) -> impl Iterator<Item = (u32, u32, Held)> {
        (0..).zip(&self.keys).flat_map(|(number, key)| {
            let held = |group: &u32| Some((number, *group, self.open[*group as usize]?));
            key.groups.iter().filter_map(held).collect::<Vec<_>>()
        })
    }
}

impl ByKeyOperator for SessionsByKey {
    fn update(&mut self, rows: &OrderedRows, keys: &[u32], advances: &[Advance]) -> Result<Vec<RecordBatch>> {
        let (evaluated, groups) = self.slots.evaluate(&rows.batches[0])?;
        self.grow(&groups, keys.iter().copied());
        let mut slots = Vec::with_capacity(groups.len());
        for advance in advances {
            let start = self.ended.len();
            while slots.len() < advance.rows {
                let row = slots.len();
                slots.push(self.place(groups[row], keys[row], rows.times_us[row]));
            }
            self.end_before(advance.key, advance.watermark_us);
            self.sort_ended(start);
        }
        while slots.len() < groups.len() {
            let row = slots.len();
            slots.push(self.place(groups[row], keys[row], rows.times_us[row]));
        }
        self.slots.update(&evaluated, &slots)?;
        let ended = std::mem::take(&mut self.ended);
        let batches = ended.chunks(BATCH_ROWS).map(|part| self.slots.emit(part)).collect::<Result<_>>()?;
        for group in groups.into_iter().chain(ended.iter().map(|ended| ended.key)) {
            if self.open[group as usize].is_none() {
                self.slots.keys.remove(group);
            }
        }
        Ok(batches)
    }

    fn horizons_us(&self) -> Vec<(u32, i64)> {
        let mut horizons: Vec<(u32, i64)> = Vec::new();
        for (key, _, held) in self.held() {
            match horizons.last_mut() {
                Some((last, horizon_us)) if *last == key => *horizon_us = self.end_us(held).max(*horizon_us),
                _ => horizons.push((key, self.end_us(held))),
            }
        }
        horizons
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        let row = |(key, group, held): (u32, u32, Held)| (group, held.slot, [held.first_us, held.last_us, key.into()]);
        let taken = self.held().filter(|(_, group, _)| self.slots.keys.is_taken(*group));
        let held: Vec<_> = taken.map(row).collect();
        Ok(vec![self.slots.windows(&self.state_shapes[0], &held)?])
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        vec![&mut self.slots.keys]
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (restored, slots) = self.slots.restore_windows(&state[0], 3)?;
        let [firsts, lasts, keys] = restored.own.as_slice() else { unreachable!("three columns were asked for") };
        self.grow(&restored.keys, keys.iter().map(|key| *key as u32));
        for (row, group) in restored.keys.into_iter().enumerate() {
            let held = Held { slot: slots[row], first_us: firsts[row], last_us: lasts[row] };
            self.hold(group, keys[row] as u32, held, false);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let groups: usize = self.keys.iter().map(|key| key.groups.capacity()).sum();
        self.slots.bytes()
            + self.open.capacity() * size_of::<Option<Held>>()
            + self.keys.capacity() * size_of::<Key>()
            + groups * size_of::<u32>()
    }
}
