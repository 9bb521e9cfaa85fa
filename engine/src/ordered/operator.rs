//! What takes rows in event-time order.

use std::fmt::Debug;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::absence::Absence;
use crate::error::Result;
use crate::query::FailedRow;

/// Rows of all inputs in event-time order.
#[derive(Debug, Default)]
pub(crate) struct OrderedRows {
    /// Event times of all rows, ascending.
    pub(crate) times_us: Vec<i64>,
    /// The input of each row; its rows stand in `batches[input]` in the same order.
    pub(crate) inputs: Vec<u8>,
    /// Each input's rows.
    pub(crate) batches: Vec<RecordBatch>,
}

/// Takes rows in event-time order, and says what comes of them.
///
/// Contract: the rows that all calls of [`advance`](Self::advance) return, one after the other, are the same however the rows
/// are cut into calls of [`update`](Self::update), and wherever the watermark stops in between.
pub(crate) trait OrderedOperator: Debug + Send {
    /// Takes the next rows; they come after all rows that came before.
    fn update(&mut self, rows: &OrderedRows) -> Result<()>;

    /// All rows before the watermark have come: what is complete by that, in a fixed order.
    fn advance(&mut self, watermark_us: i64) -> Result<Vec<RecordBatch>>;

    /// Rows that it made since it was last asked and that an expression of its own has failed on, with the reasons; like
    /// what it emits, a function of the sequence of rows.
    fn take_failed(&mut self) -> Vec<(RecordBatch, Vec<FailedRow>)> {
        Vec::new()
    }

    /// The watermark that would complete everything it holds; `None` where it holds nothing that time completes.
    fn horizon_us(&self) -> Option<i64>;

    /// Columns of each table of its state.
    fn state_schemas(&self) -> &[SchemaRef];

    /// Its state as tables.
    fn state(&mut self) -> Result<Vec<RecordBatch>>;

    /// Goes on from a state, as if it had never been stored; called before any row.
    fn restore(&mut self, state: &[RecordBatch]) -> Result<()>;

    /// Bytes held.
    fn bytes(&self) -> usize;

    /// The one that watches for silence: it is told what time does where no rows come.
    fn as_absence(&mut self) -> Option<&mut Absence> {
        None
    }
}
