//! Keys and their numbers.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::hash_utils::RandomState;
use datafusion::error::Result;
use hashbrown::HashTable;

use super::codes::Codes;

/// Bytes of removed keys that are left in the arena, at least, before it is written anew.
const GARBAGE_BYTES: usize = 1 << 16;

/// Keys of a fixed number of columns, each with a number that is given again once the key is removed.
///
/// A key is held once, as bytes that compare as the columns do, in one arena.
#[derive(Debug)]
pub(crate) struct KeyTable {
    converter: RowConverter,
    types: Vec<DataType>,
    hasher: RandomState,
    numbers: HashTable<u32>,
    /// Where the key of each number is; free numbers have [`NOWHERE`].
    places: Vec<Place>,
    arena: Vec<u8>,
    free: Vec<u32>,
    /// Bytes of the arena that belong to no key.
    garbage_bytes: usize,
    codes: Codes,
    /// Increased whenever a number gets another key or none.
    version: u64,
}

/// Bytes of the arena.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u64,
    len: u32,
}

const NOWHERE: Place = Place { start: u64::MAX, len: 0 };

impl KeyTable {
    /// A table for keys with these columns.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(Self {
            converter: RowConverter::new(fields)?,
            types,
            hasher: RandomState::default(),
            numbers: HashTable::new(),
            places: Vec::new(),
            arena: Vec::new(),
            free: Vec::new(),
            garbage_bytes: 0,
            codes: Codes::default(),
            version: 0,
        })
    }

    /// How many numbers there are, free ones among them: each is less.
    pub(crate) fn numbers(&self) -> usize {
        self.places.len()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The numbers of all keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.start != NOWHERE.start);
        places.map(|(number, _)| number as u32)
    }

    /// How many columns a key has.
    pub(crate) fn columns_len(&self) -> usize {
        self.types.len()
    }

    /// Another value says that a number has another key than before, or none.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The number of each row's key, new keys being added; `rows` counts where there are no columns. Texts may come as
    /// dictionaries: where all columns do, each combination that occurs is looked up once.
    pub(crate) fn intern(&mut self, rows: usize, columns: &[ArrayRef], numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        numbers.reserve(rows);
        if self.types.is_empty() {
            let only = self.number(&[]);
            numbers.resize(rows, only);
            return Ok(());
        }
        if self.codes.known_numbers(columns, numbers) {
            return Ok(());
        }
        if !self.codes.read(rows, columns) {
            return self.intern_values(columns, numbers);
        }
        let unknown = UInt32Array::from(self.codes.unknown_rows());
        if !unknown.is_empty() {
            let known = columns.iter().map(|column| Ok(take(column, &unknown, None)?)).collect::<Result<Vec<_>>>()?;
            if let Err(error) = self.intern_values(&known, numbers) {
                self.codes.forget();
                return Err(error);
            }
            self.codes.learn(numbers);
        }
        self.codes.numbers(numbers);
        Ok(())
    }

    fn intern_values(&mut self, columns: &[ArrayRef], numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        let plain = columns.iter().zip(&self.types).map(|(column, data_type)| match column.data_type() == data_type {
            true => Ok(ArrayRef::clone(column)),
            false => Ok(cast(column, data_type)?),
        });
        let encoded = self.converter.convert_columns(&plain.collect::<Result<Vec<_>>>()?)?;
        for row in &encoded {
            let number = self.number(row.as_ref());
            numbers.push(number);
        }
        Ok(())
    }

    /// The number of a key of another table with the same columns, if it is here.
    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        let Self { hasher, numbers, places, arena, .. } = self;
        numbers.find(hasher.hash_one(key), |number| bytes_at(arena, places[*number as usize]) == key).copied()
    }

    /// Whether the key of each row is here; `rows` counts where there are no columns.
    pub(crate) fn are_known(&self, rows: usize, columns: &[ArrayRef]) -> Result<Vec<bool>> {
        if self.types.is_empty() {
            return Ok(vec![self.len() > 0; rows]);
        }
        let encoded = self.converter.convert_columns(columns)?;
        Ok(encoded.iter().map(|key| self.find(key.as_ref()).is_some()).collect())
    }

    fn number(&mut self, key: &[u8]) -> u32 {
        if let Some(number) = self.find(key) {
            return number;
        }
        let place = Place {
            start: self.arena.len() as u64,
            len: u32::try_from(key.len()).expect("a key is a part of one batch"),
        };
        self.arena.extend_from_slice(key);
        let number = match self.free.pop() {
            Some(number) => {
                self.places[number as usize] = place;
                number
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("memory ends before four billion keys")
            }
        };
        self.version += 1;
        let Self { hasher, numbers, places, arena, .. } = self;
        let hash_of = |number: &u32| hasher.hash_one(bytes_at(arena, places[*number as usize]));
        numbers.insert_unique(hasher.hash_one(key), number, hash_of);
        number
    }

    /// Forgets a key; its number may be given to another.
    pub(crate) fn remove(&mut self, number: u32) {
        let place = self.places[number as usize];
        if place.start == NOWHERE.start {
            return;
        }
        let hash = self.hasher.hash_one(bytes_at(&self.arena, place));
        if let Ok(entry) = self.numbers.find_entry(hash, |n| *n == number) {
            entry.remove();
        }
        self.places[number as usize] = NOWHERE;
        self.free.push(number);
        self.codes.forget();
        self.version += 1;
        self.garbage_bytes += place.len as usize;
        if self.garbage_bytes > GARBAGE_BYTES.max(self.arena.len() / 2) {
            self.compact();
        }
    }

    /// Writes the arena anew without the bytes of removed keys.
    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(self.arena.len() - self.garbage_bytes);
        for place in self.places.iter_mut().filter(|place| place.start != NOWHERE.start) {
            let start = arena.len() as u64;
            arena.extend_from_slice(bytes_at(&self.arena, *place));
            place.start = start;
        }
        self.arena = arena;
        self.garbage_bytes = 0;
    }

    /// A key as bytes that compare as keys do: ascending, NULL first.
    pub(crate) fn ordered(&self, number: u32) -> &[u8] {
        bytes_at(&self.arena, self.places[number as usize])
    }

    /// The columns of keys.
    pub(crate) fn columns(&self, numbers: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        if self.types.is_empty() {
            return Ok(Vec::new());
        }
        let parser = self.converter.parser();
        let rows = numbers.map(|number| parser.parse(self.ordered(number)));
        Ok(self.converter.convert_rows(rows)?)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.capacity()
            + self.places.capacity() * size_of::<Place>()
            + self.free.capacity() * size_of::<u32>()
            + self.numbers.allocation_size()
            + self.codes.bytes()
    }
}

fn bytes_at(arena: &[u8], place: Place) -> &[u8] {
    let start = usize::try_from(place.start).expect("an index of memory");
    &arena[start..start + place.len as usize]
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
