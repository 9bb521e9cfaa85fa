//! What a chain of files is made of.

use thermocline_log::Log;

use crate::error::{Error, Result};
use crate::snapshot::Mismatch;

/// A state, or what has changed of one since another.
pub(crate) trait Increment: Sized {
    /// What it takes to read one.
    type Shape: ?Sized;

    /// How far it goes: a count of rows.
    fn position(&self) -> u64;

    /// How far the state goes that it adds to; `None` where it is a whole one.
    fn after(&self) -> Option<u64>;

    /// How much it holds: a count of groups, or rows.
    fn size(&self) -> usize;

    /// The state that `newest` makes with those before it, which come newest first.
    fn merge(newest: Self, older: &mut dyn Iterator<Item = Result<Self>>, shape: &Self::Shape) -> Result<Self>;

    /// The bytes of a file.
    fn encode(self, shape: &Self::Shape) -> Result<Vec<u8>>;

    /// From the bytes of a file; `None` when they are of another shape.
    fn decode(bytes: &[u8], shape: &Self::Shape) -> Result<Option<Self>, Mismatch>;

    /// Writes a state file of its own and makes it durable.
    fn write(self, log: &Log, name: &str, shape: &Self::Shape) -> Result<()> {
        Ok(log.write_state_file(name, &self.encode(shape)?)?)
    }

    /// Reads a state file; `None` when it is of another shape: a column that the query reads was widened since.
    fn read(log: &Log, name: &str, shape: &Self::Shape) -> Result<Option<Self>> {
        Self::decode(&log.read_state_file(name)?, shape).map_err(|(expected, found)| Error::State {
            name: log.state_dir().join(name).display().to_string(),
            expected,
            found,
        })
    }
}
