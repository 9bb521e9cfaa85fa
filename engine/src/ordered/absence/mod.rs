//! `RAISE WHEN NO DATA FOR`: per key, stretches of event time without a row.
//!
//! A key is silent when rows of others, or a decision, show that time has passed its last row by more than the interval:
//! the alert is raised at that moment, by (moment, key), and cleared by the key's next row. What cannot be known of the rows
//! is decided (`decision.rs`); what is emitted depends on the sequence of rows and decisions alone.

mod decision;
#[cfg(test)]
mod tests;
mod watched;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use thermocline_sql::Absence as Definition;

use super::operator::{OrderedOperator, OrderedRows};
use crate::error::Result;
use crate::snapshot::{TableShape, TableState};
use crate::watermark::NO_WATERMARK;
use watched::{Keys, Limits, Watched};

pub(crate) use decision::{Decided, Decision};

/// Columns of a key's state after those of its row: since when it is silent, when it was raised, whether it was heard.
const STATE_COLUMNS: usize = 3;

/// The operator's state besides keys.
const OWN_STATE: [&str; 5] = ["has_begun", "down_us", "away_from_us", "away_until_us", "next_decision"];

/// Watches keys.
#[derive(Debug)]
pub(crate) struct Absence {
    limits: Limits,
    key: Vec<usize>,
    has_clear: bool,
    /// Whether only expected keys are watched.
    is_expecting: bool,
    row_bytes: RowConverter,
    key_bytes: RowConverter,
    keys: Keys,
    /// Whether event time has begun for expected keys.
    has_begun: bool,
    /// The engine was down after this time, and what came next is not known yet.
    down_us: Option<i64>,
    /// The last stretch that the engine was down for and that counts for nothing.
    away_us: Option<(i64, i64)>,
    /// Number of the next decision.
    next_decision: u64,
    /// Decisions of an earlier life that are still ahead.
    ahead: VecDeque<Decision>,
    events: Vec<Event>,
    columns: SchemaRef,
    emitted: SchemaRef,
    state_shapes: [TableShape; 2],
}

#[derive(Debug)]
struct Event {
    raised: bool,
    at_us: i64,
    row: Vec<u8>,
}

impl Absence {
    /// `input`: the query's columns and, where there is one, the clear condition.
    pub(crate) fn try_new(definition: &Definition, input: &SchemaRef) -> Result<Self> {
        let count = input.fields().len() - usize::from(definition.has_clear);
        let nullable = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
        let columns: Vec<_> = input.fields()[..count].iter().map(nullable).collect();
        let sort = |index: usize| SortField::new(columns[index].data_type().clone());
        let state = ["since_us", "raised_us"].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
        let heard = Arc::new(Field::new("heard", DataType::Boolean, false));
        let key_state = columns.iter().cloned().chain(state).chain([heard]).collect::<Vec<_>>();
        let own_state = OWN_STATE.map(|name| Field::new(name, DataType::Int64, true));
        Ok(Self {
            limits: Limits { raise_us: definition.interval_us, forget_us: definition.forget_us },
            key: definition.key.clone(),
            has_clear: definition.has_clear,
            is_expecting: definition.expected.is_some(),
            row_bytes: RowConverter::new((0..count).map(sort).collect())?,
            key_bytes: RowConverter::new(definition.key.iter().map(|index| sort(*index)).collect())?,
            keys: Keys::new(Limits { raise_us: definition.interval_us, forget_us: definition.forget_us }),
            has_begun: definition.expected.is_none(),
            down_us: None,
            away_us: None,
            next_decision: 0,
            ahead: VecDeque::new(),
            events: Vec::new(),
            columns: Arc::new(Schema::new(columns)),
            emitted: Arc::clone(definition.columns.inner()),
            state_shapes: [Schema::new(key_state), Schema::new(own_state.to_vec())]
                .map(|schema| TableShape::whole(Arc::new(schema))),
        })
    }

    /// Columns of the rows of expected keys.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// Whether event time has begun for the expected keys.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The time after which the engine was down, where it is not known yet what came next.
    pub(crate) fn down_us(&self) -> Option<i64> {
        self.down_us
    }

    /// Number of the next decision.
    pub(crate) fn next_decision(&self) -> u64 {
        self.next_decision
    }

    /// The first moment after which a key is silent that is not raised.
    pub(crate) fn first_silent_us(&self) -> Option<i64> {
        self.keys.first_silent_us()
    }

    /// Takes decisions of an earlier life; those that its state holds are left out.
    pub(crate) fn repeat(&mut self, mut decisions: Vec<Decision>) {
        decisions.retain(|decision| decision.number >= self.next_decision);
        decisions.sort_by_key(|decision| decision.number);
        if let Some(last) = decisions.last() {
            self.next_decision = last.number + 1;
        }
        self.ahead = decisions.into();
    }

    /// Takes a decision that is made now.
    pub(crate) fn decide(&mut self, decision: Decision) -> Result<Vec<RecordBatch>> {
        self.next_decision = decision.number + 1;
        let at_us = decision.at_us;
        self.ahead.push_back(decision);
        self.pass(at_us)?;
        self.take_events()
    }

