//! Conditions that readers go by to leave rows out early.

use std::fmt::Debug;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::error::ArrowError;

/// A condition on rows by some of their columns. A reader that has one may leave out rows for which it is not true before it
/// has decoded their other columns; it need not.
pub trait RowCondition: Debug + Send + Sync {
    /// The columns that it looks at, as indices into the stream's schema.
    fn columns(&self) -> &[usize];

    /// For which rows it is true; `rows` has the [`columns`](Self::columns), in their order.
    ///
    /// # Errors
    /// Whatever keeps it from being told; the rows cannot be read then. A condition of which that may come of a value is none
    /// to give to a reader.
    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray, ArrowError>;
}
