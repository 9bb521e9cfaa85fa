//! What takes rows in event-time order.

use std::fmt::Debug;

use arrow::array::RecordBatch;

use super::absence::Absence;
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::query::FailedRow;
use crate::snapshot::{TableShape, TableState};

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

    /// The tables of its state.
    fn state_shapes(&self) -> &[TableShape];

    /// Its state as tables; of keys that are [tracked](Self::tracked), those that were taken.
    fn state(&mut self) -> Result<Vec<TableState>>;

    /// Tables of keys that know which of them have changed.
    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        Vec::new()
    }

    /// Goes on from a whole state, as if it had never been stored; called before any row.
    fn restore(&mut self, state: &[RecordBatch]) -> Result<()>;

    /// Bytes held.
    fn bytes(&self) -> usize;

    /// The one that watches for silence: it is told what time does where no rows come.
    fn as_absence(&mut self) -> Option<&mut Absence> {
        None
    }
}

/// All of an operator's state, as a snapshot would have it.
#[cfg(test)]
pub(crate) fn whole_state(operator: &mut dyn OrderedOperator) -> Result<Vec<RecordBatch>> {
    let mut tracking = crate::snapshot::Tracking::default();
    tracking.take(operator.tracked());
    let tables = operator.state()?;
    tracking.not_stored(operator.tracked());
    tables.into_iter().zip(operator.state_shapes()).map(|(table, shape)| table.into_rows(shape)).collect()
}
