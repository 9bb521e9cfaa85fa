//! As-of joins: each row of the first input with the latest row of the second that has its key, as of its time. Where there
//! is none, the second's columns are NULL.
//!
//! Rows are emitted in the order of the first input's. Of rows of the same time, the one that is last in the order of
//! (partition, offset) is the latest. One row per key is kept; where a match may only be so old, until it is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use thermocline_sql::{AsOfJoin, timestamp_type};

use super::join_keys::{JoinKeys, NO_KEY};
use super::joined_rows::JoinedRows;
use super::operator::{OrderedOperator, OrderedRows};
use super::rows::{NO_ROW, RowStore};
use crate::error::Result;
use crate::snapshot::{TableShape, TableState};

/// Rows that are emitted as one batch, at most.
const BATCH_ROWS: usize = 8_192;

/// Rows that are kept beside the latest ones, at least, before those are gathered anew.
const SPARE_ROWS: usize = 4_096;

/// An as-of join of two inputs.
#[derive(Debug)]
pub(crate) struct AsOf {
    strictly_earlier: bool,
    max_age_us: Option<i64>,
    rows: JoinedRows,
    keys: JoinKeys,
    /// The second input's latest row, by the key's number.
    latest: Vec<Option<Latest>>,
    live: usize,
    store: RowStore,
    /// The first input's rows since the last watermark.
    first: RowStore,
    /// Rows of the first input whose time is not complete.
    pending: Vec<Pending>,
    matched: Vec<(u64, u64)>,
    /// Keys of the first input's rows since the last watermark.
    seen: Vec<u32>,
    swept_us: i64,
    state_shapes: [TableShape; 1],
}

#[derive(Debug, Clone, Copy)]
struct Latest {
    time_us: i64,
    row: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    time_us: i64,
    row: u64,
    key: u32,
}

impl AsOf {
    pub(crate) fn try_new(join: &AsOfJoin, inputs: [SchemaRef; 2]) -> Result<Self> {
        let time = Arc::new(Field::new("__time", timestamp_type(), false));
        let fields = std::iter::once(time).chain(inputs[1].fields().iter().cloned());
        let state_shapes = [TableShape::whole(Arc::new(Schema::new(fields.collect::<Vec<_>>())))];
        let keys = JoinKeys::try_new(join.rows.keys, inputs.each_ref())?;
        let [first, second] = inputs;
        Ok(Self {
            strictly_earlier: join.strictly_earlier,
            max_age_us: join.max_age_us,
            rows: JoinedRows::new(&join.rows),
            keys,
            latest: Vec::new(),
            live: 0,
            store: RowStore::new(second),
            first: RowStore::new(first),
            pending: Vec::new(),
            matched: Vec::new(),
            seen: Vec::new(),
            swept_us: i64::MIN,
            state_shapes,
        })
    }

    /// The row that a row of the first input matches, as of what has come.
    fn find(&self, Pending { time_us, row, key }: Pending) -> (u64, u64) {
        let latest = self.latest.get(key as usize).copied().flatten();
        let young = |latest: &Latest| self.max_age_us.is_none_or(|age| time_us.saturating_sub(latest.time_us) <= age);
        (row, latest.filter(young).map_or(NO_ROW, |latest| latest.row))
    }

    fn resolve(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        let found = pending.drain(..).map(|row| self.find(row)).collect::<Vec<_>>();
        self.matched.extend(found);
        self.pending = pending;
    }

    fn keep(&mut self, key: u32, latest: Latest) {
        if key == NO_KEY {
            return;
        }
        if key as usize >= self.latest.len() {
            self.latest.resize(key as usize + 1, None);
        }
        let before = self.latest[key as usize].replace(latest);
        self.live += usize::from(before.is_none());
    }

    /// Forgets what is too old for any row to come; now and then, since it changes no match.
    fn sweep(&mut self, watermark_us: i64) {
        let Some(age_us) = self.max_age_us else { return };
        if watermark_us.saturating_sub(self.swept_us) < age_us / 2 {
            return;
        }
        self.swept_us = watermark_us;
        for (key, latest) in (0..).zip(&mut self.latest) {
            if latest.is_some_and(|latest| latest.time_us.saturating_add(age_us) < watermark_us) {
                *latest = None;
                self.live -= 1;
                self.keys.remove(key);
            }
        }
    }

