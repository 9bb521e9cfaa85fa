//! The watermark of every key of a partition, a function of the key's own rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::Stamp;
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::snapshot::{TableShape, TableState};
use crate::watermark::NO_WATERMARK;

/// Watermarks by key; a key that was seen once stays.
#[derive(Debug)]
pub(crate) struct KeyWatermarks {
    delay_us: i64,
    keys: KeyTable,
    /// By the key's number.
    current_us: Vec<i64>,
    latest_us: i64,
    state_shape: TableShape,
}

impl KeyWatermarks {
    /// `key`: the columns of the key.
    pub(crate) fn new(key: &SchemaRef, delay_us: i64) -> Result<Self> {
        let own = ["__number", "__watermark_us"].map(|name| Arc::new(Field::new(name, DataType::Int64, false)));
        let fields: Vec<_> = own.into_iter().chain(key.fields().iter().cloned()).collect();
        Ok(Self {
            delay_us,
            keys: KeyTable::tracked(key)?,
            current_us: Vec::new(),
            latest_us: NO_WATERMARK,
            state_shape: TableShape::by_key(Arc::new(Schema::new(fields)), 0..1),
        })
    }

    /// Takes the next rows of the partition: the columns of their keys, and their event times. A row without event time moves
    /// nothing.
    pub(crate) fn observe(&mut self, key: &[ArrayRef], times: &TimestampMicrosecondArray) -> Result<Vec<Stamp>> {
        let mut numbers = Vec::new();
        self.keys.intern(times.len(), key, &mut numbers)?;
        self.grow(&numbers);
        let stamp = |(row, key): (usize, u32)| {
            let current_us = &mut self.current_us[key as usize];
            let before_us = *current_us;
            if times.is_valid(row) {
                *current_us = before_us.max(times.value(row).saturating_sub(self.delay_us));
                self.latest_us = self.latest_us.max(*current_us);
            }
            Stamp { key, before_us, after_us: *current_us }
        };
        Ok(numbers.into_iter().enumerate().map(stamp).collect())
    }

    /// Moves a key's watermark at least to here.
    pub(crate) fn advance(&mut self, key: u32, watermark_us: i64) {
        let current_us = &mut self.current_us[key as usize];
        *current_us = (*current_us).max(watermark_us);
        self.latest_us = self.latest_us.max(*current_us);
        self.keys.mark(&[key]);
    }

    /// A key's watermark.
    pub(crate) fn of(&self, key: u32) -> i64 {
        self.current_us[key as usize]
    }

    /// The furthest of all.
    pub(crate) fn latest_us(&self) -> i64 {
        self.latest_us
    }

    fn grow(&mut self, numbers: &[u32]) {
        let keys = numbers.iter().max().map_or(0, |last| *last as usize + 1);
        if keys > self.current_us.len() {
            self.current_us.resize(keys, NO_WATERMARK);
        }
    }

    /// The table of its state.
    pub(crate) fn state_shape(&self) -> &TableShape {
        &self.state_shape
    }

    /// Numbers of the keys that were taken, their watermarks, and the keys.
    pub(crate) fn state(&self) -> Result<TableState> {
        let numbers: Vec<u32> = (0..self.current_us.len() as u32).filter(|key| self.keys.is_taken(*key)).collect();
        let watermarks = numbers.iter().map(|key| self.current_us[*key as usize]);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(numbers.iter().map(|key| i64::from(*key)))),
            Arc::new(Int64Array::from_iter_values(watermarks)),
        ];
        columns.extend(self.keys.columns(numbers.iter().copied())?);
        Ok(TableState::of(RecordBatch::try_new(Arc::clone(&self.state_shape.schema), columns)?))
    }

    /// Whether a key is of those that were taken.
    pub(super) fn is_taken(&self, key: u32) -> bool {
        self.keys.is_taken(key)
    }

    /// Those that were taken and are not among these.
    pub(super) fn taken_without(&self, keys: impl Iterator<Item = u32>) -> Vec<u32> {
        self.keys.taken_numbers_without(keys)
    }

    /// The keys, of which those are stored that have changed. None is ever gone.
    pub(crate) fn tracked(&mut self) -> &mut KeyTable {
        &mut self.keys
    }

    /// Goes on from a state; keys have the numbers that they had.
    pub(crate) fn restore(&mut self, state: &RecordBatch) -> Result<()> {
        let in_order = sort_to_indices(state.column(0), None, None)?;
        let state = take_record_batch(state, &in_order)?;
        let [_, watermarks, key @ ..] = state.columns() else { unreachable!("two columns of its own") };
        let mut numbers = Vec::new();
        self.keys.intern(state.num_rows(), key, &mut numbers)?;
        debug_assert!(numbers.iter().enumerate().all(|(at, number)| at == *number as usize));
        self.grow(&numbers);
        for (number, watermark_us) in numbers.into_iter().zip(watermarks.as_primitive::<Int64Type>().values()) {
            self.advance(number, *watermark_us);
        }
        Ok(())
    }

    /// All of it, as a snapshot would have it.
    #[cfg(test)]
    pub(crate) fn whole_state(&mut self) -> Result<RecordBatch> {
        let mut tracking = crate::snapshot::Tracking::default();
        tracking.take(vec![&mut self.keys]);
        let state = self.state();
        tracking.not_stored(vec![&mut self.keys]);
        state?.into_rows(&self.state_shape)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.current_us.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    fn watermarks() -> KeyWatermarks {
        KeyWatermarks::new(&Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)])), 2).unwrap()
    }

    fn observe(watermarks: &mut KeyWatermarks, rows: &[(Option<&str>, Option<i64>)]) -> Vec<(u32, i64, i64)> {
        let (keys, times): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let key: ArrayRef = Arc::new(StringArray::from(keys));
        let stamps = watermarks.observe(&[key], &times.into()).unwrap();
        stamps.into_iter().map(|s| (s.key, s.before_us, s.after_us)).collect()
    }

    const ROWS: [(Option<&str>, Option<i64>); 7] = [
        (Some("a"), Some(100)),
        (Some("b"), Some(10)),
        (None, Some(50)),
        (Some("b"), None),
        (Some("b"), Some(9)),
        (None, Some(60)),
        (Some("a"), Some(101)),
    ];
    const NO: i64 = NO_WATERMARK;
    const STAMPS: [(u32, i64, i64); 7] =
        [(0, NO, 98), (1, NO, 8), (2, NO, 48), (1, 8, 8), (1, 8, 8), (2, 48, 58), (0, 98, 99)];

    #[test]
    fn a_key_sees_only_its_own_rows() {
        let mut watermarks = watermarks();
        assert_eq!(observe(&mut watermarks, &ROWS), STAMPS);
        assert_eq!(watermarks.latest_us(), 99);
    }

    #[test]
    fn any_split_and_any_restart_give_the_same_watermarks() {
        for cut in 0..=ROWS.len() {
            let mut first = watermarks();
            let mut stamps = observe(&mut first, &ROWS[..cut]);
            let mut second = watermarks();
            second.restore(&first.whole_state().unwrap()).unwrap();
            stamps.extend(observe(&mut second, &ROWS[cut..]));
            assert_eq!(stamps, STAMPS, "cut at {cut}");
            assert_eq!(second.current_us, [99, 8, 58]);
            assert_eq!(second.latest_us(), 99);
        }
    }
}