    /// An earlier text of the query may have raised what this one does not know of: whoever is heard is cleared once more.
    pub(crate) fn doubt(&mut self) {
        self.keys.change_all(|watched| watched.doubtful = watched.raised_us.is_none());
    }

    /// Whether these are other rows than those whose keys are watched.
    pub(crate) fn expects_other(&self, rows: &RecordBatch) -> Result<bool> {
        let (keys, bytes) = self.encode(rows)?;
        let mut known = std::collections::HashSet::new();
        for (key, row) in keys.iter().zip(&bytes) {
            match self.keys.get(key) {
                _ if known.contains(key) => {}
                Some(watched) if watched.heard || watched.row == row.as_ref() => {
                    known.insert(key.clone());
                }
                _ => return Ok(true),
            }
        }
        Ok(known.len() != self.keys.len())
    }

    /// The key and the bytes of each row.
    fn encode(&self, rows: &RecordBatch) -> Result<(Vec<Vec<u8>>, Rows)> {
        let columns = &rows.columns()[..self.columns.fields().len()];
        let bytes = self.row_bytes.convert_columns(columns)?;
        let keys: Vec<ArrayRef> = self.key.iter().map(|index| Arc::clone(&columns[*index])).collect();
        let keys = match keys.is_empty() {
            true => vec![Vec::new(); rows.num_rows()],
            false => self.key_bytes.convert_columns(&keys)?.iter().map(|key| key.as_ref().to_vec()).collect(),
        };
        Ok((keys, bytes))
    }

    /// All rows before this time have come.
    fn pass(&mut self, until_us: i64) -> Result<()> {
        while let Some(decision) = self.ahead.pop_front_if(|decision| decision.at_us <= until_us) {
            self.fire(decision.at_us.min(self.down_us.unwrap_or(i64::MAX)));
            self.apply(decision.what)?;
        }
        // Where the engine was down, nothing is silent before it is known what came next.
        self.fire(until_us.min(self.down_us.unwrap_or(i64::MAX)));
        Ok(())
    }

    /// Raises and forgets what is silent by now.
    fn fire(&mut self, now_us: i64) {
        while let Some((deadline_us, key)) = self.keys.next_due(now_us) {
            let is_raised = self.keys.get(&key).is_some_and(|watched| watched.raised_us.is_some());
            if is_raised {
                self.forget(&key, deadline_us);
            } else {
                self.raise(&key, deadline_us);
            }
        }
    }

    fn raise(&mut self, key: &[u8], at_us: i64) {
        let row = self.keys.change(key, |watched| {
            watched.raised_us = Some(at_us);
            watched.row.clone()
        });
        self.events.extend(row.map(|row| Event { raised: true, at_us, row }));
    }

    fn forget(&mut self, key: &[u8], at_us: i64) {
        let Some(Watched { raised_us, doubtful, row, .. }) = self.keys.remove(key) else { return };
        if raised_us.is_some() || doubtful {
            let at_us = at_us.max(raised_us.unwrap_or(at_us));
            self.events.push(Event { raised: false, at_us, row });
        }
    }

    fn apply(&mut self, decided: Decided) -> Result<()> {
        match decided {
            Decided::Expect { rows, since_us } => self.expect(&rows, since_us)?,
            Decided::Begin { us } => {
                self.has_begun = true;
                self.keys.change_all(|watched| watched.since_us = watched.since_us.or(Some(us)));
            }
            Decided::Down { from_us } => self.down_us = Some(from_us),
            Decided::Up { us } => self.come_back(us),
            Decided::Silent { now_us } => {
                self.fire(now_us);
                let unheard: Vec<_> = (self.keys.in_order().into_iter())
                    .filter(|(_, watched)| watched.since_us.is_none() && watched.raised_us.is_none())
                    .map(|(key, _)| Arc::clone(key))
                    .collect();
                unheard.iter().for_each(|key| self.raise(key, now_us));
            }
        }
        Ok(())
    }

    /// Watches the keys of these rows, and no others.
    fn expect(&mut self, rows: &RecordBatch, since_us: Option<i64>) -> Result<()> {
        let (keys, bytes) = self.encode(rows)?;
        let mut gone: std::collections::BTreeSet<Vec<u8>> = self.keys.iter().map(|(key, _)| key.to_vec()).collect();
        for (key, row) in keys.iter().zip(&bytes) {
            gone.remove(key);
            let known = self.keys.change(key, |watched| {
                if !watched.heard {
                    watched.row = row.as_ref().to_vec();
                }
            });
            if known.is_none() {
                self.keys.insert(key, Watched { since_us, row: row.as_ref().to_vec(), ..Watched::default() });
            }
        }
        for key in gone {
            self.forget(&key, since_us.unwrap_or(NO_WATERMARK));
        }
        Ok(())
    }