    /// Gathers the latest rows anew when most of those held are not.
    fn compact(&mut self) -> Result<()> {
        if self.store.len() <= 2 * self.live + SPARE_ROWS {
            return Ok(());
        }
        let (_, rows) = self.live_rows()?;
        let mut store = RowStore::new(Arc::clone(self.store.schema()));
        store.push(rows)?;
        self.store = store;
        for (row, latest) in (0..).zip(self.latest.iter_mut().flatten()) {
            latest.row = row;
        }
        Ok(())
    }

    /// The latest rows with their times, in the order of their keys' numbers.
    fn live_rows(&self) -> Result<(Vec<i64>, RecordBatch)> {
        let schema = Arc::clone(self.store.schema());
        let times = self.latest.iter().flatten().map(|latest| latest.time_us).collect();
        if self.live == 0 {
            return Ok((times, RecordBatch::new_empty(schema)));
        }
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let columns = self.store.gather(&columns, self.latest.iter().flatten().map(|latest| latest.row))?;
        Ok((times, RecordBatch::try_new(schema, columns)?))
    }
}

impl OrderedOperator for AsOf {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let [mut left, mut right] = [Vec::new(), Vec::new()];
        self.keys.intern(&rows.batches[0], &mut left)?;
        self.keys.intern(&rows.batches[1], &mut right)?;
        self.seen.extend(left.iter().copied().filter(|key| *key != NO_KEY));
        let mut next_left = self.first.push(rows.batches[0].clone())?;
        let mut next_right = self.store.push(rows.batches[1].clone())?;
        let (mut left, mut right) = (left.into_iter(), right.into_iter());
        for (time_us, input) in rows.times_us.iter().copied().zip(&rows.inputs) {
            if self.pending.last().is_some_and(|pending| pending.time_us < time_us) {
                self.resolve();
            }
            if *input == 0 {
                let key = left.next().expect("one for each row");
                let row = Pending { time_us, row: next_left, key };
                next_left += 1;
                match self.strictly_earlier {
                    // Of one time, the first input's rows come first: what has come is earlier.
                    true => self.matched.push(self.find(row)),
                    false => self.pending.push(row),
                }
            } else {
                self.keep(right.next().expect("one for each row"), Latest { time_us, row: next_right });
                next_right += 1;
            }
        }
        Ok(())
    }

    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>> {
        self.resolve();
        let matched = std::mem::take(&mut self.matched);
        let parts = matched.chunks(BATCH_ROWS).map(|part| self.rows.output([&self.first, &self.store], part));
        let emitted = parts.collect::<Result<_>>()?;
        self.first = RowStore::new(Arc::clone(self.first.schema()));
        for key in std::mem::take(&mut self.seen) {
            if self.latest.get(key as usize).copied().flatten().is_none() {
                self.keys.remove(key);
            }
        }
        self.sweep(watermark_us);
        self.compact()?;
        Ok(emitted)
    }

    fn horizon_us(&self) -> Option<i64> {
        None
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        let (times, rows) = self.live_rows()?;
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        let columns = std::iter::once(times).chain(rows.columns().iter().cloned()).collect();
        Ok(vec![TableState::of(RecordBatch::try_new(Arc::clone(&self.state_shapes[0].schema), columns)?)])
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let times = state[0].column(0).as_primitive::<TimestampMicrosecondType>();
        let rows = RecordBatch::try_new(Arc::clone(self.store.schema()), state[0].columns()[1..].to_vec())?;
        let mut numbers = Vec::new();
        self.keys.intern(&rows, &mut numbers)?;
        let first = self.store.push(rows)?;
        for (i, key) in numbers.into_iter().enumerate() {
            self.keep(key, Latest { time_us: times.value(i), row: first + i as u64 });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.store.bytes()
            + self.first.bytes()
            + self.keys.bytes()
            + self.latest.capacity() * size_of::<Option<Latest>>()
            + self.pending.capacity() * size_of::<Pending>()
            + self.matched.capacity() * size_of::<(u64, u64)>()
            + self.seen.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Int64Type};
    use datafusion::common::DFSchema;
    use thermocline_sql::JoinedRows as Parts;

    use super::*;
    use crate::ordered::operator::whole_state;

    fn input_schema() -> SchemaRef {
        let fields = vec![Field::new("k0", DataType::Utf8, true), Field::new("c0", DataType::Int64, true)];
        Arc::new(Schema::new(fields))
    }

    fn join(strictly_earlier: bool, max_age_us: Option<i64>) -> AsOf {
        let fields = vec![Field::new("l", DataType::Int64, true), Field::new("r", DataType::Int64, true)];
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields)).unwrap());
        let rows = Parts { keys: 1, columns: [1, 1], schema };
        AsOf::try_new(&AsOfJoin { rows, strictly_earlier, max_age_us }, [input_schema(), input_schema()]).unwrap()
    }

    /// Rows as (time, input, key, number), in order.
    fn ordered(rows: &[(i64, u8, Option<&str>, i64)]) -> OrderedRows {
        let batch = |input: u8| {
            let own = || rows.iter().filter(|row| row.1 == input);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter(own().map(|row| row.2))),
                Arc::new(Int64Array::from_iter_values(own().map(|row| row.3))),
            ];
            RecordBatch::try_new(input_schema(), columns).unwrap()
        };
        OrderedRows {
            times_us: rows.iter().map(|row| row.0).collect(),
            inputs: rows.iter().map(|row| row.1).collect(),
            batches: vec![batch(0), batch(1)],
        }
    }

    fn pairs(batches: &[RecordBatch]) -> Vec<(i64, Option<i64>)> {
        let of = |batch: &RecordBatch| {
            let columns = [0, 1].map(|i| batch.column(i).as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
            columns[0].iter().map(|l| l.unwrap()).zip(columns[1].iter().copied()).collect::<Vec<_>>()
        };
        batches.iter().flat_map(of).collect()
    }

    #[test]
    fn a_row_of_the_same_time_counts_unless_it_must_be_earlier() {
        let rows =
            [(5, 1, Some("a"), 1), (7, 0, Some("a"), 2), (7, 0, None, 3), (7, 1, Some("a"), 4), (7, 1, Some("a"), 5)];
        for (strictly_earlier, expected) in [(false, Some(5)), (true, Some(1))] {
            // Whole, and with a cut in the middle of a time.
            for cut in [0, 2, 4, 5] {
                let mut join = join(strictly_earlier, None);
                join.update(&ordered(&rows[..cut])).unwrap();
                join.update(&ordered(&rows[cut..])).unwrap();
                assert_eq!(pairs(&join.advance(8).unwrap()), [(2, expected), (3, None)], "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_match_may_be_too_old() {
        let mut join = join(false, Some(10));
        join.update(&ordered(&[(0, 1, Some("a"), 1), (10, 0, Some("a"), 2), (11, 0, Some("a"), 3)])).unwrap();
        assert_eq!(pairs(&join.advance(12).unwrap()), [(2, Some(1)), (3, None)]);
        join.advance(100).unwrap();
        assert_eq!(whole_state(&mut join).unwrap()[0].num_rows(), 0);
    }

    #[test]
    fn one_row_per_key_is_kept() {
        let mut join = join(true, None);
        for n in 0..3_000 {
            let key = format!("{}", n % 10);
            let rows = [(n, 0, Some("nobody else"), n), (n, 1, Some(key.as_str()), n)];
            let batch: Vec<_> = (0..5).flat_map(|_| rows).collect();
            let (left, right): (Vec<_>, Vec<_>) = batch.into_iter().partition(|row| row.1 == 0);
            join.update(&ordered(&[left, right].concat())).unwrap();
            assert_eq!(pairs(&join.advance(n + 1).unwrap()).len(), 5);
        }
        assert!(join.store.len() < SPARE_ROWS + 100, "{}", join.store.len());
        assert!(join.latest.len() < 20, "numbers of keys are given again: {}", join.latest.len());
        let state = whole_state(&mut join).unwrap();
        assert_eq!(state[0].num_rows(), 10);
        let mut restored = super::tests::join(true, None);
        restored.restore(&state).unwrap();
        restored.update(&ordered(&[(5_000, 0, Some("7"), 1)])).unwrap();
        assert_eq!(pairs(&restored.advance(5_001).unwrap()), [(1, Some(2_997))]);
    }
}
