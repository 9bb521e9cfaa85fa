//! What the windows that rows make share, `SESSION`, `COUNT_WINDOW` and `STATE_WINDOW`: keys of rows, a slot of accumulators
//! for each open window, rows of ended ones, tables of open ones.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::common::{DFSchema, DataFusionError};
use thermocline_sql::KeyedAggregate;

use crate::error::Result;
use crate::keyed::{Accumulators, Bounds, KeyTable, KeyedFunctions, KeyedRows};
use crate::snapshot::{TableShape, TableState};

/// Windows that are emitted as one batch, at most.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Keys, and the accumulators of their open windows.
#[derive(Debug)]
pub(crate) struct WindowSlots {
    functions: KeyedFunctions,
    pub(crate) keys: KeyTable,
    accumulators: Accumulators,
}

/// A window that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) key: u32,
    pub(crate) slot: u32,
    pub(crate) start_us: i64,
    pub(crate) end_us: i64,
}

/// Rows of a table of open windows.
#[derive(Debug)]
pub(crate) struct Restored {
    /// The key's number.
    pub(crate) keys: Vec<u32>,
    /// The operator's own columns.
    pub(crate) own: Vec<Vec<i64>>,
}

impl WindowSlots {
    pub(crate) fn try_new(aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let functions = KeyedFunctions::try_new(aggregate, input_schema)?;
        let keys = KeyTable::tracked(functions.key_schema())?;
        let accumulators = functions.accumulators()?;
        Ok(Self { functions, keys, accumulators })
    }

    /// Evaluates rows; the number of each row's key.
    pub(crate) fn evaluate(&mut self, rows: &RecordBatch) -> Result<(KeyedRows, Vec<u32>)> {
        let evaluated = self.evaluate_rows(rows)?;
        let numbers = self.numbers(&evaluated, rows.num_rows())?;
        Ok((evaluated, numbers))
    }

    /// Evaluates rows.
    pub(crate) fn evaluate_rows(&self, rows: &RecordBatch) -> Result<KeyedRows, DataFusionError> {
        self.functions.evaluate(rows)
    }

