use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use datafusion::common::DFSchema;
use datafusion::logical_expr::col;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thermocline_sql::JoinedRows as Parts;

use super::*;
use crate::ordered::operator::whole_state;

/// A row of either input; its number is what it holds.
#[derive(Debug, Clone, Copy)]
struct Row {
    time_us: i64,
    input: u8,
    key: Option<i64>,
    number: i64,
}

fn input_schema() -> SchemaRef {
    let fields = vec![Field::new("k0", DataType::Utf8, true), Field::new("c0", DataType::Int64, true)];
    Arc::new(Schema::new(fields))
}

fn join(reach: JoinReach, join_type: JoinType, residual: bool) -> Join {
    let fields = vec![Field::new("l", DataType::Int64, true), Field::new("r", DataType::Int64, true)];
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields)).unwrap());
    let rows = Parts { keys: 1, columns: [1, 1], schema };
    let residual = residual.then(|| (col("l") + col("r")).lt(datafusion::logical_expr::lit(150_i64)));
    Join::try_new(&StreamJoin { join_type, rows, reach, residual }, [input_schema(), input_schema()]).unwrap()
}

fn ordered(rows: &[Row]) -> OrderedRows {
    let batch = |input: u8| {
        let own = || rows.iter().filter(|row| row.input == input);
        let keys = StringArray::from_iter(own().map(|row| row.key.map(|key| format!("key {key}"))));
        let columns: Vec<ArrayRef> =
            vec![Arc::new(keys), Arc::new(Int64Array::from_iter_values(own().map(|r| r.number)))];
        RecordBatch::try_new(input_schema(), columns).unwrap()
    };
    OrderedRows {
        times_us: rows.iter().map(|row| row.time_us).collect(),
        inputs: rows.iter().map(|row| row.input).collect(),
        batches: vec![batch(0), batch(1)],
    }
}

type Pair = (Option<i64>, Option<i64>);

fn pairs(batches: &[RecordBatch]) -> Vec<Pair> {
    let of = |batch: &RecordBatch| {
        let columns = [0, 1].map(|i| batch.column(i).as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
        columns[0].iter().copied().zip(columns[1].iter().copied()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// Gives the rows in parts that end at random watermarks; now and then another join goes on from the state.
fn run(random: &mut StdRng, rows: &[Row], make: &dyn Fn() -> Join, parts: u32) -> Vec<Pair> {
    let (mut join, mut found, mut start) = (make(), Vec::new(), 0);
    let last_us = rows.last().unwrap().time_us;
    let mut stops: Vec<i64> = (1..parts).map(|_| random.random_range(0..=last_us + 20)).collect();
    stops.sort_unstable();
    stops.push(last_us + 1_000);
    for watermark_us in stops {
        let end = start + rows[start..].partition_point(|row| row.time_us < watermark_us);
        if end > start {
            join.update(&ordered(&rows[start..end])).unwrap();
        }
        start = end;
        found.extend(pairs(&join.advance(watermark_us).unwrap()));
        if random.random_range(0..3) == 0 {
            let state = whole_state(&mut join).unwrap();
            join = make();
            join.restore(&state).unwrap();
        }
    }
    assert_eq!(join.horizon_us(), None);
    found
}

fn expected(rows: &[Row], reach: JoinReach, residual: bool) -> Vec<(i64, i64)> {
    let matches = |l: &Row, r: &Row| {
        let near = match reach {
            JoinReach::Interval { min_us, max_us } => (min_us..=max_us).contains(&(l.time_us - r.time_us)),
            JoinReach::Window { size_us, offset_us } => {
                (l.time_us - offset_us).div_euclid(size_us) == (r.time_us - offset_us).div_euclid(size_us)
            }
        };
        near && l.key.is_some() && l.key == r.key && !(residual && l.number + r.number >= 150)
    };
    let (left, right): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.input == 0);
    left.iter().flat_map(|l| right.iter().filter(|r| matches(l, r)).map(|r| (l.number, r.number))).collect()
}

#[test]
fn pairs_are_those_of_a_nested_loop_wherever_the_watermark_stops() {
    for seed in 0..150 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut rows: Vec<Row> = (0..random.random_range(1..150))
            .map(|number| Row {
                time_us: random.random_range(0..200),
                input: random.random_range(0..2),
                key: (random.random_range(0..8) > 0).then(|| random.random_range(0..3)),
                number,
            })
            .collect();
        rows.sort_by_key(|row| (row.time_us, row.input, row.number));
        let min_us = random.random_range(-30..30);
        let reach = match random.random_range(0..3) {
            0 => JoinReach::Window { size_us: random.random_range(1..40), offset_us: random.random_range(-10..10) },
            _ => JoinReach::Interval { min_us, max_us: min_us + random.random_range(0..40) },
        };
        let residual = random.random_range(0..3) == 0;
        let join_type = [JoinType::Inner, JoinType::Left, JoinType::Right, JoinType::Full][seed as usize % 4];
        let place = format!("seed {seed}: {join_type} {reach:?}, residual {residual}");
        let make = || join(reach, join_type, residual);
        let found = run(&mut random, &rows, &make, 1);
        for parts in [2, 7, 40] {
            assert_eq!(run(&mut random, &rows, &make, parts), found, "{place}, {parts} parts");
        }
        let mut matched: Vec<(i64, i64)> = found.iter().filter_map(|(l, r)| Some(((*l)?, (*r)?))).collect();
        let mut all = expected(&rows, reach, residual);
        matched.sort_unstable();
        all.sort_unstable();
        assert_eq!(matched, all, "{place}");
        for (side, preserved) in [(0, [JoinType::Left, JoinType::Full]), (1, [JoinType::Right, JoinType::Full])] {
            let of = |pair: &(i64, i64)| if side == 0 { pair.0 } else { pair.1 };
            let alone = |pair: &Pair| {
                if side == 0 { pair.0.filter(|_| pair.1.is_none()) } else { pair.1.filter(|_| pair.0.is_none()) }
            };
            let mut found: Vec<i64> = found.iter().filter_map(alone).collect();
            let own = rows.iter().filter(|row| row.input == side && !all.iter().any(|pair| of(pair) == row.number));
            let mut expected: Vec<i64> = own.filter(|_| preserved.contains(&join_type)).map(|row| row.number).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{place}, rows of input {side} without a match");
        }
    }
}

#[test]
fn rows_and_keys_are_forgotten_when_they_can_match_no_more() {
    let mut join = join(JoinReach::Interval { min_us: -5, max_us: 10 }, JoinType::Inner, false);
    for n in 0..2_000 {
        let row = |input| Row { time_us: n * 10, input, key: Some(n), number: n };
        join.update(&ordered(&[row(0), row(1)])).unwrap();
        assert_eq!(pairs(&join.advance(n * 10 + 1).unwrap()), [(Some(n), Some(n))]);
    }
    assert!(join.by_key.len() < 10, "numbers of keys are given again: {}", join.by_key.len());
    assert!(join.sides.iter().all(|side| side.times_us.len() < 3 && side.store.len() < 10));
    assert_eq!(join.horizon_us(), None);
    join.advance(30_000).unwrap();
    assert!(whole_state(&mut join).unwrap().iter().all(|table| table.num_rows() == 0));
}
