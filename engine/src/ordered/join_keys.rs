//! Keys of joined inputs: the first columns of each. A key with a NULL is equal to nothing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{and, filter, is_not_null};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::internal_err;

use crate::error::Result;
use crate::keyed::KeyTable;

/// The number of a key that is equal to nothing.
pub(crate) const NO_KEY: u32 = u32::MAX;

/// Numbers of keys.
#[derive(Debug)]
pub(crate) struct JoinKeys {
    columns: usize,
    table: KeyTable,
}

impl JoinKeys {
    /// For inputs whose first `columns` columns are the keys.
    pub(crate) fn try_new(columns: usize, inputs: [&SchemaRef; 2]) -> Result<Self> {
        let fields = |input: &SchemaRef| input.fields()[..columns].to_vec();
        let types = |input: &SchemaRef| fields(input).iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        if types(inputs[0]) != types(inputs[1]) {
            return Ok(internal_err!("keys of different types: {:?}, {:?}", types(inputs[0]), types(inputs[1]))?);
        }
        let schema = Arc::new(Schema::new(fields(inputs[0])));
        Ok(Self { columns, table: KeyTable::new(&schema)? })
    }

    /// The number of each row's key, new keys being added.
    pub(crate) fn intern(&mut self, rows: &RecordBatch, numbers: &mut Vec<u32>) -> Result<()> {
        let keys = &rows.columns()[..self.columns];
        if keys.iter().all(|key| key.null_count() == 0) {
            return Ok(self.table.intern(rows.num_rows(), keys, numbers)?);
        }
        let mut known = BooleanArray::from(vec![true; rows.num_rows()]);
        for key in keys {
            known = and(&known, &is_not_null(key)?)?;
        }
        let of_known: Vec<ArrayRef> = keys.iter().map(|key| filter(key, &known)).collect::<Result<_, _>>()?;
        let mut of_known_numbers = Vec::new();
        self.table.intern(known.true_count(), &of_known, &mut of_known_numbers)?;
        let mut next = of_known_numbers.into_iter();
        numbers.clear();
        numbers.extend(known.values().iter().map(|known| match known {
            true => next.next().expect("one for each row without NULL"),
            false => NO_KEY,
        }));
        Ok(())
    }

    /// Forgets a key; its number may be given to another.
    pub(crate) fn remove(&mut self, number: u32) {
        self.table.remove(number);
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.table.bytes()
    }
}
