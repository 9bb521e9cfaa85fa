//! Panes, groups and snapshots of one small aggregate.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use thermocline_log::{Log, LogOptions};
use thermocline_sql::{QueryShape, SourceFile};

use super::*;
use crate::error::Error;
use crate::keyed::KeyedRows;
use crate::snapshot::Increment;
use crate::stage::Stage;
use crate::tables::Tables;

/// Name of the state file.
const NAME: &str = "x.snapshot";

/// The aggregate of `SELECT {outputs} … GROUP BY {keys} window_start, window_end` over rows of (key, v).
pub(crate) async fn aggregate(outputs: &str, keys: &str) -> WindowAggregate {
    let text = format!(
        "CREATE STREAM r (key TEXT, ts TIMESTAMP, v DOUBLE, WATERMARK FOR ts AS ts);
         CREATE SINK s WITH (connector = 'console');
         INSERT INTO s SELECT {outputs} FROM TUMBLE(r, ts, INTERVAL '10 seconds') GROUP BY {keys} window_start, window_end;"
    );
    let checked = thermocline_sql::check(&[SourceFile { path: "test.sql".into(), text }], &|_| None);
    let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let QueryShape::Windowed(shape) = &pipeline.queries[0].shape else { panic!("windowed") };
    let tables = Arc::new(Tables::without_rows(pipeline.tables.values()));
    let stage = Stage::over_stream(&shape.input, "r", tables).await.unwrap();
    WindowAggregate::try_new(shape, stage.df_schema(), &[]).unwrap()
}

fn columns(keys: &[Option<&str>], values: &[Option<f64>]) -> (Vec<ArrayRef>, Vec<Vec<ArrayRef>>) {
    let values: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    (vec![Arc::new(StringArray::from(keys.to_vec()))], vec![vec![values]])
}

/// The last column.
fn floats(rows: &RecordBatch) -> Vec<Option<f64>> {
    rows.columns().last().unwrap().as_primitive::<Float64Type>().iter().collect()
}

/// The result of one window of a partition with these rows: keys and results, in key order.
fn result(aggregate: WindowAggregate, batches: &[(Vec<ArrayRef>, Vec<Vec<ArrayRef>>)]) -> RecordBatch {
    let aggregate = Arc::new(aggregate);
    let mut partition = PartitionWindows::new(Arc::clone(&aggregate), Openness::default(), 0, None).unwrap();
    for (keys, arguments) in batches {
        add(&mut partition, keys.clone(), arguments.clone());
    }
    let start = Position { closed_us: i64::MIN, settled_us: i64::MIN };
    let mut operator = WindowOperator::new(aggregate, Openness::default(), start);
    operator.close_next(&mut [&mut partition], 10_000_000).unwrap().expect("a window").rows
}

/// Adds rows at second 1.
fn add(partition: &mut PartitionWindows, keys: Vec<ArrayRef>, arguments: Vec<Vec<ArrayRef>>) {
    let rows = keys.first().or(arguments.iter().flatten().next()).map_or(1, |column| column.len());
    let filters = arguments.iter().map(|_| None).collect();
    let times = vec![1_000_000; rows].into();
    let row_of = UInt32Array::from_iter_values(0..rows as u32);
    partition.update(&times, &KeyedRows { keys, arguments, filters }, &row_of).unwrap();
}

#[tokio::test]
async fn groups_come_in_key_order() {
    let aggregate = aggregate("key, sum(v) AS total", "key,").await;
    let first = columns(&[Some("b"), None, Some("b")], &[Some(1.0), Some(2.0), Some(4.0)]);
    let found = result(aggregate, &[first, columns(&[Some("a"), None], &[None, Some(3.0)])]);
    let keys: Vec<_> = found.column(0).as_string::<i32>().iter().collect();
    assert_eq!(keys, [None, Some("a"), Some("b")]);
    assert_eq!(floats(&found), [Some(5.0), None, Some(5.0)]);
}

#[tokio::test]
async fn texts_may_come_as_dictionaries_in_any_batch() {
    let keys = [Some("b"), None, Some("a"), Some("b"), None];
    let values = [Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(16.0)];
    let (plain, arguments) = columns(&keys, &values);
    let dictionary: ArrayRef = Arc::new(keys.into_iter().collect::<DictionaryArray<Int32Type>>());
    let batches = [
        (vec![Arc::clone(&dictionary)], arguments.clone()),
        (plain, arguments.clone()),
        (vec![dictionary.slice(1, 3)], vec![vec![arguments[0][0].slice(1, 3)]]),
    ];
    let found = result(aggregate("key, sum(v) AS total", "key,").await, &batches);
    assert_eq!(floats(&found), [Some(38.0), Some(12.0), Some(26.0)]);
}

