//! `COUNT_WINDOW` and `STATE_WINDOW` by key: rows begin and end their windows, no watermark does. So the operators of rows in
//! event-time order do: no key of theirs sees another's rows.

use arrow::array::RecordBatch;

use super::{Advance, ByKeyOperator};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::ordered::{OrderedOperator, OrderedRows};
use crate::snapshot::{TableShape, TableState};
use crate::watermark::NO_WATERMARK;

/// An operator that looks at no watermark, and emits in the order of its rows.
#[derive(Debug)]
pub(super) struct RowDriven {
    operator: Box<dyn OrderedOperator>,
}

impl RowDriven {
    pub(super) fn new(operator: Box<dyn OrderedOperator>) -> Self {
        Self { operator }
    }
}

impl ByKeyOperator for RowDriven {
    fn update(&mut self, rows: &OrderedRows, _keys: &[u32], _advances: &[Advance]) -> Result<Vec<RecordBatch>> {
        self.operator.update(rows)?;
        self.operator.advance(NO_WATERMARK)
    }

    fn horizons_us(&self) -> Vec<(u32, i64)> {
        Vec::new()
    }

    fn state_shapes(&self) -> &[TableShape] {
        self.operator.state_shapes()
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        self.operator.state()
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        self.operator.tracked()
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        self.operator.restore(state)
    }

    fn bytes(&self) -> usize {
        self.operator.bytes()
    }
}
