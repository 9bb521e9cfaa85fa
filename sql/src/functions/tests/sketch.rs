//! The percentile sketch: its bound, its buckets.

use datafusion::common::ScalarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use proptest::prelude::*;

use super::{Naive, call, whole};
use crate::functions::sketch::{Buckets, Sketch};

/// Calls whose result must not depend on merging; their naive result is not asked for.
pub(super) fn cases() -> Vec<(AggregateFunctionExpr, Naive)> {
    let fraction = |q| ScalarValue::Float64(Some(q));
    let calls = [vec![fraction(0.5)], vec![fraction(0.95)], vec![fraction(0.0), fraction(0.2)]];
    calls.iter().map(|constants| (call("approx_percentile", constants), (|_| None) as Naive)).collect()
}

fn exact(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values[rank.max(1) - 1]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e3..1e3_f64,
        (-300.0..300.0_f64).prop_map(|exponent| 10_f64.powf(exponent)),
        (-300.0..300.0_f64).prop_map(|exponent| -(10_f64.powf(exponent))),
        Just(0.0),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

proptest! {
    #[test]
    fn every_percentile_is_within_the_bound(
        values in proptest::collection::vec(number(), 1..300),
        q in 0.0..=1.0_f64,
        error in prop_oneof![Just(0.01), Just(0.0001), Just(0.3)],
    ) {
        let constants = [ScalarValue::Float64(Some(q)), ScalarValue::Float64(Some(error))];
        let rows: Vec<_> = values.iter().map(|value| (None, Some(*value))).collect();
        let found = whole(&call("approx_percentile", &constants), &rows).unwrap();
        let exact = exact(values, q);
        prop_assert!(found == exact || (found - exact).abs() <= error * exact.abs(), "{found}, exactly {exact}");
    }

    #[test]
    fn buckets_are_in_the_order_of_values(a in number(), b in number()) {
        let buckets = Buckets::within(0.01).unwrap();
        prop_assert!(a > b || buckets.bucket(a) <= buckets.bucket(b));
        prop_assert_eq!(buckets.bucket(-a), -buckets.bucket(a));
        prop_assert!(buckets.bucket(f64::NAN) > buckets.bucket(a));
    }
}

#[test]
fn equal_values_come_out_as_they_are() {
    let rows = vec![(None, Some(20.3)); 10];
    assert_eq!(whole(&call("approx_percentile", &[ScalarValue::Float64(Some(0.95))]), &rows), Some(20.3));
}

#[test]
fn nan_is_greater_than_any_number() {
    let of = |q: f64| {
        let rows: Vec<_> = [1.0, f64::NAN, f64::INFINITY, 2.0].map(|value| (None, Some(value))).to_vec();
        whole(&call("approx_percentile", &[ScalarValue::Float64(Some(q))]), &rows).unwrap()
    };
    assert!((of(0.25) - 1.0).abs() <= 0.01);
    assert_eq!(of(0.75), f64::INFINITY);
    assert!(of(0.76).is_nan());
}

#[test]
fn the_number_of_buckets_grows_with_the_range_only() {
    let buckets = Buckets::within(0.01).unwrap();
    let mut sketch = Sketch::default();
    (0..100_000).for_each(|n| sketch.add(buckets, 1.0 + f64::from(n) / 1000.0));
    // From 1 to 101 are 6.7 powers of two of 64 buckets.
    assert!((400..=430).contains(&sketch.counts.len()), "{}", sketch.counts.len());
}
