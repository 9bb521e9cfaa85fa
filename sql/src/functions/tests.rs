//! Random samples through every aggregate, against other ways to compute the same.

mod rows;
mod sketch;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::arrow::array::types::IntervalMonthDayNano;
use datafusion::logical_expr::{AggregateUDF, EmitTo};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{col, lit};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;

use super::{aggregates, in_time_order, row_functions, usage};
use crate::nodes::timestamp_type;

/// A row: the microseconds of its time and its value.
type Row = (Option<i64>, Option<f64>);

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("value", DataType::Float64, true),
        Field::new("time", timestamp_type(), true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let values: Float64Array = rows.iter().map(|row| row.1).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.0).collect();
    vec![Arc::new(values), Arc::new(times.with_timezone("UTC"))]
}

/// A call of an aggregate over (value, time) with constants after them.
fn call(name: &str, constants: &[ScalarValue]) -> AggregateFunctionExpr {
    let schema = schema();
    let mut args: Vec<Arc<dyn PhysicalExpr>> = vec![col("value", &schema).unwrap()];
    if name != "approx_percentile" {
        args.push(col("time", &schema).unwrap());
    }
    args.extend(constants.iter().map(|value| lit(value.clone())));
    try_call(name, args).unwrap()
}

fn try_call(name: &str, args: Vec<Arc<dyn PhysicalExpr>>) -> datafusion::common::Result<AggregateFunctionExpr> {
    let is_named = |function: &AggregateUDF| function.name() == name;
    let function = aggregates().into_iter().find(is_named).unwrap();
    AggregateExprBuilder::new(Arc::new(function), args).schema(schema()).alias("result").build()
}

/// The arguments that a call takes of the columns, constants included.
fn arguments(call: &AggregateFunctionExpr, rows: &[Row]) -> Vec<ArrayRef> {
    let mut arguments = columns(rows);
    if call.fun().name() == "approx_percentile" {
        arguments.pop();
    }
    for constant in &call.expressions()[arguments.len()..] {
        let batch = arrow::array::RecordBatch::new_empty(Arc::new(Schema::empty()));
        let value = constant.evaluate(&batch).unwrap();
        arguments.push(value.into_array(rows.len()).unwrap());
    }
    arguments
}

fn float(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float64(value) => *value,
        other => panic!("{other:?}"),
    }
}

/// The result over all rows at once.
fn whole(call: &AggregateFunctionExpr, rows: &[Row]) -> Option<f64> {
    let mut accumulator = call.create_accumulator().unwrap();
    accumulator.update_batch(&arguments(call, rows)).unwrap();
    float(&accumulator.evaluate().unwrap())
}

/// The result of rows that went to several panes in batches of a size, their states merged in this order.
fn merged(call: &AggregateFunctionExpr, rows: &[Row], panes: usize, batch: usize, backwards: bool) -> Option<f64> {
    let mut states: Vec<Vec<ArrayRef>> = Vec::new();
    for pane in 0..panes {
        let own: Vec<Row> = rows.iter().skip(pane).step_by(panes).copied().collect();
        let mut groups = call.create_groups_accumulator().unwrap();
        for batch in own.chunks(batch) {
            // Group 1 has all rows twice over, group 0 only those of odd place.
            groups.update_batch(&arguments(call, batch), &vec![1; batch.len()], None, 2).unwrap();
        }
        groups.update_batch(&arguments(call, &own[..0]), &[], None, 2).unwrap();
        assert!(groups.size() > 0);
        states.push(groups.state(EmitTo::All).unwrap());
    }
    if backwards {
        states.reverse();
    }
    let mut all = call.create_groups_accumulator().unwrap();
    for (n, state) in states.iter().enumerate() {
        // Some states are merged with others first.
        if n % 2 == 1 {
            let mut pair = call.create_groups_accumulator().unwrap();
            pair.merge_batch(state, &[0, 0], 1).unwrap();
            all.merge_batch(&pair.state(EmitTo::First(1)).unwrap(), &[0], 1).unwrap();
        } else {
            all.merge_batch(state, &[0, 0], 1).unwrap();
        }
    }
    all.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().iter().next().unwrap()
}

