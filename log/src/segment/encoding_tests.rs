//! Which columns of floats get dictionaries.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, RecordBatch};

use super::encoding::mostly_distinct;

fn distinct(columns: Vec<ArrayRef>) -> bool {
    let batches = columns.into_iter().map(|column| RecordBatch::try_from_iter([("value", column)]).unwrap());
    mostly_distinct(&batches.collect::<Vec<_>>(), 0)
}

/// Splitmix64's last steps: as good as random.
fn random(row: u32) -> f64 {
    let mut z = u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap())
}

#[test]
fn rounded_values_repeat_and_exact_ones_do_not() {
    let doubles = |rows: u32, of: fn(u32) -> f64| -> Vec<ArrayRef> {
        let batch =
            |from: u32| -> ArrayRef { Arc::new(Float64Array::from_iter_values((from..rows.min(from + 8192)).map(of))) };
        (0..rows).step_by(8192).map(batch).collect()
    };
    assert!(distinct(doubles(500_000, random)));
    assert!(distinct(doubles(100, random)));
    assert!(!distinct(doubles(500_000, |row| random(row) % 40_000.0 / 1000.0)));
    assert!(distinct(doubles(10_000, |row| random(row) % 40_000.0 / 1000.0)));
    assert!(!distinct(doubles(1000, |row| random(row) % 100.0)));
    assert!(!distinct(doubles(500_000, |_| f64::NAN)));
    let floats: ArrayRef = Arc::new(Float32Array::from_iter_values((0..1000_u16).map(f32::from)));
    assert!(distinct(vec![floats]));
}

#[test]
fn columns_without_values_are_left_alone() {
    assert!(!distinct(vec![Arc::new(Float64Array::from(vec![None; 100]))]));
    assert!(!distinct(vec![Arc::new(Float64Array::from(Vec::<f64>::new()))]));
    assert!(!distinct(Vec::new()));
}
