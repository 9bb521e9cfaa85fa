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
use super::tracked::Tracked;

/// Bytes of removed keys that are left in the arena, at least, before it is written anew.
const GARBAGE_BYTES: usize = 1 << 16;

/// Keys that may be gone beside those that there are before all are stored anew.
const SPARE_KEYS: usize = 1 << 12;

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
    /// What has changed, where that is asked for.
    tracked: Option<Tracked>,
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
            tracked: None,
        })
    }

    /// A table that knows which keys have changed since their state was last stored: rows came for them, or it was
    /// [said](Self::mark).
    pub(crate) fn tracked(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { tracked: Some(Tracked::default()), ..Self::new(schema)? })
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
        self.intern_rows(rows, columns, numbers)?;
        self.mark(numbers);
        Ok(())
    }

    fn intern_rows(&mut self, rows: usize, columns: &[ArrayRef], numbers: &mut Vec<u32>) -> Result<()> {
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
        if let Some(tracked) = &mut self.tracked {
            tracked.remove(number, bytes_at(&self.arena, place));
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

    /// The columns of keys that are given as bytes.
    fn columns_of<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    /// The state of keys has changed.
    pub(crate) fn mark(&mut self, numbers: &[u32]) {
        if let Some(tracked) = &mut self.tracked {
            tracked.changes.mark(numbers);
        }
    }

    /// How many keys have changed since the state was last taken.
    pub(crate) fn changed(&self) -> u64 {
        self.tracked.as_ref().map_or(0, |tracked| tracked.changes.count())
    }

    /// Whether a store of what has changed would be about as many keys as there are.
    pub(crate) fn has_mostly_changed(&self) -> bool {
        self.tracked.as_ref().is_some_and(|tracked| tracked.len() >= self.len())
    }

    /// Whether more stored keys are gone than there are: where none can be stored for long, some of them are many times.
    pub(crate) fn has_mostly_gone(&self) -> bool {
        self.tracked.as_ref().is_some_and(|tracked| tracked.gone() > self.len() + SPARE_KEYS)
    }

    /// The state of all keys is to be stored, and takes the place of what was.
    pub(crate) fn change_all(&mut self) {
        self.with_tracked(|tracked, numbers| tracked.change_all(numbers));
    }

    /// All keys are as what is stored says.
    pub(crate) fn restored(&mut self) {
        self.with_tracked(|tracked, numbers| tracked.restored(numbers));
    }

    /// The state of the keys that have changed is about to be stored.
    pub(crate) fn take_changes(&mut self) {
        if let Some(tracked) = &mut self.tracked {
            tracked.take();
        }
    }

    fn with_tracked(&mut self, change: impl FnOnce(&mut Tracked, &mut dyn Iterator<Item = u32>)) {
        if let Some(mut tracked) = self.tracked.take() {
            change(&mut tracked, &mut self.iter());
            self.tracked = Some(tracked);
        }
    }

    /// Whether a key is of those that were [taken](Self::take_changes).
    pub(crate) fn is_taken(&self, number: u32) -> bool {
        self.tracked.as_ref().is_none_or(|tracked| tracked.changes.is_taken(number))
    }

    /// The keys that were taken and have no state: those that are gone, and those that are not among these.
    pub(crate) fn taken_without(&self, with_state: impl Iterator<Item = u32>) -> Result<(usize, Vec<ArrayRef>)> {
        let Some(tracked) = &self.tracked else { return Ok((0, Vec::new())) };
        let without = self.taken_numbers_without(with_state);
        let keys: Vec<&[u8]> = tracked.gone_taken().chain(without.iter().map(|key| self.ordered(*key))).collect();
        match self.types.is_empty() {
            true => Ok((keys.len(), Vec::new())),
            false => Ok((keys.len(), self.columns_of(keys.into_iter())?)),
        }
    }

    /// The numbers of those that are not gone.
    pub(crate) fn taken_numbers_without(&self, with_state: impl Iterator<Item = u32>) -> Vec<u32> {
        let Some(tracked) = &self.tracked else { return Vec::new() };
        let mut has_state = vec![0_u64; self.places.len().div_ceil(64)];
        for number in with_state {
            has_state[number as usize / 64] |= 1 << (number % 64);
        }
        let is_there =
            |number: &u32| self.places.get(*number as usize).is_some_and(|place| place.start != NOWHERE.start);
        tracked.taken_without(&has_state).filter(is_there).collect()
    }

    /// What was taken is stored.
    pub(crate) fn stored(&mut self) {
        if let Some(tracked) = &mut self.tracked {
            tracked.stored();
        }
    }

    /// What was taken could not be stored: it has changed still.
    pub(crate) fn not_stored(&mut self) {
        if let Some(tracked) = &mut self.tracked {
            tracked.not_stored();
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.tracked.as_ref().map_or(0, Tracked::bytes)
            + self.arena.capacity()
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
