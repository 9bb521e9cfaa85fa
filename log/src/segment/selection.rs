//! Which rows of a segment a condition is true for. It is told while the segment is opened, of the condition's columns alone;
//! of the other columns only what is left is decoded (late materialization; Abadi et al., ICDE 2007).

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::error::ArrowError;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter};
use parquet::schema::types::SchemaDescriptor;

use crate::condition::RowCondition;

/// The rows of a segment that are left.
#[derive(Debug)]
pub(super) struct Selection {
    /// Their distances from the offset that reading began at, ascending.
    left: Arc<Mutex<VecDeque<u32>>>,
    /// Distance of the next row that was neither handed out nor left out.
    next: u32,
}

impl Selection {
    /// A filter for the reader of a segment, and what it will have selected once the reader is built.
    pub(super) fn of(condition: &Arc<dyn RowCondition>, schema: &SchemaDescriptor) -> (RowFilter, Self) {
        let left = Arc::<Mutex<VecDeque<u32>>>::default();
        let mut columns = condition.columns().to_vec();
        columns.sort_unstable();
        columns.dedup();
        let mask = ProjectionMask::roots(schema, columns.iter().copied());
        // The file has them in the order of the schema.
        let at = |column: &usize| columns.binary_search(column).expect("it is one of them");
        let asked: Vec<usize> = condition.columns().iter().map(at).collect();
        let (condition, found) = (Arc::clone(condition), Arc::clone(&left));
        let mut looked_at = 0_u32;
        let select = move |batch: RecordBatch| {
            let holds = condition.holds(&batch.project(&asked)?)?;
            if holds.len() != batch.num_rows() {
                let (expected, found) = (batch.num_rows(), holds.len());
                return Err(ArrowError::ComputeError(format!("condition: expected {expected} answers, found {found}")));
            }
            let is_true = match holds.nulls() {
                None => holds.values().clone(),
                Some(nulls) => holds.values() & nulls.inner(),
            };
            found.lock().extend(is_true.set_indices().map(|row| looked_at + row as u32));
            looked_at += batch.num_rows() as u32;
            Ok(holds)
        };
        (RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, select))]), Self { left, next: 0 })
    }

    /// The place of a batch that was decoded: how many rows were looked at, and the distances of those in the batch from the
    /// first of them; `None` when the filter has selected fewer.
    pub(super) fn place(&mut self, rows: usize) -> Option<(u64, UInt32Array)> {
        let mut left = self.left.lock();
        let start = self.next;
        let found = left.get(rows.checked_sub(1)?).copied()?;
        self.next = found + 1;
        Some((u64::from(self.next - start), left.drain(..rows).map(|distance| distance - start).collect()))
    }
}