#[tokio::test]
async fn without_keys_all_rows_are_one_group() {
    let aggregate = aggregate("count(v) AS n", "").await;
    let (_, arguments) = columns(&[], &[Some(1.0), None, Some(3.0)]);
    let found = result(aggregate, &[(vec![], arguments)]);
    assert_eq!(found.columns().last().unwrap().as_primitive::<Int64Type>().values(), &[2]);
}

#[tokio::test]
async fn extremes_take_nan_for_greater_than_any_number() {
    let extremes = async |function: &str, rows: &[f64]| {
        let aggregate = aggregate(&format!("key, {function}(v) AS x"), "key,").await;
        let rows: Vec<Option<f64>> = rows.iter().copied().map(Some).collect();
        floats(&result(aggregate, &[columns(&vec![Some("a"); rows.len()], &rows)]))[0].unwrap()
    };
    assert!(extremes("max", &[5.0, f64::NAN, 1.0]).await.is_nan());
    assert_eq!(extremes("min", &[5.0, f64::NAN, 1.0, f64::NAN]).await, 1.0);
    assert!(extremes("min", &[f64::NAN]).await.is_nan());
    assert_eq!(extremes("max", &[f64::NEG_INFINITY]).await, f64::NEG_INFINITY);
    assert_eq!(extremes("min", &[f64::INFINITY]).await, f64::INFINITY);
}

#[tokio::test]
async fn a_key_that_is_in_no_pane_any_more_is_forgotten() {
    let aggregate = Arc::new(aggregate("key, count(v) AS n", "key,").await);
    let mut partition = PartitionWindows::new(aggregate, Openness::default(), 0, None).unwrap();
    for (second, key) in [(1, "a"), (12, "b"), (23, "c")] {
        let (keys, arguments) = columns(&[Some(key)], &[Some(1.0)]);
        let rows = KeyedRows { keys, arguments, filters: vec![None] };
        partition.update(&vec![second * 1_000_000].into(), &rows, &vec![0].into()).unwrap();
    }
    assert_eq!(partition.store.keys.len(), 3);
    partition.forget(20_000_000);
    assert_eq!(partition.store.keys.len(), 1);
}

/// What comes of a script over two partitions of `count(v)` per key in windows of ten seconds.
///
/// ```text
///  0 a 15    a row of partition 0: its key, its second
///  results   what the watermark lets out, then what has changed besides
/// ```
async fn run(openness: Openness, script: &str) -> String {
    let aggregate = Arc::new(aggregate("key, count(v) AS n", "key,").await);
    let partition = || PartitionWindows::new(Arc::clone(&aggregate), openness, 0, None).unwrap();
    let mut partitions = [partition(), partition()];
    let start = Position { closed_us: i64::MIN, settled_us: i64::MIN };
    let mut operator = WindowOperator::new(Arc::clone(&aggregate), openness, start);
    let mut shown = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        writeln!(shown, "{line}").unwrap();
        match words.as_slice() {
            [partition, key, second] => {
                let (keys, arguments) = columns(&[Some(key)], &[Some(1.0)]);
                let rows = KeyedRows { keys, arguments, filters: vec![None] };
                let times = vec![second.parse::<i64>().unwrap() * 1_000_000].into();
                let partition = &mut partitions[partition.parse::<usize>().unwrap()];
                if !partition.update(&times, &rows, &vec![0].into()).unwrap().is_empty() {
                    shown += "  late\n";
                }
            }
            _ => results(&mut partitions, &mut operator, &mut shown),
        }
    }
    writeln!(shown, "{} open panes", partitions.iter().map(PartitionWindows::open_panes).sum::<usize>()).unwrap();
    shown
}

fn results(partitions: &mut [PartitionWindows; 2], operator: &mut WindowOperator, shown: &mut String) {
    let watermark_us = partitions.iter().map(|p| p.watermark.current_us()).min().unwrap();
    let mut partitions: Vec<&mut PartitionWindows> = partitions.iter_mut().collect();
    while let Some(Closed { rows, is_correction, .. }) = operator.close_next(&mut partitions, watermark_us).unwrap() {
        let word = if is_correction { "last" } else { "first" };
        writeln!(shown, "  {word} {}", counts(&rows)).unwrap();
    }
    for rows in operator.changed(&mut partitions).unwrap() {
        writeln!(shown, "  changed {}", counts(&rows)).unwrap();
    }
}

