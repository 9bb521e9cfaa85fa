//! Keys and their numbers.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::common::hash_utils::RandomState;
use datafusion::error::Result;
use hashbrown::HashTable;

/// Keys of a fixed number of columns, each with a number that is given again once the key is removed.
#[derive(Debug)]
pub(crate) struct KeyTable {
    converter: RowConverter,
    columns: usize,
    hasher: RandomState,
    numbers: HashTable<u32>,
    /// The key of each number, encoded so that bytes compare as keys do; empty where the number is free.
    keys: Vec<Option<Box<[u8]>>>,
    free: Vec<u32>,
    key_bytes: usize,
}

impl KeyTable {
    /// A table for keys with these columns.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            columns: schema.fields().len(),
            hasher: RandomState::default(),
            numbers: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
            key_bytes: 0,
        })
    }

    /// The number of each row's key, new keys being added; `rows` counts where there are no columns.
    pub(crate) fn intern(&mut self, rows: usize, columns: &[ArrayRef], numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        numbers.reserve(rows);
        if self.columns == 0 {
            let only = self.number(&[]);
            numbers.resize(rows, only);
            return Ok(());
        }
        let encoded = self.converter.convert_columns(columns)?;
        for row in &encoded {
            let number = self.number(row.as_ref());
            numbers.push(number);
        }
        Ok(())
    }

    fn number(&mut self, key: &[u8]) -> u32 {
        let Self { hasher, numbers, keys, free, .. } = self;
        let hash = hasher.hash_one(key);
        let is_key = |number: &u32| keys[*number as usize].as_deref() == Some(key);
        if let Some(number) = numbers.find(hash, is_key) {
            return *number;
        }
        let number = free.pop().unwrap_or_else(|| {
            keys.push(None);
            u32::try_from(keys.len() - 1).expect("memory ends before four billion keys")
        });
        keys[number as usize] = Some(key.into());
        self.key_bytes += key.len();
        let keys = &self.keys;
        let hash_of = |number: &u32| hasher.hash_one(keys[*number as usize].as_deref().expect("listed keys are there"));
        numbers.insert_unique(hash, number, hash_of);
        number
    }

    /// Forgets a key; its number may be given to another.
    pub(crate) fn remove(&mut self, number: u32) {
        let Some(key) = self.keys[number as usize].take() else { return };
        self.key_bytes -= key.len();
        let hash = self.hasher.hash_one(&*key);
        if let Ok(entry) = self.numbers.find_entry(hash, |n| *n == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    /// A key as bytes that compare as keys do: ascending, NULL first.
    pub(crate) fn ordered(&self, number: u32) -> &[u8] {
        self.keys[number as usize].as_deref().expect("the number of a key that is there")
    }

    /// The columns of keys.
    pub(crate) fn columns(&self, numbers: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        if self.columns == 0 {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let rows = numbers.map(|number| parser.parse(self.ordered(number)));
        Ok(self.converter.convert_rows(rows)?)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.key_bytes
            + self.keys.capacity() * size_of::<Option<Box<[u8]>>>()
            + self.free.capacity() * size_of::<u32>()
            + self.numbers.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn table() -> KeyTable {
        let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
        KeyTable::new(&Arc::new(Schema::new(fields))).unwrap()
    }

    fn columns(keys: &[(Option<&str>, Option<i64>)]) -> Vec<ArrayRef> {
        let (a, b): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
        vec![Arc::new(StringArray::from(a)), Arc::new(Int64Array::from(b))]
    }

    fn intern(table: &mut KeyTable, keys: &[(Option<&str>, Option<i64>)]) -> Vec<u32> {
        let mut numbers = Vec::new();
        table.intern(keys.len(), &columns(keys), &mut numbers).unwrap();
        numbers
    }

    #[test]
    fn equal_keys_have_one_number_and_nulls_are_keys() {
        let mut table = table();
        let keys = [(Some("x"), Some(1)), (None, Some(1)), (Some("x"), Some(1)), (None, None), (None, Some(1))];
        let numbers = intern(&mut table, &keys);
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        let back = table.columns(numbers.into_iter()).unwrap();
        assert_eq!(back, columns(&keys));
    }

    #[test]
    fn a_removed_key_leaves_its_number_to_another() {
        let mut table = table();
        intern(&mut table, &[(Some("x"), None), (Some("y"), None)]);
        table.remove(0);
        assert_eq!(intern(&mut table, &[(Some("z"), None), (Some("y"), None), (Some("x"), None)]), [0, 1, 2]);
    }

    #[test]
    fn keys_compare_as_their_columns() {
        let mut table = table();
        let numbers =
            intern(&mut table, &[(None, Some(9)), (Some("a"), Some(-1)), (Some("a"), Some(2)), (Some("b"), None)]);
        assert!(numbers.windows(2).all(|two| table.ordered(two[0]) < table.ordered(two[1])));
    }

    #[test]
    fn without_columns_all_rows_have_one_key() {
        let mut table = KeyTable::new(&Arc::new(Schema::empty())).unwrap();
        let mut numbers = Vec::new();
        table.intern(3, &[], &mut numbers).unwrap();
        assert_eq!(numbers, [0, 0, 0]);
    }
}