    /// Rows come again after the engine was down. A stretch without any row that is longer than the interval says nothing
    /// about a key then: it gets an interval from here.
    fn come_back(&mut self, time_us: i64) {
        let Some(from_us) = self.down_us.take() else { return };
        if time_us.saturating_sub(from_us) > self.limits.raise_us {
            self.away_us = Some((from_us, time_us));
            self.keys.change_all(|watched| {
                if watched.raised_us.is_none() && watched.since_us.is_some() {
                    watched.since_us = watched.since_us.max(Some(time_us));
                }
            });
        }
    }

    fn hear(&mut self, key: &[u8], time_us: i64, row: &[u8], clears: bool) {
        let away_us = self.away_us.filter(|(from_us, _)| time_us < *from_us);
        let since_us = Some(away_us.map_or(time_us, |(_, until_us)| until_us));
        let cleared_us = self.keys.change(key, |watched| {
            let cleared_us = match watched.raised_us {
                Some(raised_us) if clears => Some(time_us.max(raised_us)),
                None if watched.doubtful => Some(time_us),
                _ => None,
            };
            if cleared_us.is_some() {
                (watched.raised_us, watched.doubtful) = (None, false);
            }
            watched.since_us = watched.since_us.max(since_us);
            watched.heard = true;
            watched.row.clear();
            watched.row.extend_from_slice(row);
            cleared_us
        });
        match cleared_us {
            Some(Some(at_us)) => self.events.push(Event { raised: false, at_us, row: row.to_vec() }),
            None if !self.is_expecting => {
                let heard = Watched { since_us, heard: true, row: row.to_vec(), ..Watched::default() };
                self.keys.insert(key, heard);
            }
            _ => {}
        }
    }

    fn take_events(&mut self) -> Result<Vec<RecordBatch>> {
        if self.events.is_empty() {
            return Ok(Vec::new());
        }
        let events = std::mem::take(&mut self.events);
        let mut columns = self.rows(events.iter().map(|event| event.row.as_slice()))?;
        columns.push(Arc::new(BooleanArray::from_iter(events.iter().map(|event| Some(event.raised)))));
        let times = TimestampMicrosecondArray::from_iter_values(events.iter().map(|event| event.at_us));
        columns.push(Arc::new(times.with_timezone("UTC")));
        Ok(vec![RecordBatch::try_new(Arc::clone(&self.emitted), columns)?])
    }

    fn rows<'a>(&self, bytes: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.row_bytes.parser();
        Ok(self.row_bytes.convert_rows(bytes.map(|row| parser.parse(row)))?)
    }
}

impl OrderedOperator for Absence {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let batch = &rows.batches[0];
        let (keys, bytes) = self.encode(batch)?;
        let clears = self.has_clear.then(|| batch.column(batch.num_columns() - 1).as_boolean());
        for (row, time_us) in rows.times_us.iter().enumerate() {
            self.pass(*time_us)?;
            let clears = clears.is_none_or(|clears| clears.is_valid(row) && clears.value(row));
            self.hear(&keys[row], *time_us, bytes.row(row).as_ref(), clears);
        }
        Ok(())
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        self.pass(watermark_us)?;
        self.take_events()
    }

    fn horizon_us(&self) -> Option<i64> {
        // At the end of all rows nobody is silent: nothing more was to come.
        None
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        let keys = self.keys.in_order();
        let mut columns = self.rows(keys.iter().map(|(_, watched)| watched.row.as_slice()))?;
        columns.push(Arc::new(Int64Array::from_iter(keys.iter().map(|(_, watched)| watched.since_us))));
        columns.push(Arc::new(Int64Array::from_iter(keys.iter().map(|(_, watched)| watched.raised_us))));
        columns.push(Arc::new(BooleanArray::from_iter(keys.iter().map(|(_, watched)| Some(watched.heard)))));
        let (from_us, until_us) = self.away_us.unzip();
        let own = [Some(i64::from(self.has_begun)), self.down_us, from_us, until_us, Some(self.next_decision as i64)];
        let own = own.map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        Ok(vec![
            TableState::of(RecordBatch::try_new(Arc::clone(&self.state_shapes[0].schema), columns)?),
            TableState::of(RecordBatch::try_new(Arc::clone(&self.state_shapes[1].schema), own.to_vec())?),
        ])
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (keys, bytes) = self.encode(&state[0])?;
        let count = state[0].num_columns() - STATE_COLUMNS;
        let number = |table: &RecordBatch, column: usize, row: usize| {
            let column = table.column(column).as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        for (row, key) in keys.iter().enumerate() {
            let watched = Watched {
                since_us: number(&state[0], count, row),
                raised_us: number(&state[0], count + 1, row),
                heard: state[0].column(count + 2).as_boolean().value(row),
                row: bytes.row(row).as_ref().to_vec(),
                ..Watched::default()
            };
            self.keys.insert(key, watched);
        }
        self.has_begun = number(&state[1], 0, 0) == Some(1);
        self.down_us = number(&state[1], 1, 0);
        self.away_us = number(&state[1], 2, 0).zip(number(&state[1], 3, 0));
        self.next_decision = number(&state[1], 4, 0).unwrap_or(0) as u64;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.bytes()
    }

    fn as_absence(&mut self) -> Option<&mut Absence> {
        Some(self)
    }
}
