//! The operator alone: what it emits whatever the cuts, and what it holds.

use arrow::array::{Float64Array, StringArray};
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thermocline_sql::{OrderedOperator as Kind, QueryShape, SourceFile};

use super::*;
use crate::ordered::operator::whole_state;
use crate::stage::Stage;
use crate::tables::Tables;

/// The operator of `SELECT key, v, {calls} FROM {from}` over rows of (key, v), and of (key, v, window_end) over windows.
struct Made {
    shape: OverShape,
    stage: Stage,
}

impl Made {
    async fn by(calls: &str) -> Self {
        let text = format!(
            "CREATE STREAM r (key TEXT, ts TIMESTAMP NOT NULL, v DOUBLE, WATERMARK FOR ts AS ts);
             CREATE SINK s WITH (connector = 'console'); INSERT INTO s SELECT key, v, {calls};"
        );
        let checked = thermocline_sql::check(&[SourceFile { path: "test.sql".into(), text }], &|_| None);
        let pipeline = checked.pipeline.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let QueryShape::Ordered(shape) = &pipeline.queries[0].shape else { panic!("ordered") };
        let Kind::Over(over) = &shape.operator else { panic!("over") };
        let tables = Arc::new(Tables::without_rows(pipeline.tables.values()));
        let stage = Stage::over_stream(&shape.inputs[0].plan, "r", tables).await.unwrap();
        Self { shape: over.clone(), stage }
    }

    fn operator(&self) -> Over {
        Over::try_new(&self.shape, self.stage.df_schema()).unwrap()
    }

    /// The operator after its state was stored and read.
    fn restored(&self, mut from: Over) -> Over {
        let state = whole_state(&mut from).unwrap();
        for (table, shape) in state.iter().zip(from.state_shapes()) {
            assert_eq!(table.schema(), shape.schema);
        }
        let mut restored = self.operator();
        restored.restore(&state).unwrap();
        restored
    }
}

type Row = (i64, String, Option<f64>);

fn rows(rows: &[Row]) -> OrderedRows {
    let schema = Schema::new(vec![
        Field::new("c0", arrow::datatypes::DataType::Utf8, true),
        Field::new("c1", arrow::datatypes::DataType::Float64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, key, _)| key))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|(.., v)| *v))),
    ];
    OrderedRows {
        times_us: rows.iter().map(|(time_us, ..)| *time_us).collect(),
        inputs: vec![0; rows.len()],
        batches: vec![RecordBatch::try_new(Arc::new(schema), columns).unwrap()],
    }
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let Some(first) = batches.first() else { return Vec::new() };
    let all = concat_batches(&first.schema(), batches).unwrap();
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = all.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let text = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" ");
    (0..all.num_rows()).map(text).collect()
}

fn random_rows(random: &mut StdRng, count: usize) -> Vec<Row> {
    let mut time_us = -20;
    let mut row = |random: &mut StdRng| {
        time_us += [0, 0, 1, 3, 10][random.random_range(0..5)];
        let value = (random.random_range(0..6) > 0).then(|| random.random_range(0..1000) as f64 / 7.0);
        (time_us, format!("k{}", random.random_range(0..4)), value)
    };
    (0..count).map(|_| row(random)).collect()
}

/// Gives the rows in pieces, each of whole times, with watermarks in between; stores and reads the state `often`.
fn run(made: &Made, all: &[Row], random: &mut StdRng, often: u32) -> Vec<String> {
    let mut operator = made.operator();
    let mut emitted = Vec::new();
    let mut rest = all;
    while let Some((first_us, ..)) = rest.first() {
        let watermark_us = first_us + random.random_range(-3..60);
        let (now, later) = rest.split_at(rest.partition_point(|(time_us, ..)| *time_us < watermark_us));
        if !now.is_empty() {
            operator.update(&rows(now)).unwrap();
        }
        emitted.extend(operator.advance(watermark_us).unwrap());
        rest = later;
        if random.random_range(0..100) < often {
            operator = made.restored(operator);
        }
    }
    let end_us = operator.horizon_us().unwrap_or(i64::MIN).max(all.last().unwrap().0 + 1);
    emitted.extend(operator.advance(end_us).unwrap());
    texts(&emitted)
}

