//! The row functions, one row at a time as a stream has them and all at once.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::PartitionEvaluator;
use datafusion::logical_expr::function::PartitionEvaluatorArgs;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, lit};
use proptest::prelude::*;

use crate::functions::row_functions;

fn evaluator(name: &str, columns: &[ArrayRef], constants: &[f64]) -> Box<dyn PartitionEvaluator> {
    let function = row_functions().into_iter().find(|function| function.name() == name).unwrap();
    let mut args: Vec<Arc<dyn PhysicalExpr>> = Vec::new();
    let mut types: Vec<DataType> = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        args.push(Arc::new(Column::new("c", n)));
        types.push(column.data_type().clone());
    }
    for constant in constants {
        args.push(lit(*constant));
        types.push(DataType::Float64);
    }
    assert_eq!(function.coerce_types(&types).unwrap(), types);
    let fields: Vec<_> = types.into_iter().map(|data_type| Arc::new(Field::new("c", data_type, true))).collect();
    function.partition_evaluator_factory(PartitionEvaluatorArgs::new(&args, &fields, false, false)).unwrap()
}

/// The results, which must be the same when rows are seen no further ahead than the function asks.
fn run(name: &str, columns: &[ArrayRef], constants: &[f64]) -> ArrayRef {
    let rows = columns[0].len();
    let all = evaluator(name, columns, constants).evaluate_all(columns, rows).unwrap();
    let mut one_by_one = evaluator(name, columns, constants);
    assert!(one_by_one.supports_bounded_execution() && !one_by_one.uses_window_frame());
    for row in 0..rows {
        let range = one_by_one.get_range(row, rows).unwrap();
        let seen: Vec<ArrayRef> = columns.iter().map(|column| column.slice(range.start, range.len())).collect();
        let found = one_by_one.evaluate(&seen, &(0..range.len())).unwrap();
        assert_eq!(found, ScalarValue::try_from_array(&all, row).unwrap(), "{name}, row {row}");
    }
    all
}

fn values(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn times(seconds: impl IntoIterator<Item = i64>) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(seconds.into_iter().map(|second| second * 1_000_000));
    Arc::new(times.with_timezone("UTC"))
}

fn booleans(results: &ArrayRef) -> Vec<bool> {
    results.as_boolean().iter().map(Option::unwrap).collect()
}

fn floats(results: &ArrayRef) -> Vec<Option<f64>> {
    results.as_primitive::<Float64Type>().iter().collect()
}

#[test]
fn had_changed_takes_null_for_a_value_of_its_own() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, None, Some("b")]));
    assert_eq!(booleans(&run("had_changed", &[texts], &[])), [false, false, true, false, true]);
    let numbers = values(&[Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), Some(1.0)]);
    assert_eq!(booleans(&run("had_changed", &[numbers], &[])), [false, false, true, false, true]);
}

#[test]
fn locf_fills_from_the_last_value() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a"), None, None, Some("b")]));
    let filled = run("locf", &[texts], &[]);
    let filled: Vec<_> = filled.as_string::<i32>().iter().collect();
    assert_eq!(filled, [None, Some("a"), Some("a"), Some("a"), Some("b")]);
}

#[test]
fn differences_and_rates_skip_null() {
    let numbers = values(&[None, Some(4.0), None, Some(10.0), Some(1.0), Some(1.0)]);
    assert_eq!(
        floats(&run("idelta", &[Arc::clone(&numbers)], &[])),
        [None, None, None, Some(6.0), Some(-9.0), Some(0.0)]
    );
    // A reset to zero and on to 1; then twice the same time.
    let found = floats(&run("irate", &[numbers, times([0, 1, 2, 3, 5, 5])], &[]));
    assert_eq!(found, [None, None, None, Some(3.0), Some(0.5), None]);
}

