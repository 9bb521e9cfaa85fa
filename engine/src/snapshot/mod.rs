//! Stored state: files that hold it together, each but the first only what has changed since the one before it.
//!
//! ```text
//!  state ─▶ increment: what has changed ─▶ merged with older ones (their files) ─▶ file
//! ```

mod file;
mod increment;
mod known_keys;
mod stored_tables;
mod tables;
#[cfg(test)]
mod test_files;
mod tracking;

pub(crate) use file::{Format, Mismatch, append_batches, append_table, take_columns, take_table};
pub(crate) use increment::Increment;
pub(crate) use known_keys::KnownKeys;
pub(crate) use stored_tables::{Place, StoredTables};
pub(crate) use tables::{TableShape, TableState};
#[cfg(test)]
pub(crate) use test_files::TestFiles;
pub(crate) use tracking::Tracking;
