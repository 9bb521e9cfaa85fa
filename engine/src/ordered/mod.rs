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

mod asof;
mod join;
mod join_keys;
mod joined_rows;
mod operator;
mod over;
mod reorder;
mod rows;
mod session;
mod snapshot;

use arrow::datatypes::SchemaRef;
use thermocline_sql::{OrderedOperator as Kind, OrderedShape};

use crate::error::Result;
use crate::query::without_row;
use crate::stage::Stage;

pub(crate) use operator::OrderedOperator;
pub(crate) use reorder::{Run, merge_runs};
pub(crate) use snapshot::{OrderedState, PartitionPosition, read_state, write_state};

/// The operator of a shape, over what these stages make of its inputs.
pub(crate) fn operator(shape: &OrderedShape, inputs: &[Stage]) -> Result<Box<dyn OrderedOperator>> {
    Ok(match &shape.operator {
        Kind::Over(shape) => Box::new(over::Over::try_new(shape, inputs[0].df_schema())?),
        Kind::Session { gap_us, aggregate } => {
            Box::new(session::Session::try_new(*gap_us, aggregate, inputs[0].df_schema())?)
        }
        Kind::Join(join) => Box::new(join::Join::try_new(join, both(inputs))?),
        Kind::AsOfJoin(join) => Box::new(asof::AsOf::try_new(join, both(inputs))?),
    })
}

/// The columns of the two inputs of a join.
fn both(inputs: &[Stage]) -> [SchemaRef; 2] {
    [0, 1].map(|input| without_row(&inputs[input].schema()))
}
