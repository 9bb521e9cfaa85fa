//! Rows that frames still need, by their number. Numbers ascend; a row that nobody needs goes with the next [`retain`].
//!
//! [`retain`]: HeldRows::retain

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array, new_empty_array};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use std::sync::Arc;

use crate::error::Result;
use crate::snapshot::{TableShape, TableState};

/// Parts of fewer rows than this are put together.
const PART_ROWS: usize = 8_192;

/// Rows with ascending numbers.
#[derive(Debug)]
pub(super) struct HeldRows {
    schema: SchemaRef,
    parts: Vec<Part>,
    rows: usize,
}

#[derive(Debug)]
struct Part {
    numbers: Vec<u64>,
    batch: RecordBatch,
}

impl Part {
    fn index(&self, number: u64) -> usize {
        let (first, last) = (self.numbers[0], self.numbers[self.numbers.len() - 1]);
        match last - first == self.numbers.len() as u64 - 1 {
            true => (number - first) as usize,
            false => self.numbers.binary_search(&number).expect("a row that is needed is held"),
        }
    }
}

impl HeldRows {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, parts: Vec::new(), rows: 0 }
    }

    /// Their columns.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of rows, those included that nobody needs.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds rows with numbers from `first` on, which are greater than all before.
    pub(super) fn push(&mut self, first: u64, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows();
        let numbers = (first..first + batch.num_rows() as u64).collect();
        self.parts.push(Part { numbers, batch });
        // Each row is copied a few times, and there are few parts.
        while let [.., before, last] = self.parts.as_slice()
            && before.numbers.len() <= (2 * last.numbers.len()).min(PART_ROWS)
        {
            let batch = concat_batches(&self.schema, [&before.batch, &last.batch])?;
            let numbers = [before.numbers.as_slice(), &last.numbers].concat();
            self.parts.truncate(self.parts.len() - 2);
            self.parts.push(Part { numbers, batch });
        }
        Ok(())
    }

    /// The rows of these numbers, in this order.
    pub(super) fn gather(&self, numbers: &[u64]) -> Result<RecordBatch> {
        let mut places = Vec::with_capacity(numbers.len());
        let mut part = 0;
        for number in numbers {
            let is_in = |part: &Part| part.numbers[0] <= *number && *number <= part.numbers[part.numbers.len() - 1];
            if !self.parts.get(part).is_some_and(is_in) {
                part = self.parts.partition_point(|part| part.numbers[0] <= *number) - 1;
            }
            places.push((part, self.parts[part].index(*number)));
        }
        let column = |n: usize| -> Result<ArrayRef> {
            let parts: Vec<&dyn Array> = self.parts.iter().map(|part| part.batch.column(n).as_ref()).collect();
            match places.is_empty() {
                true => Ok(new_empty_array(self.schema.field(n).data_type())),
                false => Ok(interleave(&parts, &places)?),
            }
        };
        let columns = (0..self.schema.fields().len()).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    /// Forgets all rows but these, whose numbers ascend.
    pub(super) fn retain(&mut self, numbers: Vec<u64>) -> Result<()> {
        let batch = self.gather(&numbers)?;
        self.rows = numbers.len();
        self.parts.clear();
        if self.rows > 0 {
            self.parts.push(Part { numbers, batch });
        }
        Ok(())
    }

    /// Its table.
    pub(super) fn state_shape(schema: &SchemaRef) -> TableShape {
        let number = Arc::new(Field::new("__number", DataType::UInt64, false));
        let fields = std::iter::once(number).chain(schema.fields().iter().cloned());
        TableShape::whole(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    /// All rows as a table. They are not copied, so that those that nobody needs stay among them.
    pub(super) fn state(&self, shape: &TableShape) -> Result<TableState> {
        let part = |part: &Part| {
            let number: ArrayRef = Arc::new(UInt64Array::from(part.numbers.clone()));
            let columns = std::iter::once(number).chain(part.batch.columns().iter().cloned()).collect();
            Ok(RecordBatch::try_new(Arc::clone(&shape.schema), columns)?)
        };
        Ok(TableState { rows: self.parts.iter().map(part).collect::<Result<_>>()?, gone: None })
    }

    /// One past the last number.
    pub(super) fn end(&self) -> u64 {
        self.parts.last().and_then(|part| part.numbers.last()).map_or(0, |last| last + 1)
    }

    /// Takes rows from a table.
    pub(super) fn restore(&mut self, table: &RecordBatch) -> Result<()> {
        let numbers = table.column(0).as_primitive::<UInt64Type>().values().to_vec();
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let columns = table.columns()[1..].to_vec();
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.rows = numbers.len();
        if self.rows > 0 {
            self.parts.push(Part { numbers, batch });
        }
        Ok(())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |part: &Part| part.batch.get_array_memory_size() + part.numbers.capacity() * size_of::<u64>();
        self.parts.iter().map(bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn held() -> HeldRows {
        HeldRows::new(Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)])))
    }

    fn batch(held: &HeldRows, values: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_new(Arc::clone(&held.schema), vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap()
    }

    fn values(held: &HeldRows, numbers: &[u64]) -> Vec<i64> {
        held.gather(numbers).unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_are_found_by_number_whatever_was_forgotten() {
        let mut held = held();
        let mut next = 0;
        for size in [1, 1, 5, 100, 3, 3, 1, 20_000, 1, 2] {
            held.push(next as u64, batch(&held, next..next + size)).unwrap();
            next += size;
        }
        assert!(held.parts.len() <= 4, "{} parts", held.parts.len());
        assert_eq!(values(&held, &[20_116, 0, 7, 113, 7]), [20_116, 0, 7, 113, 7]);
        held.retain(vec![3, 7, 20_000]).unwrap();
        assert_eq!((held.rows(), held.end()), (3, 20_001));
        held.push(next as u64, batch(&held, next..next + 1)).unwrap();
        assert_eq!(values(&held, &[next as u64, 7, 20_000, 3]), [next, 7, 20_000, 3]);
        let mut again = super::tests::held();
        let shape = HeldRows::state_shape(held.schema());
        again.restore(&held.state(&shape).unwrap().into_rows(&shape).unwrap()).unwrap();
        assert_eq!((values(&again, &[20_000, 7]), again.rows(), again.end()), (vec![20_000, 7], 4, held.end()));
        assert_eq!(values(&again, &[]), Vec::<i64>::new());
    }
}
