//! `STATE_WINDOW`: per key, from a row for which the start condition holds to the next for which the end condition does.
//!
//! Windows are emitted in the order of the rows that end them; one that has not ended waits for its end, however long.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use thermocline_sql::{KeyedAggregate, KeyedWindowFunction};

use super::operator::{OrderedOperator, OrderedRows};
use super::slots::{BATCH_ROWS, Ended, WindowSlots};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::snapshot::{TableShape, TableState};

/// Open windows by key.
#[derive(Debug)]
pub(crate) struct StateWindow {
    mark: Arc<dyn PhysicalExpr>,
    slots: WindowSlots,
    /// By the key's number.
    open: Vec<Option<Held>>,
    ended: Vec<Ended>,
    ready: Vec<RecordBatch>,
    state_shapes: [TableShape; 1],
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u32,
    first_us: i64,
}

impl StateWindow {
    /// `mark`: the input's column that says what a row does to a window.
    pub(crate) fn try_new(mark: &Expr, aggregate: &KeyedAggregate, input_schema: &DFSchema) -> Result<Self> {
        let slots = WindowSlots::try_new(aggregate, input_schema)?;
        let state_shapes = [slots.window_shape(&["first_us"])?];
        let (props, planning) = (ExecutionProps::new(), PhysicalPlanningContext::default());
        let mark = create_physical_expr(mark, input_schema, &props, &planning)?;
        Ok(Self { mark, slots, open: Vec::new(), ended: Vec::new(), ready: Vec::new(), state_shapes })
    }

    /// The slot of the window that a row is in, if it is in one; it may begin it, and end it.
    fn place(&mut self, key: u32, time_us: i64, mark: i64) -> Option<u32> {
        let held = match self.open[key as usize] {
            Some(held) => held,
            None if mark & KeyedWindowFunction::STARTS == 0 => return None,
            None => Held { slot: self.slots.allocate(), first_us: time_us },
        };
        let ends = mark & KeyedWindowFunction::ENDS != 0;
        if ends {
            let (start_us, end_us) = (held.first_us, time_us.saturating_add(1));
            self.ended.push(Ended { key, slot: held.slot, start_us, end_us });
        }
        self.open[key as usize] = (!ends).then_some(held);
        Some(held.slot)
    }

    fn grow(&mut self, keys: &[u32]) {
        let keys = keys.iter().max().map_or(0, |key| *key as usize + 1);
        if keys > self.open.len() {
            self.open.resize(keys, None);
        }
    }
}

impl OrderedOperator for StateWindow {
    fn update(&mut self, rows: &OrderedRows) -> Result<()> {
        let batch = &rows.batches[0];
        let marks = self.mark.evaluate(batch)?.into_array(batch.num_rows())?;
        let marks = marks.as_primitive::<TimestampMicrosecondType>();
        let (evaluated, keys) = self.slots.evaluate(batch)?;
        self.grow(&keys);
        let (mut indices, mut slots) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for ((row, key), (time_us, mark)) in (0..).zip(&keys).zip(rows.times_us.iter().zip(marks)) {
            if let Some(slot) = self.place(*key, *time_us, mark.unwrap_or(0)) {
                indices.push(row);
                slots.push(slot);
            }
        }
        self.slots.update_at(&evaluated, &indices, &slots)?;
        for ended in self.ended.chunks(BATCH_ROWS) {
            self.ready.push(self.slots.emit(ended)?);
        }
        self.ended.clear();
        for key in keys {
            if self.open[key as usize].is_none() {
                self.slots.keys.remove(key);
            }
        }
        Ok(())
    }

    /// Rows end windows, not the time.
    fn advance(&mut self, _watermark_us: i64) -> Result<Vec<RecordBatch>> {
        Ok(std::mem::take(&mut self.ready))
    }

    fn horizon_us(&self) -> Option<i64> {
        None
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self) -> Result<Vec<TableState>> {
        debug_assert!(self.ready.is_empty(), "what was emitted is taken before the state");
        let open = (0..).zip(&self.open).filter(|(key, _)| self.slots.keys.is_taken(*key));
        let held: Vec<_> = open.filter_map(|(key, held)| held.map(|held| (key, held.slot, [held.first_us]))).collect();
        Ok(vec![self.slots.windows(&self.state_shapes[0], &held)?])
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        vec![&mut self.slots.keys]
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (restored, slots) = self.slots.restore_windows(&state[0], 1)?;
        self.grow(&restored.keys);
        for (row, key) in restored.keys.into_iter().enumerate() {
            self.open[key as usize] = Some(Held { slot: slots[row], first_us: restored.own[0][row] });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let ready: usize = self.ready.iter().map(RecordBatch::get_array_memory_size).sum();
        self.slots.bytes()
            + self.open.capacity() * size_of::<Option<Held>>()
            + self.ended.capacity() * size_of::<Ended>()
            + ready
    }
}
