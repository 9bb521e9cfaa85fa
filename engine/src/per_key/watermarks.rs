//! The watermark of every key of a partition, a function of the key's own rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::Stamp;
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::watermark::NO_WATERMARK;

/// Watermarks by key; a key that was seen once stays.
#[derive(Debug)]
pub(crate) struct KeyWatermarks {
    delay_us: i64,
    keys: KeyTable,
    /// By the key's number.
    current_us: Vec<i64>,
    latest_us: i64,
    state_schema: SchemaRef,
}

impl KeyWatermarks {
    /// `key`: the columns of the key.
    pub(crate) fn new(key: &SchemaRef, delay_us: i64) -> Result<Self> {
        let watermark = Arc::new(Field::new("__watermark_us", DataType::Int64, false));
        let fields: Vec<_> = key.fields().iter().cloned().chain([watermark]).collect();
        Ok(Self {
            delay_us,
            keys: KeyTable::new(key)?,
            current_us: Vec::new(),
            latest_us: NO_WATERMARK,
            state_schema: Arc::new(Schema::new(fields)),
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

    /// Columns of [`state`](Self::state).
    pub(crate) fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// The keys in the order of their numbers, and their watermarks.
    pub(crate) fn state(&self) -> Result<RecordBatch> {
        if self.current_us.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.state_schema)));
        }
        let mut columns = self.keys.columns(0..self.current_us.len() as u32)?;
        columns.push(Arc::new(Int64Array::from(self.current_us.clone())));
        Ok(RecordBatch::try_new(Arc::clone(&self.state_schema), columns)?)
    }

    /// Goes on from a state; keys have the numbers that they had.
    pub(crate) fn restore(&mut self, state: &RecordBatch) -> Result<()> {
        let (watermarks, key) = state.columns().split_last().expect("a column of watermarks");
        let mut numbers = Vec::new();
        self.keys.intern(state.num_rows(), key, &mut numbers)?;
        debug_assert!(numbers.iter().enumerate().all(|(at, number)| at == *number as usize));
        self.grow(&numbers);
        for (number, watermark_us) in numbers.into_iter().zip(watermarks.as_primitive::<Int64Type>().values()) {
            self.advance(number, *watermark_us);
        }
        Ok(())
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
            second.restore(&first.state().unwrap()).unwrap();
            stamps.extend(observe(&mut second, &ROWS[cut..]));
            assert_eq!(stamps, STAMPS, "cut at {cut}");
            assert_eq!(second.current_us, [99, 8, 58]);
            assert_eq!(second.latest_us(), 99);
        }
    }
}