/// The result over each row and the `before` rows before it, as a frame that moves.
fn sliding(call: &AggregateFunctionExpr, rows: &[Row], before: usize) -> Vec<Option<f64>> {
    let mut accumulator = call.create_sliding_accumulator().unwrap();
    (0..rows.len())
        .map(|n| {
            accumulator.update_batch(&arguments(call, &rows[n..=n])).unwrap();
            if n > before {
                accumulator.retract_batch(&arguments(call, &rows[n - before - 1..n - before])).unwrap();
            }
            float(&accumulator.evaluate().unwrap())
        })
        .collect()
}

fn same_bits(a: Option<f64>, b: Option<f64>) -> bool {
    a.map(f64::to_bits) == b.map(f64::to_bits)
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * b.abs().max(1.0),
        (a, b) => a == b,
    }
}

/// Samples in order, by the definition.
fn samples(rows: &[Row]) -> Vec<(f64, f64)> {
    let mut samples: Vec<(i64, f64)> = rows.iter().filter_map(|(time, value)| Some(((*time)?, (*value)?))).collect();
    let nan_last =
        |a: &f64, b: &f64| (a.is_nan(), a).partial_cmp(&(b.is_nan(), b)).unwrap_or(std::cmp::Ordering::Equal);
    samples.sort_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| nan_last(&a.1, &b.1)).then(a.1.is_sign_positive().cmp(&b.1.is_sign_positive()))
    });
    samples.into_iter().map(|(time, value)| (time as f64 / 1e6, value)).collect()
}

fn pairs(samples: &[(f64, f64)]) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
    samples.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Each aggregate with another way to compute it.
type Naive = fn(&[(f64, f64)]) -> Option<f64>;

fn naive_increase(samples: &[(f64, f64)]) -> Option<f64> {
    (!samples.is_empty()).then(|| {
        let unknown: f64 = samples.iter().map(|s| s.1).filter(|v| v.is_nan()).sum();
        let steps = pairs(samples).map(|((_, a), (_, b))| if b < a { b } else { b - a });
        steps.sum::<f64>() + unknown
    })
}

fn naive_integral(samples: &[(f64, f64)]) -> Option<f64> {
    (!samples.is_empty()).then(|| pairs(samples).filter(|(a, b)| a.0 < b.0).map(|(a, b)| a.1 * (b.0 - a.0)).sum())
}

fn length(samples: &[(f64, f64)]) -> f64 {
    samples.last().map_or(0.0, |last| last.0 - samples[0].0)
}

