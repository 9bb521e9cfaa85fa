//! The functions for sensors: what the field needs and DataFusion lacks. `docs/functions.md` says what each computes.
//!
//! Aggregates take rows in any order, in any batches, and merge partial states in any order, to the same bits: they go
//! by event time, and rows of one time by value. Row functions are for `OVER (PARTITION BY … ORDER BY time)`.

mod aggregate;
mod approx_percentile;
mod area;
mod arguments;
mod deadband;
mod delta;
mod ewma;
mod first_last;
mod had_changed;
mod idelta;
mod increase;
mod integral;
mod irate;
mod locf;
mod rate;
mod row;
mod samples;
mod sketch;
mod swinging_door;
mod time_weighted_avg;
mod zscore;

#[cfg(test)]
mod tests;

use datafusion::logical_expr::{AggregateUDF, WindowUDF};

/// Aggregates, which are also window functions over a frame.
pub(crate) fn aggregates() -> Vec<AggregateUDF> {
    vec![
        aggregate::function::<approx_percentile::ApproxPercentile>(),
        aggregate::function::<delta::Delta>(),
        aggregate::function::<ewma::Ewma>(),
        aggregate::function::<first_last::First>(),
        aggregate::function::<increase::Increase>(),
        aggregate::function::<integral::Integral>(),
        aggregate::function::<first_last::Last>(),
        aggregate::function::<rate::Rate>(),
        aggregate::function::<time_weighted_avg::TimeWeightedAvg>(),
        aggregate::function::<zscore::ZScore>(),
    ]
}

/// Functions of a row and the rows before it.
pub(crate) fn row_functions() -> Vec<WindowUDF> {
    vec![
        row::function::<deadband::Deadband>(),
        row::function::<had_changed::HadChanged>(),
        row::function::<idelta::IDelta>(),
        row::function::<irate::IRate>(),
        row::function::<locf::Locf>(),
        row::function::<swinging_door::SwingingDoor>(),
    ]
}
