use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
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

fn tracked() -> KeyTable {
    let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
    KeyTable::tracked(&Arc::new(Schema::new(fields))).unwrap()
}

/// The keys that were taken and have no state.
fn without(table: &KeyTable, with_state: &[u32]) -> Vec<i64> {
    let (count, columns) = table.taken_without(with_state.iter().copied()).unwrap();
    let numbers: Vec<i64> = columns[1].as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
    assert_eq!(numbers.len(), count);
    numbers
}

#[test]
fn keys_that_are_stored_and_gone_are_told_until_that_is_stored() {
    let mut table = tracked();
    let numbers = intern(&mut table, &[(Some("x"), Some(1)), (Some("x"), Some(2)), (Some("x"), Some(3))]);
    table.take_changes();
    assert!(numbers.iter().all(|number| table.is_taken(*number)));
    assert_eq!(without(&table, &numbers[..2]), [3]);
    table.stored();
    // One comes and goes between two states; one that is stored goes, and its number is another's.
    let passing = intern(&mut table, &[(Some("x"), Some(4))]);
    table.remove(passing[0]);
    table.remove(numbers[0]);
    let new = intern(&mut table, &[(Some("x"), Some(5))]);
    table.take_changes();
    assert_eq!(without(&table, &new), [1]);
    table.not_stored();
    table.take_changes();
    assert_eq!(without(&table, &new), [1], "once more, as it could not be stored");
    table.stored();
    table.take_changes();
    assert_eq!(without(&table, &[]), Vec::<i64>::new());
}

#[test]
fn keys_that_come_and_go_while_nothing_can_be_stored_leave_no_more_than_a_bounded_trace() {
    let mut table = tracked();
    intern(&mut table, &[(Some("stays"), Some(0))]);
    let mut most = 0;
    for n in 0..30_i64 {
        let keys: Vec<_> = (0..1_000).map(|k| (Some("x"), Some(n * 1_000 + k))).collect();
        let numbers = intern(&mut table, &keys);
        if table.has_mostly_gone() {
            table.change_all();
        }
        table.take_changes();
        numbers.into_iter().for_each(|number| table.remove(number));
        table.not_stored();
        most = most.max(table.bytes());
    }
    assert!(most < 1_000_000, "{most} bytes");
}