fn cases() -> Vec<(AggregateFunctionExpr, Naive)> {
    let tau = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 3_000_000_000)));
    let word = |word: &str| ScalarValue::Utf8(Some(word.to_owned()));
    let mut cases: Vec<(&str, Vec<ScalarValue>, Naive)> = Vec::new();
    cases.push(("first", vec![], |s| s.first().map(|s| s.1)));
    cases.push(("last", vec![], |s| s.last().map(|s| s.1)));
    cases.push(("delta", vec![], |s| s.first().map(|first| s[s.len() - 1].1 - first.1)));
    cases.push(("increase", vec![], naive_increase));
    cases
        .push(("rate", vec![], |s| naive_increase(s).filter(|_| length(s) > 0.0).map(|increase| increase / length(s))));
    cases.push(("integral", vec![], naive_integral));
    cases.push(("time_weighted_avg", vec![word("LOCF")], |s| match length(s) {
        0.0 => s.last().map(|last| last.1),
        length => naive_integral(s).map(|area| area / length),
    }));
    cases.push(("integral", vec![word("linear")], |s| {
        let trapezoids = pairs(s).filter(|(a, b)| a.0 < b.0).map(|(a, b)| (a.1 + b.1) / 2.0 * (b.0 - a.0));
        (!s.is_empty()).then(|| trapezoids.sum())
    }));
    cases.push(("ewma", vec![tau], |s| {
        // The weighted sum itself, not its recursion.
        let (end, first) = (s.last()?.0, s.first()?);
        let decay = |time: f64| (-(end - time) / 3.0).exp();
        let rest: f64 = pairs(s).map(|(a, b)| (decay(b.0) - decay(a.0)) * b.1).sum();
        Some(decay(first.0) * first.1 + rest)
    }));
    cases.push(("zscore", vec![], |s| {
        let count = s.len() as f64;
        let mean = s.iter().map(|s| s.1).sum::<f64>() / count;
        let variance = s.iter().map(|s| (s.1 - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let equal = s.iter().all(|sample| sample.1 == s[0].1);
        (count > 1.0 && !equal).then(|| (s[s.len() - 1].1 - mean) / variance.sqrt())
    }));
    cases.into_iter().map(|(name, constants, naive)| (call(name, &constants), naive)).collect()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let time = prop_oneof![9 => (0..40_i64).prop_map(|n| Some(n * 250_000 - 1_000_000)), 1 => Just(None)];
    let value = prop_oneof![
        30 => (-8..200).prop_map(|n| Some(f64::from(n) / 8.0)),
        2 => Just(None),
        1 => Just(Some(-0.0)),
    ];
    proptest::collection::vec((time, value), 0..40)
}

fn odd_rows() -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![
        6 => (0..4).prop_map(|n| Some(f64::from(n))),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(-f64::NAN)),
        1 => Just(Some(f64::INFINITY)),
        1 => Just(Some(f64::NEG_INFINITY)),
        1 => Just(Some(f64::MAX)),
        1 => Just(Some(f64::MIN_POSITIVE / 2.0)),
    ];
    proptest::collection::vec(((-3..3_i64).prop_map(Some), value), 0..12)
}

fn check_same_bits(call: &AggregateFunctionExpr, rows: &[Row], panes: usize, batch: usize) {
    let expected = whole(call, rows);
    for backwards in [false, true] {
        let found = merged(call, rows, panes, batch, backwards);
        assert!(same_bits(found, expected), "{}: {found:?} instead of {expected:?}", call.fun().name());
    }
    let moving = sliding(call, rows, 4);
    for (n, found) in moving.into_iter().enumerate() {
        let expected = whole(call, &rows[n.saturating_sub(4)..=n]);
        assert!(same_bits(found, expected), "{} at {n}: {found:?} instead of {expected:?}", call.fun().name());
    }
}

proptest! {
    #[test]
    fn aggregates_are_what_they_are_defined_as(rows in rows()) {
        for (call, naive) in cases() {
            let (found, expected) = (whole(&call, &rows), naive(&samples(&rows)));
            prop_assert!(close(found, expected), "{}: {found:?} instead of {expected:?}", call.fun().name());
        }
    }

    #[test]
    fn merging_and_moving_change_no_bit(rows in rows(), panes in 1..5_usize, batch in 1..9_usize) {
        for (call, _) in cases().into_iter().chain(sketch::cases()) {
            check_same_bits(&call, &rows, panes, batch);
        }
    }

    #[test]
    fn numbers_that_are_none_change_no_bit_either(rows in odd_rows(), panes in 1..5_usize, batch in 1..5_usize) {
        for (call, _) in cases().into_iter().chain(sketch::cases()) {
            check_same_bits(&call, &rows, panes, batch);
        }
    }

    #[test]
    fn rows_in_the_order_of_time_need_no_memory_of_them(rows in rows()) {
        let mut rows = rows;
        rows.sort_by_key(|row| row.0);
        for (call, _) in cases().into_iter().chain(sketch::cases()) {
            let function = in_time_order(call.fun()).unwrap();
            let schema = schema();
            let in_order = AggregateExprBuilder::new(Arc::new(function), call.expressions()).schema(schema).alias("x");
            let mut accumulator = in_order.build().unwrap().create_accumulator().unwrap();
            for n in 0..rows.len() {
                accumulator.update_batch(&arguments(&call, &rows[n..=n])).unwrap();
                let (found, expected) = (float(&accumulator.evaluate().unwrap()), whole(&call, &rows[..=n]));
                prop_assert!(same_bits(found, expected), "{}: {found:?} for {expected:?}", call.fun().name());
            }
        }
    }

    #[test]
    fn rows_in_another_order_change_no_bit(rows in rows()) {
        let turned: Vec<Row> = rows.iter().rev().copied().collect();
        for (call, _) in cases().into_iter().chain(sketch::cases()) {
            prop_assert!(same_bits(whole(&call, &rows), whole(&call, &turned)), "{}", call.fun().name());
        }
    }
}