#[tokio::test]
async fn cuts_and_restarts_leave_no_trace() {
    let w = "PARTITION BY key ORDER BY ts";
    let queries = [
        format!(
            "sum(v) OVER ({w} ROWS 4 PRECEDING), avg(v) OVER (ORDER BY ts RANGE INTERVAL '9 microseconds' PRECEDING)"
        ),
        format!("stddev(v) OVER ({w}), count(*) OVER (ORDER BY ts), lag(v, 2) OVER ({w}), rank() OVER ({w})"),
        format!("lead(v, 2) OVER ({w}), sum(v) OVER ({w} ROWS UNBOUNDED PRECEDING), dense_rank() OVER (ORDER BY ts)"),
        format!(
            "max(v) OVER ({w} RANGE BETWEEN INTERVAL '5 microseconds' PRECEDING AND INTERVAL '20 microseconds' FOLLOWING)"
        ),
        format!(
            "last_value(v) IGNORE NULLS OVER ({w}), nth_value(v, 2) OVER ({w} ROWS BETWEEN 1 PRECEDING AND 3 FOLLOWING)"
        ),
    ];
    for (n, calls) in queries.iter().enumerate() {
        let made = Made::by(&format!("{calls} FROM r")).await;
        for seed in 0..6 {
            let mut random = StdRng::seed_from_u64(seed);
            let all = random_rows(&mut random, 200);
            let mut whole = made.operator();
            whole.update(&rows(&all)).unwrap();
            let mut emitted = whole.advance(all.last().unwrap().0 + 1).unwrap();
            emitted.extend(whole.advance(whole.horizon_us().unwrap_or(i64::MIN)).unwrap());
            let expected = texts(&emitted);
            assert!(expected.len() > 180, "query {n}: {}", expected.len());
            for often in [0, 30, 100] {
                assert_eq!(run(&made, &all, &mut random, often), expected, "query {n}, seed {seed}, {often} %");
            }
        }
    }
}

#[tokio::test]
async fn what_no_frame_needs_is_forgotten() {
    let w = "PARTITION BY key ORDER BY ts";
    let held = async |calls: &str| {
        let made = Made::by(&format!("{calls} FROM r")).await;
        let mut operator = made.operator();
        for step in 0..400_i64 {
            // Ten keys live for a while each; a row a microsecond.
            let row = |n: i64| (step * 100 + n, format!("k{}", step / 20 * 10 + n % 10), Some(1.0));
            operator.update(&rows(&(0..100).map(row).collect::<Vec<_>>())).unwrap();
            operator.advance(step * 100 + 100).unwrap();
        }
        assert!(operator.inputs.rows() <= 2 * operator.partitions[0].entries() + SLACK_ROWS);
        let state = whole_state(&mut operator).unwrap();
        (state[3].num_rows(), state[2].num_rows())
    };
    let range = |us: i64| format!("sum(v) OVER ({w} RANGE INTERVAL '{us} microseconds' PRECEDING)");
    assert_eq!(held(&range(49)).await, (49, 10));
    assert_eq!(
        held(&format!("max(v) OVER ({w} RANGE BETWEEN CURRENT ROW AND INTERVAL '29 microseconds' FOLLOWING)")).await,
        (29, 10)
    );
    // A number of rows, and a running state, are kept of every key.
    assert_eq!(held(&format!("sum(v) OVER ({w} ROWS 4 PRECEDING)")).await, (4 * 200, 200));
    assert_eq!(held(&format!("sum(v) OVER ({w})")).await, (0, 200));
}