#[test]
fn deadband_keeps_what_is_more_than_the_width_away() {
    let numbers = [Some(1.0), Some(2.0), Some(2.5), Some(1.5), None, None, Some(1.5), Some(f64::NAN), Some(f64::NAN)];
    let found = booleans(&run("deadband", &[values(&numbers)], &[1.0]));
    assert_eq!(found, [true, false, true, false, true, false, true, true, false]);
    let infinite = [Some(f64::INFINITY), Some(f64::INFINITY), Some(0.0), Some(f64::NEG_INFINITY)];
    assert_eq!(booleans(&run("deadband", &[values(&infinite)], &[1.0])), [true, false, true, true]);
}

#[test]
fn swinging_door_keeps_the_corners() {
    let numbers = [0.0, 1.0, 2.0, 3.0, 3.0, 3.0, 0.0].map(Some);
    let found = booleans(&run("swinging_door", &[values(&numbers), times(0..7)], &[0.1]));
    assert_eq!(found, [true, false, false, true, false, true, true]);
    // Gaps end and begin lines; a jump at one instant is kept.
    let numbers = [Some(0.0), Some(0.0), None, None, Some(0.0), Some(0.0), Some(9.0), Some(9.0)];
    let found = booleans(&run("swinging_door", &[values(&numbers), times([0, 1, 2, 3, 4, 5, 5, 6])], &[0.1]));
    assert_eq!(found, [true, true, true, false, true, true, true, true]);
}

#[test]
fn modifiers_and_constants_that_make_no_sense_are_refused() {
    let function = row_functions().into_iter().find(|function| function.name() == "deadband").unwrap();
    let field = Arc::new(Field::new("c", DataType::Float64, true));
    let fields = vec![field; 2];
    let build = |width: Arc<dyn PhysicalExpr>, ignore_nulls| {
        let args: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new("c", 0)), width];
        let args = PartitionEvaluatorArgs::new(&args, &fields, false, ignore_nulls);
        function.partition_evaluator_factory(args).map(|_| ()).map_err(|error| error.strip_backtrace())
    };
    assert!(build(lit(1.0), false).is_ok());
    assert!(build(lit(1.0), true).unwrap_err().contains("IGNORE NULLS"));
    assert!(build(lit(-1.0), false).unwrap_err().contains("not negative"));
    assert!(build(Arc::new(Column::new("c", 1)), false).unwrap_err().contains("a constant"));
}

proptest! {
    #[test]
    fn lines_between_the_rows_kept_stay_within_the_deviation(
        steps in proptest::collection::vec((1..4_i64, -3.0..3.0_f64), 1..80),
        deviation in 0.0..4.0_f64,
    ) {
        let seconds: Vec<i64> = steps.iter().scan(0, |at, step| { *at += step.0; Some(*at) }).collect();
        let numbers: Vec<f64> = steps.iter().scan(0.0, |at, step| { *at += step.1; Some(*at) }).collect();
        let columns = [values(&numbers.iter().copied().map(Some).collect::<Vec<_>>()), times(seconds.clone())];
        let kept = booleans(&run("swinging_door", &columns, &[deviation]));
        prop_assert!(kept[0] && kept[kept.len() - 1]);
        let kept: Vec<usize> = (0..kept.len()).filter(|row| kept[*row]).collect();
        for ends in kept.windows(2) {
            let at = |row: usize| (seconds[row] as f64, numbers[row]);
            let ((from, a), (to, b)) = (at(ends[0]), at(ends[1]));
            for row in ends[0]..ends[1] {
                let line = a + (b - a) * (at(row).0 - from) / (to - from);
                prop_assert!((line - at(row).1).abs() <= deviation + 1e-9, "row {row}: {line} for {}", at(row).1);
            }
        }
    }

    #[test]
    fn rows_left_out_by_the_deadband_are_within_it(
        numbers in proptest::collection::vec(-9.0..9.0_f64, 1..80),
        width in 0.0..9.0_f64,
    ) {
        let kept = booleans(&run("deadband", &[values(&numbers.iter().copied().map(Some).collect::<Vec<_>>())], &[width]));
        let mut last = numbers[0];
        prop_assert!(kept[0]);
        for (number, kept) in numbers.iter().zip(kept).skip(1) {
            prop_assert_eq!(kept, (number - last).abs() > width);
            last = if kept { *number } else { last };
        }
    }
}