#[test]
fn without_rows_every_result_is_null() {
    for (call, _) in cases().into_iter().chain(sketch::cases()) {
        assert_eq!(whole(&call, &[]), None, "{}", call.fun().name());
        assert_eq!(whole(&call, &[(None, None), (Some(1), None)]), None, "{}", call.fun().name());
    }
}

#[test]
fn of_one_sample_there_is_no_rate_and_no_spread() {
    let found = |name: &str| whole(&call(name, &[]), &[(Some(1_000_000), Some(7.0))]);
    assert_eq!(found("first"), Some(7.0));
    assert_eq!(found("delta"), Some(0.0));
    assert_eq!(found("increase"), Some(0.0));
    assert_eq!(found("integral"), Some(0.0));
    assert_eq!(found("time_weighted_avg"), Some(7.0));
    assert_eq!(found("rate"), None);
    assert_eq!(found("zscore"), None);
}

#[test]
fn equal_values_have_no_spread_whatever_their_rounding() {
    let rows: Vec<Row> = (0..1000).map(|n| (Some(n), Some(0.1))).collect();
    assert_eq!(whole(&call("zscore", &[]), &rows), None);
}

#[test]
fn nan_makes_what_is_computed_of_it_nan() {
    let rows = [(Some(0), Some(1.0)), (Some(1), Some(f64::NAN)), (Some(2), Some(3.0))];
    for name in ["increase", "rate", "integral", "time_weighted_avg", "zscore"] {
        assert!(whole(&call(name, &[]), &rows).unwrap().is_nan(), "{name}");
    }
    assert_eq!(whole(&call("delta", &[]), &rows), Some(2.0));
}

#[test]
fn infinities_go_by_the_formula() {
    let increase = |values: &[f64]| {
        let rows: Vec<Row> = (0..).zip(values).map(|(n, value)| (Some(n), Some(*value))).collect();
        whole(&call("increase", &[]), &rows).unwrap()
    };
    assert_eq!(increase(&[f64::INFINITY]), 0.0);
    assert_eq!(increase(&[f64::INFINITY, 5.0, 7.0]), 7.0);
    assert_eq!(increase(&[1.0, f64::INFINITY, 5.0]), f64::INFINITY);
    assert!(increase(&[1.0, f64::INFINITY, f64::INFINITY]).is_nan());
    assert!(increase(&[1.0, f64::NEG_INFINITY, 5.0]).is_nan());
    let tau = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 3_000_000_000)));
    let at_once = [(Some(0), Some(2.0)), (Some(1), Some(3.0)), (Some(1), Some(f64::INFINITY))];
    assert!(whole(&call("ewma", &[tau]), &at_once).unwrap() < 3.0, "the first at an instant counts");
}

