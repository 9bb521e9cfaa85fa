//! Rows of each key in event-time order: they wait for their key's watermark, and go to an operator in the order of the rows that
//! let them go.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::not_impl_err;
use thermocline_sql::{KeyedWindowFunction, OrderedOperator as Kind, OrderedShape};

use super::row_driven::RowDriven;
use super::session::SessionsByKey;
use super::waiting::{Released, WaitingRows};
use super::{Advance, ByKeyOperator, Emitted, KeyWatermarks, Outcome, PerKeyOperator, StampedRows};
use crate::error::Result;
use crate::keyed::KeyTable;
use crate::ordered::{OrderedRows, OverByKey, window_operator};
use crate::query::without_row;
use crate::snapshot::{TableShape, TableState};
use crate::stage::Stage;

/// The operator of a shape over what this stage makes of its only input.
pub(crate) fn in_order(shape: &OrderedShape, stage: &Stage) -> Result<Box<dyn PerKeyOperator>> {
    let schema = stage.df_schema();
    let operator: Box<dyn ByKeyOperator> = match &shape.operator {
        Kind::Window(window) => match &window.function {
            KeyedWindowFunction::Session { gap_us } => {
                Box::new(SessionsByKey::try_new(*gap_us, &window.aggregate, schema)?)
            }
            KeyedWindowFunction::Count { .. } | KeyedWindowFunction::State { .. } => {
                Box::new(RowDriven::new(window_operator(window, schema)?))
            }
        },
        Kind::Over(over) => Box::new(OverByKey::try_new(over, schema)?),
        // The checker refuses joins before; absence goes by one watermark and is run by it.
        Kind::Absence(_) => return Ok(not_impl_err!("absence by the watermark of each key")?),
        Kind::Join(_) | Kind::AsOfJoin(_) => return Ok(not_impl_err!("a join of streams with watermarks by key")?),
    };
    Ok(Box::new(InOrder::new(without_row(&stage.schema()), operator)))
}

/// Rows that wait, and the operator that they go to.
#[derive(Debug)]
struct InOrder {
    waiting: WaitingRows,
    operator: Box<dyn ByKeyOperator>,
    state_shapes: Vec<TableShape>,
}

impl InOrder {
    fn new(schema: SchemaRef, operator: Box<dyn ByKeyOperator>) -> Self {
        let waiting = WaitingRows::new(schema);
        let mut state_shapes = vec![waiting.state_shape().clone()];
        state_shapes.extend(operator.state_shapes().iter().cloned());
        Self { waiting, operator, state_shapes }
    }

    /// Gives rows that were let go to the operator, and tells it of the watermarks that have moved meanwhile.
    fn give(&mut self, released: &[Released], advances: &[Advance]) -> Result<Vec<Emitted>> {
        let rows = self.waiting.take(released)?;
        let rows = OrderedRows {
            times_us: released.iter().map(|row| row.time_us).collect(),
            inputs: vec![0; released.len()],
            batches: vec![rows],
        };
        let keys: Vec<u32> = released.iter().map(|row| row.key).collect();
        let emitted = self.operator.update(&rows, &keys, advances)?.into_iter();
        Ok(emitted.map(|rows| Emitted { rows, is_correction: false }).collect())
    }
}

impl PerKeyOperator for InOrder {
    fn update(&mut self, rows: &StampedRows<'_>) -> Result<Outcome> {
        let output = rows.output;
        let row_of = output.column(output.num_columns() - 1).as_primitive::<UInt32Type>();
        let columns: Vec<usize> = (0..output.num_columns() - 1).collect();
        self.waiting.open(output.project(&columns)?);
        let (mut released, mut advances, mut late) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 0;
        for (row, stamp) in rows.stamps.iter().enumerate() {
            let time_us = rows.times.is_valid(row).then(|| rows.times.value(row));
            let time_us = time_us.filter(|time_us| *time_us >= stamp.before_us);
            let first = at;
            while at < row_of.len() && row_of.value(at) as usize == row {
                if let Some(time_us) = time_us {
                    self.waiting.push(at as u32, stamp.key, time_us);
                }
                at += 1;
            }
            if at > first && time_us.is_none() {
                late.push(row as u32);
            }
            if stamp.after_us > stamp.before_us {
                self.waiting.release(stamp.key, stamp.after_us, &mut released);
                advances.push(Advance { rows: released.len(), key: stamp.key, watermark_us: stamp.after_us });
            }
        }
        let emitted = self.give(&released, &advances)?;
        Ok(Outcome { emitted, late, failed: Vec::new() })
    }

    fn finish(&mut self, watermarks: &mut KeyWatermarks) -> Result<Vec<Emitted>> {
        let mut ends: BTreeMap<u32, i64> =
            self.waiting.last_us().map(|(key, us)| (key, us.saturating_add(1))).collect();
        let released = self.waiting.release_all();
        let mut emitted = self.give(&released, &[])?;
        for (key, horizon_us) in self.operator.horizons_us() {
            let end_us = ends.entry(key).or_insert(horizon_us);
            *end_us = horizon_us.max(*end_us);
        }
        let mut advances = Vec::with_capacity(ends.len());
        for (key, end_us) in ends {
            watermarks.advance(key, end_us);
            advances.push(Advance { rows: 0, key, watermark_us: watermarks.of(key) });
        }
        advances.sort_by_key(|advance| (advance.watermark_us, advance.key));
        emitted.extend(self.give(&[], &advances)?);
        Ok(emitted)
    }

    fn state_shapes(&self) -> &[TableShape] {
        &self.state_shapes
    }

    fn state(&mut self, watermarks: &KeyWatermarks) -> Result<Vec<TableState>> {
        let mut tables = vec![self.waiting.state(watermarks)?];
        tables.extend(self.operator.state()?);
        Ok(tables)
    }

    fn tracked(&mut self) -> Vec<&mut KeyTable> {
        self.operator.tracked()
    }

    fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        let (waiting, operator) = state.split_first().expect("the waiting rows come first");
        self.waiting.restore(waiting)?;
        self.operator.restore(operator)
    }

    fn bytes(&self) -> usize {
        self.waiting.bytes() + self.operator.bytes()
    }
}
