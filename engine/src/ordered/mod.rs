//! Queries that take their rows in event-time order.
//!
//! ```text
//!  rows of a partition ─▶ runs, sorted by event time ─┐
//!  rows of a partition ─▶ runs, sorted by event time ─┴─▶ merged up to the watermark ─▶ operator ─▶ rows
//! ```
//!
//! A row is late when the rows before it in its own partition had moved the watermark past its time. What is left is
//! given to the operator in the order of (event time, input, partition, offset), each row once the combined watermark has passed
//! it. So the operator sees one sequence, whatever the batches, the partitions' pace or a restart; and what it emits for
//! a sequence of rows and watermarks depends on the rows alone.

mod absence;
mod asof;
mod count;
mod join;
mod join_keys;
mod joined_rows;
mod operator;
mod over;
mod reorder;
mod rows;
mod session;
mod slots;
mod snapshot;
mod state_window;
#[cfg(test)]
mod tests;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use thermocline_sql::{KeyedWindow, KeyedWindowFunction, OrderedOperator as Kind, OrderedShape};

use crate::error::Result;
use crate::query::without_row;
use crate::stage::Stage;

pub(crate) use absence::{Absence, Decided, Decision};
pub(crate) use operator::OrderedOperator;
pub(crate) use operator::OrderedRows;
pub(crate) use over::OverByKey;
pub(crate) use reorder::{Run, merge_runs, part_before, tidy_runs};
pub(crate) use slots::{BATCH_ROWS, Ended, WindowSlots};
pub(crate) use snapshot::{OrderedPlace, OrderedState, PartitionPlace, PartitionPosition, waiting_rows, waiting_shape};

/// The operator of a shape, over what these stages make of its inputs.
pub(crate) fn operator(shape: &OrderedShape, inputs: &[Stage]) -> Result<Box<dyn OrderedOperator>> {
    Ok(match &shape.operator {
        Kind::Window(window) => window_operator(window, inputs[0].df_schema())?,
        Kind::Over(shape) => Box::new(over::Over::try_new(shape, inputs[0].df_schema())?),
        Kind::Join(join) => Box::new(join::Join::try_new(join, both(inputs))?),
        Kind::Absence(definition) => {
            Box::new(absence::Absence::try_new(definition, &without_row(&inputs[0].schema()))?)
        }
        Kind::AsOfJoin(join) => Box::new(asof::AsOf::try_new(join, both(inputs))?),
    })
}

/// The operator of windows that rows make, over rows of this schema.
pub(crate) fn window_operator(window: &KeyedWindow, schema: &DFSchema) -> Result<Box<dyn OrderedOperator>> {
    let KeyedWindow { function, aggregate } = window;
    Ok(match function {
        KeyedWindowFunction::Session { gap_us } => Box::new(session::Session::try_new(*gap_us, aggregate, schema)?),
        KeyedWindowFunction::Count { rows, slide } => {
            Box::new(count::CountWindow::try_new(*rows, *slide, aggregate, schema)?)
        }
        KeyedWindowFunction::State { mark } => Box::new(state_window::StateWindow::try_new(mark, aggregate, schema)?),
    })
}

/// The columns of the two inputs of a join.
fn both(inputs: &[Stage]) -> [SchemaRef; 2] {
    [0, 1].map(|input| without_row(&inputs[input].schema()))
}