#[test]
fn first_and_last_take_any_plain_value_by_any_number() {
    let schema = schema();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("c")]));
    let by: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.0), Some(-9.0), Some(2.0), Some(f64::NAN)]));
    let run = |name: &str| {
        let call = try_call(name, vec![col("text", &schema).unwrap(), col("value", &schema).unwrap()]).unwrap();
        let mut groups = call.create_groups_accumulator().unwrap();
        groups.update_batch(&[Arc::clone(&texts), Arc::clone(&by)], &[0, 0, 0, 1], None, 3).unwrap();
        let state = groups.state(EmitTo::All).unwrap();
        groups.merge_batch(&state, &[2, 1, 0], 3).unwrap();
        let found = groups.evaluate(EmitTo::All).unwrap();
        found.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(run("first"), [None, Some("c".to_owned()), Some("a".to_owned())]);
    assert_eq!(run("last"), [None, Some("c".to_owned()), Some("b".to_owned())]);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let schema = schema();
    let column = |name: &str| col(name, &schema).unwrap();
    let refused = |name: &str, args: Vec<Arc<dyn PhysicalExpr>>| {
        let types: Vec<DataType> = args.iter().map(|arg| arg.data_type(&schema).unwrap()).collect();
        let function = aggregates().into_iter().find(|function| function.name() == name).unwrap();
        let outcome = function.coerce_types(&types).and_then(|_| try_call(name, args)?.create_accumulator());
        outcome.err().map(|error| error.strip_backtrace()).expect("refused")
    };
    let text = |error: String| error.replace("Error during planning: ", "");
    insta::assert_snapshot!(text(refused("rate", vec![column("text"), column("time")])), @"rate(value, time) takes a number, found TEXT");
    insta::assert_snapshot!(text(refused("rate", vec![column("value"), column("value")])), @"rate(value, time) takes a TIMESTAMP, found DOUBLE");
    insta::assert_snapshot!(text(refused("rate", vec![column("value")])), @"rate(value, time) is called with 1 arguments");
    insta::assert_snapshot!(text(refused("last", vec![column("value"), column("text")])), @"last(value, time) takes a TIMESTAMP or a number second, found TEXT");
    insta::assert_snapshot!(text(refused("integral", vec![column("value"), column("time"), lit("cubic")])), @"integral(value, time [, 'locf' | 'linear']) knows 'locf' and 'linear', found 'cubic'");
    insta::assert_snapshot!(text(refused("ewma", vec![column("value"), column("time"), lit(3.0)])), @"ewma(value, time, time constant) takes a positive interval without months");
    insta::assert_snapshot!(text(refused("approx_percentile", vec![column("value"), lit(95.0)])), @"approx_percentile(value, fraction [, relative error]) takes a fraction from 0 to 1, found 95");
    insta::assert_snapshot!(text(refused("approx_percentile", vec![column("value"), column("value")])), @"approx_percentile(value, fraction [, relative error]) takes a constant where a column stands");
    insta::assert_snapshot!(text(refused("approx_percentile", vec![column("value"), lit(0.5), lit(1e-9)])), @"approx_percentile(value, fraction [, relative error]) takes a relative error from 0.0001 to below 1, found 0.000000001");
}

#[test]
fn distinct_is_refused() {
    let function = aggregates().into_iter().find(|function| function.name() == "zscore").unwrap();
    let schema = schema();
    let args = vec![col("value", &schema).unwrap(), col("time", &schema).unwrap()];
    let builder = AggregateExprBuilder::new(Arc::new(function), args).schema(schema).alias("x").distinct();
    let call = builder.build().unwrap();
    assert!(call.create_accumulator().is_err());
    assert!(call.create_groups_accumulator().is_err());
}

/// All names, other ones included.
fn names() -> Vec<String> {
    let aggregates = aggregates();
    let aggregate_names =
        aggregates.iter().flat_map(|f| std::iter::once(f.name()).chain(f.aliases().iter().map(String::as_str)));
    let row_functions = row_functions();
    aggregate_names.chain(row_functions.iter().map(|f| f.name())).map(str::to_owned).collect()
}

#[test]
fn no_name_is_taken_from_another_function() {
    let state = SessionContext::new().state();
    let mut names = names();
    for name in &names {
        let taken = state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name);
        assert!(!taken, "{name} is DataFusion's");
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands for two functions");
}

#[test]
fn every_function_is_documented_under_all_its_names() {
    let page = include_str!("../../../docs/functions.md");
    for name in names() {
        assert!(page.contains(&format!("`{name}(")) || page.contains(&format!("`{name}`")), "{name}");
        assert!(usage(&name).unwrap().contains('('), "{name}");
    }
    assert_eq!(usage("abs"), None);
}
