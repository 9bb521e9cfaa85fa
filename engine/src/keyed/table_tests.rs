use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;

fn table() -> KeyTable {
    let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
    KeyTable::new(&Arc::new(Schema::new(fields))).unwrap()
}

fn columns(keys: &[(Option<&str>, Option<i64>)]) -> Vec<ArrayRef> {
    let (a, b): (Vec<_>, Vec<_>) = keys.iter().copied().unzip();
    vec![Arc::new(StringArray::from(a)), Arc::new(Int64Array::from(b))]
}

fn intern(table: &mut KeyTable, keys: &[(Option<&str>, Option<i64>)]) -> Vec<u32> {
    let mut numbers = Vec::new();
    table.intern(keys.len(), &columns(keys), &mut numbers).unwrap();
    numbers
}

#[test]
fn equal_keys_have_one_number_and_nulls_are_keys() {
    let mut table = table();
    let keys = [(Some("x"), Some(1)), (None, Some(1)), (Some("x"), Some(1)), (None, None), (None, Some(1))];
    let numbers = intern(&mut table, &keys);
    assert_eq!(numbers, [0, 1, 0, 2, 1]);
    let back = table.columns(numbers.into_iter()).unwrap();
    assert_eq!(back, columns(&keys));
}

#[test]
fn a_removed_key_leaves_its_number_to_another() {
    let mut table = table();
    intern(&mut table, &[(Some("x"), None), (Some("y"), None)]);
    table.remove(0);
    assert_eq!(intern(&mut table, &[(Some("z"), None), (Some("y"), None), (Some("x"), None)]), [0, 1, 2]);
}

#[test]
fn keys_compare_as_their_columns() {
    let mut table = table();
    let numbers =
        intern(&mut table, &[(None, Some(9)), (Some("a"), Some(-1)), (Some("a"), Some(2)), (Some("b"), None)]);
    assert!(numbers.windows(2).all(|two| table.ordered(two[0]) < table.ordered(two[1])));
}

#[test]
fn without_columns_all_rows_have_one_key() {
    let mut table = KeyTable::new(&Arc::new(Schema::empty())).unwrap();
    let mut numbers = Vec::new();
    table.intern(3, &[], &mut numbers).unwrap();
    assert_eq!(numbers, [0, 0, 0]);
}
