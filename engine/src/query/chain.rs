//! The files that hold a state, of a partition or a query: each but the first holds what has changed since the one before it.
//!
//! ```text
//!  checkpoint ─▶ groups that have changed ─▶ put together with the last files that are not twice as large ─▶ one new file
//! ```
//!
//! So every file holds at least twice as many groups as the next one. A chain over n groups is at most log2(n) + 1 files,
//! with fewer than 2n groups in them. A file is read and written again only with newer ones that hold more than half as
//! many groups, which by that come to lie in a file at least twice as large: a group that a checkpoint stores is written at
//! most three times per doubling from the size of an increment to that of the state. (Of increments of a tenth of the state
//! about three times in all.)
//!
//! A file that is replaced stays until the chain without it is committed: see `remove_older_snapshots`.

use thermocline_log::{Log, Stream};

use super::holds_every_row;
use super::progress::Ledger;
use crate::error::{Error, Result};
use crate::snapshot::Increment;

/// The files of a state, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    files: Vec<File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    name: String,
    size: usize,
}

/// A chain with its states, the newest first.
pub(super) type Restored<S> = (Chain, Vec<S>);

/// Why a state was not stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// What it adds to cannot be read: a whole state has to take its place.
    Chain(Error),
    /// It cannot be written.
    File(Error),
}

impl Chain {
    /// Reads the chain of these files; `None` when one is of another shape.
    pub(super) fn read<S: Increment>(log: &Log, names: &[String], shape: &S::Shape) -> Result<Option<Restored<S>>> {
        let states = backwards(log, names, None, shape).collect::<Result<Option<Vec<S>>>>()?;
        let Some(states) = states else { return Ok(None) };
        if let (Some(oldest), Some(after)) = (names.first(), states.last().and_then(S::after)) {
            return Err(mismatch(log, oldest, "a whole state".into(), format!("what was added to offset {after}")));
        }
        let files = names.iter().zip(states.iter().rev());
        let files = files.map(|(name, state)| File { name: name.clone(), size: state.size() }).collect();
        Ok(Some((Self { files }, states)))
    }

    /// Names of its files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Writes a state that adds to this one to a file of that name, together with the files that give way to it.
    pub(super) fn extended<S: Increment>(
        mut self,
        log: &Log,
        name: String,
        state: S,
        shape: &S::Shape,
    ) -> Result<Self, NotStored> {
        if state.after().is_none() {
            self.files.clear();
        }
        let given_way = self.files.split_off(self.files_that_stay(state.size()));
        let names: Vec<String> = given_way.into_iter().map(|file| file.name).collect();
        let older = backwards(log, &names, Some(state.after()), shape).zip(names.iter().rev());
        let mut older = older.map(|(state, name): (Result<Option<S>>, _)| {
            state?.ok_or_else(|| mismatch(log, name, "columns of this query".into(), "others".into()))
        });
        let state = S::merge(state, &mut older, shape).map_err(NotStored::Chain)?;
        let size = state.size();
        state.write(log, &name, shape).map_err(NotStored::File)?;
        self.files.push(File { name, size });
        Ok(self)
    }

    /// How many files stay when so much is added. A file that stays is at least twice as large as all that is newer.
    fn files_that_stay(&self, size: usize) -> usize {
        // One more than its size, so that files without anything give way too.
        let mut size = size + 1;
        let mut stay = self.files.len();
        while let Some(last) = self.files[..stay].last().filter(|last| last.size + 1 < 2 * size) {
            size += last.size + 1;
            stay -= 1;
        }
        stay
    }
}

/// Reads files of a chain backwards. `newer` is what the state after them adds to, if there is one.
fn backwards<'a, S: Increment>(
    log: &'a Log,
    names: &'a [String],
    mut newer: Option<Option<u64>>,
    shape: &'a S::Shape,
) -> impl Iterator<Item = Result<Option<S>>> + use<'a, S> {
    names.iter().rev().map(move |name| {
        let Some(state) = S::read(log, name, shape)? else { return Ok(None) };
        if let Some(expected) = newer.replace(state.after())
            && expected != Some(state.position())
        {
            let expected = expected.map_or("no file before a whole state".into(), |offset| format!("offset {offset}"));
            return Err(mismatch(log, name, expected, format!("a state up to offset {}", state.position())));
        }
        Ok(Some(state))
    })
}

fn mismatch(log: &Log, name: &str, expected: String, found: String) -> Error {
    Error::State { name: log.state_dir().join(name).display().to_string(), expected, found }
}

/// The chains of a stream's partitions; `None` when one holds other types than the query's columns have now, or cannot be
/// read: it only saves reading the rows again that it was made of. Where some of those are gone, a file that cannot be read
/// is an error: windows of what is left would be wrong.
pub(super) fn stored_chains<S: Increment>(
    query: &str,
    ledger: &Ledger,
    log: &Log,
    stream: &Stream,
    shape: &S::Shape,
) -> Result<Option<Vec<Restored<S>>>> {
    let chains = (0..stream.partitions()).map(|partition| {
        let files = ledger.snapshot_files(log, partition);
        Chain::read(log, &files, shape).or_else(|error| read_again(query, error, holds_every_row(log, stream)))
    });
    chains.collect()
}

/// A state that cannot be read is none where all rows are held that it was made of.
pub(super) fn read_again<T>(query: &str, error: Error, are_held: bool) -> Result<Option<T>> {
    match error {
        error @ (Error::State { .. } | Error::Log(_)) if are_held => {
            tracing::warn!(query, %error, "snapshot cannot be read: its rows are read again");
            Ok(None)
        }
        error => Err(error),
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
