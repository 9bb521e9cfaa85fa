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
mod in_order;
mod increase;
mod integral;
mod irate;
mod locf;
mod misuse;
mod numbers;
mod rate;
mod row;
mod row_aggregate;
mod samples;
mod sketch;
mod swinging_door;
mod time_weighted_avg;
mod zscore;

#[cfg(test)]
mod tests;

use datafusion::logical_expr::{AggregateUDF, WindowUDF};

use self::aggregate::RowOrder;
pub(crate) use self::misuse::misuse;

/// Aggregates, which are also window functions over a frame.
pub(crate) fn aggregates() -> Vec<AggregateUDF> {
    aggregates_of(RowOrder::Any)
}

/// An aggregate of the dialect for rows that come in the order of their `ts` argument, as those of a stream's `OVER` whose
/// frame begins at the first row do: the accumulator of such a function keeps no samples. Its state can be stored and taken up,
/// not merged, and a row that comes out of order is an error. `None` for functions that are not of the dialect.
#[must_use]
pub fn in_time_order(function: &AggregateUDF) -> Option<AggregateUDF> {
    let at = aggregates().iter().position(|known| known == function)?;
    Some(aggregates_of(RowOrder::Time).swap_remove(at))
}

/// A row function as an aggregate of the rows up to the current one, in their order, which must not be merged. `None` for
/// functions that are not of the dialect, and for `swinging_door`, which needs the row after.
pub(crate) fn running_row_function(function: &WindowUDF) -> Option<AggregateUDF> {
    match row_functions().into_iter().find(|known| known == function)?.name() {
        "deadband" => Some(row_aggregate::running::<deadband::Deadband>()),
        "had_changed" => Some(row_aggregate::running::<had_changed::HadChanged>()),
        "idelta" => Some(row_aggregate::running::<idelta::IDelta>()),
        "irate" => Some(row_aggregate::running::<irate::IRate>()),
        "locf" => Some(row_aggregate::running::<locf::Locf>()),
        _ => None,
    }
}

/// How a function of these is called; `None` for those of DataFusion.
pub(crate) fn usage(name: &str) -> Option<String> {
    let is_named = |function: &AggregateUDF| function.name() == name || function.aliases().iter().any(|a| a == name);
    let aggregates = aggregates();
    let row_functions = row_functions();
    let aggregate = aggregates.iter().find(|function| is_named(function)).and_then(AggregateUDF::documentation);
    let row_function = || row_functions.iter().find(|function| function.name() == name)?.documentation();
    aggregate.or_else(row_function).map(|documentation| documentation.syntax_example.clone())
}

fn aggregates_of(rows: RowOrder) -> Vec<AggregateUDF> {
    vec![
        aggregate::function::<approx_percentile::ApproxPercentile>(rows),
        aggregate::function::<delta::Delta>(rows),
        aggregate::function::<ewma::Ewma>(rows),
        aggregate::function::<first_last::First>(rows),
        aggregate::function::<increase::Increase>(rows),
        aggregate::function::<integral::Integral>(rows),
        aggregate::function::<first_last::Last>(rows),
        aggregate::function::<rate::Rate>(rows),
        aggregate::function::<time_weighted_avg::TimeWeightedAvg>(rows),
        aggregate::function::<zscore::ZScore>(rows),
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