/// Start of the window and count per key.
fn counts(rows: &RecordBatch) -> String {
    let starts = rows.column(1).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    let keys = rows.column(0).as_string::<i32>().iter().map(Option::unwrap);
    let counts = rows.column(3).as_primitive::<Int64Type>().values();
    let groups: Vec<String> = keys.zip(counts).map(|(key, count)| format!("{key}={count}")).collect();
    format!("{}: {}", starts.value(0) / 1_000_000, groups.join(" "))
}

/// A row that is late in its own partition while the other has not closed the window; and lateness that has passed in one only.
#[tokio::test]
async fn late_rows_correct_a_window_until_its_lateness_has_passed() {
    let openness = Openness { lateness_us: 20_000_000, previews: Previews::Late };
    let script = "
        0 a 1
        0 a 15
        0 a 2
        1 b 3
        results
        1 b 12
        results
        results
        1 b 4
        1 c 5
        results
        0 a 30
        0 a 6
        1 c 7
        results
        1 b 31
        results
    ";
    insta::assert_snapshot!(run(openness, script).await, @r#"
    0 a 1
    0 a 15
    0 a 2
    1 b 3
    results
    1 b 12
    results
      first 0: a=1 b=1
      changed 0: a=2
    results
    1 b 4
    1 c 5
    results
      changed 0: b=2 c=1
    0 a 30
    0 a 6
      late
    1 c 7
    results
      changed 0: c=2
    1 b 31
    results
      first 10: a=1 b=1
      last 0: a=2 b=2 c=2
    4 open panes
    "#);
}

#[tokio::test]
async fn without_previews_a_correction_comes_once_and_last() {
    let openness = Openness { lateness_us: 20_000_000, previews: Previews::None };
    let script = "
        0 a 1
        0 a 12
        0 a 2
        1 a 1
        1 a 12
        1 a 2
        results
        0 b 30
        1 b 30
        results
    ";
    insta::assert_snapshot!(run(openness, script).await, @r#"
    0 a 1
    0 a 12
    0 a 2
    1 a 1
    1 a 12
    1 a 2
    results
      first 0: a=2
    0 b 30
    1 b 30
    results
      first 10: a=2
      last 0: a=4
    4 open panes
    "#);
}

#[tokio::test]
async fn open_windows_show_what_has_changed() {
    let openness = Openness { lateness_us: 0, previews: Previews::All };
    let script = "
        0 a 1
        1 b 11
        results
        1 a 12
        results
        0 c 13
        results
        results
    ";
    insta::assert_snapshot!(run(openness, script).await, @r#"
    0 a 1
    1 b 11
    results
      changed 0: a=1
      changed 10: b=1
    1 a 12
    results
      changed 10: a=1
    0 c 13
    results
      first 0: a=1
      changed 10: c=1
    results
    2 open panes
    "#);
}

/// A state with three panes, one of them of late rows.
fn state(aggregate: &Arc<WindowAggregate>, keyed: bool) -> PartitionState {
    let mut panes = BTreeMap::new();
    for n in 0..3 {
        let mut partition = PartitionWindows::new(Arc::clone(aggregate), Openness::default(), 0, Some(1)).unwrap();
        let (keys, arguments) = columns(&[Some("a"), None], &[Some(f64::from(n)), Some(f64::NAN)]);
        let (keys, arguments) = if keyed { (keys, arguments) } else { (vec![], vec![]) };
        add(&mut partition, keys, arguments);
        let state = partition.checkpoint().unwrap().expect("it is due at every row");
        let start_us = i64::from(n) * 10_000_000 - 10_000_000;
        let key = assign::PaneKey {
            start_us,
            first_end_us: start_us + 10_000_000,
            on_time_end_us: if n == 1 { i64::MAX } else { start_us + 10_000_000 },
        };
        panes.insert(key, state.panes.into_values().next().unwrap());
    }
    // Of a pane that has not changed there is no table.
    panes.insert(assign::PaneKey { start_us: 90, first_end_us: 100, on_time_end_us: 100 }, Vec::new());
    PartitionState { next_offset: 42, after: Some(7), watermark_us: -7, panes }
}

fn assert_same(found: &PartitionState, expected: &PartitionState) {
    assert_eq!(found.next_offset, expected.next_offset);
    assert_eq!(found.after, expected.after);
    assert_eq!(found.watermark_us, expected.watermark_us);
    assert_eq!(found.panes.len(), expected.panes.len());
    for ((found_key, found), (key, expected)) in found.panes.iter().zip(&expected.panes) {
        assert_eq!(found_key, key);
        // NaN is not equal to itself: the text is.
        let text = |tables: &[RecordBatch]| format!("{tables:?}");
        assert_eq!(text(found), text(expected));
    }
}

#[tokio::test]
async fn many_changed_groups_are_stored_before_their_time_and_not_tried_again_at_once() {
    let aggregate = Arc::new(aggregate("key, sum(v) AS total", "key,").await);
    let mut partition = PartitionWindows::new(aggregate, Openness::default(), 0, None).unwrap();
    let rows = |from: usize, to: usize| {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|n| n.to_string())));
        (vec![keys], vec![vec![Arc::new(Float64Array::from(vec![1.0; to - from])) as ArrayRef]])
    };
    let (keys, values) = rows(0, (1 << 18) - 1);
    add(&mut partition, keys, values);
    assert!(partition.checkpoint().unwrap().is_none(), "neither rows nor groups enough");
    let (keys, values) = rows(0, 1 << 18);
    add(&mut partition, keys, values);
    assert_eq!(partition.checkpoint().unwrap().expect("enough groups").groups(), 1 << 18);
    partition.not_stored();
    let (keys, values) = rows(0, 10);
    add(&mut partition, keys, values);
    assert!(partition.checkpoint().unwrap().is_none(), "it waits for more rows or other groups");
}

