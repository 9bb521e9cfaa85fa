//! Files of a state in memory, as a chain would have them, for tests.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::{Format, Increment, Place, StoredTables, TableShape, TableState};

#[derive(Debug, Serialize, Deserialize)]
struct Nothing {}

impl Place for Nothing {
    const FORMAT: Format = Format { magic: b"TCTEST", oldest: 1, version: 1 };
}

/// The bytes of files, oldest first.
#[derive(Debug, Default)]
pub(crate) struct TestFiles {
    files: Vec<Vec<u8>>,
    taken: u64,
}

impl TestFiles {
    /// Stores what was taken, but for every third time; every other time together with the file before. Returns how far the
    /// state is stored by that.
    pub(crate) fn store(&mut self, after: Option<u64>, tables: Vec<TableState>, shapes: &[TableShape]) -> Option<u64> {
        self.taken += 1;
        if self.taken.is_multiple_of(3) {
            return None;
        }
        let mut state = StoredTables { position: self.taken, after, place: Nothing {}, tables };
        if after.is_none() {
            self.files.clear();
        }
        if self.taken.is_multiple_of(2)
            && let Some(before) = self.files.pop()
        {
            let before = read(&before, shapes);
            assert_eq!(state.after, Some(before.position));
            state = StoredTables::merge(state, &mut std::iter::once(Ok(before)), shapes).unwrap();
        }
        self.files.push(state.encode(shapes).unwrap());
        Some(self.taken)
    }

    /// The tables of the state that they hold.
    pub(crate) fn read(&self, shapes: &[TableShape]) -> Vec<RecordBatch> {
        let mut states = self.files.iter().rev().map(|file| read(file, shapes));
        let newest = states.next().expect("a state is stored");
        let whole = StoredTables::merge(newest, &mut states.map(Ok), shapes).unwrap();
        assert_eq!(whole.after, None);
        whole.into_tables(shapes).unwrap().1
    }
}

fn read(file: &[u8], shapes: &[TableShape]) -> StoredTables<Nothing> {
    StoredTables::decode(file, shapes).unwrap().expect("of the same columns")
}
