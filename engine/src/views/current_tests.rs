use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thermocline_log::{Commit, LogOptions, StreamSpec};

use super::*;

struct View {
    log: Log,
    stream: Stream,
    rows: CurrentRows,
    _dir: tempfile::TempDir,
}

impl View {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogOptions::default()).unwrap();
        let fields = [("device", DataType::Utf8), ("end", DataType::Int64), ("value", DataType::Int64)];
        let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
        let spec = StreamSpec::new("view.v", Arc::new(Schema::new(fields.to_vec())));
        let stream = log.create_stream(spec).await.unwrap();
        let rows = CurrentRows::new("v", &log, &stream, &["device".into(), "end".into()]).unwrap();
        Self { log, stream, rows, _dir: dir }
    }

    async fn append(&self, rows: &[(String, i64, i64)]) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(device, ..)| device))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, end, _)| *end))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(.., value)| *value))),
        ];
        let batch = RecordBatch::try_new(Arc::clone(self.stream.schema()), columns).unwrap();
        let mut commit = Commit::new();
        commit.append(self.stream.id(), batch);
        self.log.commit(commit).await.unwrap();
    }

    fn found(&self, device: Option<&str>) -> Vec<(String, i64, i64)> {
        let asked: Vec<ArrayRef> =
            device.into_iter().map(|device| Arc::new(StringArray::from(vec![device])) as ArrayRef).collect();
        let mut found = Vec::new();
        for batch in self.rows.read(&[0, 1, 2], &asked).unwrap() {
            let number = |row: usize, column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            let row = |n: usize| (batch.column(0).as_string::<i32>().value(n).to_owned(), number(n, 1), number(n, 2));
            found.extend((0..batch.num_rows()).map(row));
        }
        found
    }
}

#[tokio::test]
async fn the_latest_row_of_each_key_is_current_whatever_the_commits() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let view = View::new().await;
        let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for n in 0..120 {
            let count = random.random_range(1..40);
            let mut row = || (format!("d{}", random.random_range(0..20)), random.random_range(0..50), n);
            let rows: Vec<_> = (0..count).map(|_| row()).collect();
            view.append(&rows).await;
            expected.extend(rows.into_iter().map(|(device, end, value)| ((device, end), value)));
            if n % 7 == 0 {
                let rows = expected.iter().map(|((device, end), value)| (device.clone(), *end, *value));
                assert_eq!(view.found(None), rows.clone().collect::<Vec<_>>(), "seed {seed}, commit {n}");
                let of_one: Vec<_> = rows.filter(|(device, ..)| device == "d1").collect();
                assert_eq!(view.found(Some("d1")), of_one, "d1 and not d10; seed {seed}, commit {n}");
            }
        }
        let chunks = view.rows.state.lock().chunks.len();
        assert!(chunks < 20, "{chunks} chunks of {} rows", expected.len());
        let (rows, bytes) = view.rows.size();
        assert!(rows == expected.len() && bytes > rows * 24 && bytes < rows * 2_000, "{bytes} bytes of {rows} rows");
    }
}

#[tokio::test]
async fn what_retention_removes_is_not_current() {
    let view = View::new().await;
    let row = |device: &str, value| (device.to_owned(), 0, value);
    view.append(&[row("a", 1), row("b", 1), row("c", 1)]).await;
    view.append(&[row("a", 2)]).await;
    assert_eq!(view.found(None), [row("a", 2), row("b", 1), row("c", 1)]);
    let mut state = view.rows.state.lock();
    state.forget_before(2, &[0, 1]).unwrap();
    assert_eq!(state.current.len(), 2);
    drop(state);
    assert_eq!(view.found(None), [row("a", 2), row("c", 1)]);
    assert_eq!(view.found(Some("b")), []);
}