#[tokio::test]
async fn a_snapshot_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    for outputs in ["key, avg(v) AS x", "key, count(DISTINCT v) AS x"] {
        let aggregate = Arc::new(aggregate(outputs, "key,").await);
        let expected = state(&aggregate, true);
        expected.clone().write(&log, NAME, &aggregate).unwrap();
        assert_same(&PartitionState::read(&log, NAME, &aggregate).unwrap().unwrap(), &expected);
    }
    // Neither keys nor functions: a state without columns still is one row.
    let aggregate = Arc::new(aggregate("window_start AS s", "").await);
    let expected = state(&aggregate, false);
    expected.clone().write(&log, NAME, &aggregate).unwrap();
    assert_same(&PartitionState::read(&log, NAME, &aggregate).unwrap().unwrap(), &expected);
}

#[tokio::test]
async fn any_flipped_bit_is_detected_and_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let path = log.state_dir().join(NAME);
    let aggregate = Arc::new(aggregate("key, avg(v) AS x", "key,").await);
    state(&aggregate, true).write(&log, NAME, &aggregate).unwrap();
    let intact = std::fs::read(&path).unwrap();
    for byte in (0..intact.len()).step_by(7).chain(0..16).chain(intact.len() - 8..intact.len()) {
        let mut broken = intact.clone();
        broken[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, &broken).unwrap();
        let error = PartitionState::read(&log, NAME, &aggregate).expect_err("a bit is wrong");
        assert!(matches!(&error, Error::State { name, .. } if name.ends_with("x.snapshot")), "byte {byte}: {error}");
    }
    for length in [0, 5, 12, intact.len() / 2, intact.len() - 1] {
        std::fs::write(&path, &intact[..length]).unwrap();
        let error = PartitionState::read(&log, NAME, &aggregate).expect_err("the end is missing");
        assert!(error.to_string().contains("x.snapshot"), "{length} bytes: {error}");
    }
}

#[tokio::test]
async fn an_unknown_version_is_refused_with_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let path = log.state_dir().join(NAME);
    let aggregate = Arc::new(aggregate("key, avg(v) AS x", "key,").await);
    state(&aggregate, true).write(&log, NAME, &aggregate).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[6..8].copy_from_slice(&9_u16.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let text = PartitionState::read(&log, NAME, &aggregate).unwrap_err().to_string();
    assert!(text.contains("format version 2 to 3") && text.contains("version 9"), "{text}");
}

#[tokio::test]
async fn a_state_of_other_types_is_none_of_the_query() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    let before = Arc::new(aggregate("key, avg(v) AS x", "key,").await);
    state(&before, true).write(&log, NAME, &before).unwrap();
    let other = aggregate("key, count(v) AS x", "key,").await;
    assert!(PartitionState::read(&log, NAME, &other).unwrap().is_none());
}

/// `fixtures/v2.snapshot` was written by version 2, of `state`, and stays as it is.
#[tokio::test]
async fn a_file_of_an_earlier_version_is_a_whole_state() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), LogOptions::default()).unwrap();
    std::fs::write(log.state_dir().join(NAME), include_bytes!("fixtures/v2.snapshot")).unwrap();
    let aggregate = Arc::new(aggregate("key, avg(v) AS x", "key,").await);
    let mut expected = state(&aggregate, true);
    expected.after = None;
    expected.panes.retain(|_, tables| !tables.is_empty());
    assert_same(&PartitionState::read(&log, NAME, &aggregate).unwrap().unwrap(), &expected);
}