    /// The number of the key of each of so many rows.
    pub(crate) fn numbers(&mut self, evaluated: &KeyedRows, rows: usize) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        self.keys.intern(rows, &evaluated.keys, &mut numbers)?;
        // Without columns a key is interned even where there is no row.
        numbers.truncate(rows);
        Ok(numbers)
    }

    /// A slot for a new window.
    pub(crate) fn allocate(&mut self) -> u32 {
        self.accumulators.allocate()
    }

    /// Adds rows in their order, each to the slot of its window.
    pub(crate) fn update(&mut self, rows: &KeyedRows, slots: &[u32]) -> Result<()> {
        Ok(self.accumulators.update(&rows.arguments, &rows.filters, slots)?)
    }

    /// Adds the rows of these indices, each to a slot; one that is in several windows stands several times.
    pub(crate) fn update_at(&mut self, rows: &KeyedRows, indices: &[u32], slots: &[u32]) -> Result<()> {
        let Some(first) = indices.first() else { return Ok(()) };
        let rows = match indices.windows(2).all(|two| two[0] + 1 == two[1]) {
            true => rows.slice(*first as usize, indices.len()),
            false => rows.take(&UInt32Array::from_iter_values(indices.iter().copied()))?,
        };
        self.update(&rows, slots)
    }

    /// Ended windows as rows, in their order; their slots are free after it.
    pub(crate) fn emit(&mut self, ended: &[Ended]) -> Result<RecordBatch> {
        let slots: Vec<u32> = ended.iter().map(|e| e.slot).collect();
        let results = self.accumulators.take(&slots)?;
        self.output(ended, results)
    }

    /// What has come of windows so far, as rows, in their order; they go on.
    pub(crate) fn preview(&mut self, windows: &[Ended]) -> Result<RecordBatch> {
        let slots: Vec<u32> = windows.iter().map(|e| e.slot).collect();
        let results = self.accumulators.evaluate(&slots)?;
        self.output(windows, results)
    }

    /// Gives slots back without a result.
    pub(crate) fn free(&mut self, slots: &[u32]) -> Result<()> {
        if !slots.is_empty() {
            self.accumulators.take(slots)?;
        }
        Ok(())
    }

    fn output(&self, windows: &[Ended], results: Vec<ArrayRef>) -> Result<RecordBatch> {
        let bounds: Vec<Bounds> = windows.iter().map(|e| Bounds { start_us: e.start_us, end_us: e.end_us }).collect();
        let keys = self.keys.columns(windows.iter().map(|e| e.key))?;
        Ok(self.functions.output(&bounds, &keys, results)?)
    }

    /// A table of open windows, whose columns are the key's, the operator's own, the accumulators'.
    pub(crate) fn window_shape(&self, own: &[&str]) -> Result<TableShape> {
        let mut fields = self.key_fields(own);
        fields.extend(self.functions.state_fields()?.into_iter().map(Arc::new));
        Ok(self.shape(fields))
    }

    /// A table of keys, whose columns are the key's, the operator's own.
    pub(crate) fn key_shape(&self, own: &[&str]) -> TableShape {
        self.shape(self.key_fields(own))
    }

    fn shape(&self, fields: Vec<Arc<Field>>) -> TableShape {
        TableShape::by_key(Arc::new(Schema::new(fields)), 0..self.functions.key_schema().fields().len())
    }

    fn key_fields(&self, own: &[&str]) -> Vec<Arc<Field>> {
        let own = own.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false)));
        self.functions.key_schema().fields().iter().cloned().chain(own).collect()
    }

    /// A table of open windows of keys that were taken: of each the key's number, its slot and the operator's own values.
    pub(crate) fn windows<const N: usize>(
        &mut self,
        shape: &TableShape,
        windows: &[(u32, u32, [i64; N])],
    ) -> Result<TableState> {
        let gone = self.gone(windows.iter().map(|(key, ..)| *key))?;
        if windows.is_empty() {
            return Ok(TableState { rows: Vec::new(), gone });
        }
        let keys: Vec<(u32, [i64; N])> = windows.iter().map(|(key, _, own)| (*key, *own)).collect();
        let slots: Vec<u32> = windows.iter().map(|(_, slot, _)| *slot).collect();
        let mut columns = self.key_columns(&keys)?;
        columns.extend(self.accumulators.state(&slots)?);
        Ok(TableState { rows: vec![RecordBatch::try_new(Arc::clone(&shape.schema), columns)?], gone })
    }

    /// A table of keys that were taken: of each its number and the operator's own values.
    pub(crate) fn keys<const N: usize>(&self, shape: &TableShape, keys: &[(u32, [i64; N])]) -> Result<TableState> {
        let columns = self.key_columns(keys)?;
        let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&shape.schema), columns, &options)?;
        Ok(TableState { rows: vec![rows], gone: self.gone(keys.iter().map(|(key, _)| *key))? })
    }

    /// The keys that were taken and are not among these.
    fn gone(&self, with_rows: impl Iterator<Item = u32>) -> Result<Option<RecordBatch>> {
        let (keys, columns) = self.keys.taken_without(with_rows)?;
        let options = RecordBatchOptions::new().with_row_count(Some(keys));
        let schema = Arc::clone(self.functions.key_schema());
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }

    fn key_columns<const N: usize>(&self, keys: &[(u32, [i64; N])]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.columns(keys.iter().map(|(key, _)| *key))?;
        for at in 0..N {
            columns.push(Arc::new(Int64Array::from_iter_values(keys.iter().map(|(_, own)| own[at]))));
        }
        Ok(columns)
    }

    /// The keys of a table that [`keys`](Self::keys) made, or [`windows`](Self::windows), with `own` columns.
    pub(crate) fn restore_keys(&mut self, table: &RecordBatch, own: usize) -> Result<Restored> {
        let (keys, others) = table.columns().split_at(self.functions.key_schema().fields().len());
        let own = others[..own].iter().map(|column| column.as_primitive::<Int64Type>().values().to_vec()).collect();
        let mut numbers = Vec::new();
        self.keys.intern(table.num_rows(), keys, &mut numbers)?;
        // Without columns a key is interned even where there is no row.
        numbers.truncate(table.num_rows());
        Ok(Restored { keys: numbers, own })
    }

    /// The windows of a table that [`windows`](Self::windows) made with `own` columns, and the slot of each.
    pub(crate) fn restore_windows(&mut self, table: &RecordBatch, own: usize) -> Result<(Restored, Vec<u32>)> {
        let restored = self.restore_keys(table, own)?;
        let states = &table.columns()[self.functions.key_schema().fields().len() + own..];
        let slots = self.accumulators.restore(table.num_rows(), states)?;
        Ok((restored, slots))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.bytes()
    }
}
