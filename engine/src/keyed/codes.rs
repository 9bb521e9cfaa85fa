//! Keys that come as dictionaries: the numbers of the combinations of their codes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int32Type};

/// Combinations for which a table of numbers is kept, at most.
const COMBINATIONS: usize = 1 << 16;

/// Stands for a number that is not known.
const UNKNOWN: u32 = u32::MAX;

/// Stands for a number between [`Codes::unknown_rows`] and [`Codes::learn`].
const MET: u32 = UNKNOWN - 1;

/// Rows as combinations of dictionary codes, and what is known of the numbers of those. It is known for as long as the same
/// dictionaries come.
#[derive(Debug, Default)]
pub(super) struct Codes {
    dictionaries: Vec<ArrayRef>,
    /// By combination.
    numbers: Vec<u32>,
    /// The combination of each row.
    rows: Vec<u32>,
    /// Combinations that were met and whose number is not known.
    unknown: Vec<u32>,
}

impl Codes {
    /// The number of each row, where there is one column, none of its rows is NULL, and all numbers are known.
    pub(super) fn known_numbers(&self, columns: &[ArrayRef], numbers: &mut Vec<u32>) -> bool {
        let [column] = columns else { return false };
        if !is_dictionary(column) || self.dictionaries.len() != 1 {
            return false;
        }
        let column = column.as_dictionary::<Int32Type>();
        if column.keys().null_count() > 0 || !is_same(&self.dictionaries[0], column.values()) {
            return false;
        }
        let mut all_known = true;
        numbers.clear();
        numbers.extend(column.keys().values().iter().map(|code| {
            let number = self.numbers[*code as usize];
            all_known &= number < MET;
            number
        }));
        all_known
    }

    /// Takes rows; false where not all columns are dictionaries, or they have too many combinations.
    pub(super) fn read(&mut self, rows: usize, columns: &[ArrayRef]) -> bool {
        if !columns.iter().all(is_dictionary) {
            return false;
        }
        let dictionaries = || columns.iter().map(|column| column.as_dictionary::<Int32Type>().values());
        let same = self.dictionaries.len() == columns.len()
            && self.dictionaries.iter().zip(dictionaries()).all(|(known, found)| is_same(known, found));
        if !same {
            // One code more than there are values: NULL.
            let sizes = dictionaries().map(|values| values.len() + 1);
            let combinations = sizes.fold(1_usize, usize::saturating_mul);
            if combinations > COMBINATIONS.min(rows.saturating_mul(4)) {
                return false;
            }
            self.dictionaries = dictionaries().cloned().collect();
            self.numbers.clear();
            self.numbers.resize(combinations, UNKNOWN);
        }
        self.rows.clear();
        self.rows.resize(rows, 0);
        for column in columns {
            let column = column.as_dictionary::<Int32Type>();
            let size = column.values().len() as u32 + 1;
            let codes = column.keys().values();
            match column.keys().nulls() {
                None => {
                    for (row, code) in self.rows.iter_mut().zip(codes) {
                        *row = *row * size + *code as u32;
                    }
                }
                Some(nulls) => {
                    for ((row, code), is_valid) in self.rows.iter_mut().zip(codes).zip(nulls) {
                        *row = *row * size + if is_valid { *code as u32 } else { size - 1 };
                    }
                }
            }
        }
        true
    }

    /// One row of each combination whose number is not known.
    pub(super) fn unknown_rows(&mut self) -> Vec<u32> {
        self.unknown.clear();
        let mut first = Vec::new();
        for (row, combination) in self.rows.iter().enumerate() {
            let number = &mut self.numbers[*combination as usize];
            if *number == UNKNOWN {
                *number = MET;
                self.unknown.push(*combination);
                first.push(row as u32);
            }
        }
        first
    }

    /// The numbers of the rows that [`unknown_rows`](Self::unknown_rows) gave.
    pub(super) fn learn(&mut self, numbers: &[u32]) {
        for (combination, number) in self.unknown.drain(..).zip(numbers) {
            self.numbers[combination as usize] = *number;
        }
    }

    /// The number of each row.
    pub(super) fn numbers(&self, numbers: &mut Vec<u32>) {
        numbers.clear();
        numbers.extend(self.rows.iter().map(|combination| self.numbers[*combination as usize]));
    }

    /// A number has another key now.
    pub(super) fn forget(&mut self) {
        self.dictionaries.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        (self.numbers.capacity() + self.rows.capacity() + self.unknown.capacity()) * size_of::<u32>()
    }
}

fn is_dictionary(column: &ArrayRef) -> bool {
    matches!(column.data_type(), DataType::Dictionary(index, _) if **index == DataType::Int32)
}

/// Whether two dictionaries are the same memory; it is not given to others while one of them is held.
fn is_same(known: &ArrayRef, found: &ArrayRef) -> bool {
    known.to_data().ptr_eq(&found.to_data())
}
