use std::fs;
use std::io::Write;
use std::sync::atomic::Ordering;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use tempfile::TempDir;
use thermocline_log::Log;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{all_lines, all_rows, open_doomed_log, open_log, readings, readings_schema};

/// A folder of files and a log.
struct Place {
    files: TempDir,
    data: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { files: tempfile::tempdir().unwrap(), data: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.files.path().join(name), content).unwrap();
    }

    fn append(&self, name: &str, content: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.files.path().join(name)).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }

    fn connector(&self, options: &[(&str, &str)]) -> FileConnector {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        FileConnector::new(&options, self.files.path()).unwrap()
    }

    fn problems(&self, options: &[(&str, &str)]) -> Vec<String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let problems = FileConnector::new(&options, self.files.path()).unwrap_err();
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&self.files.path().display().to_string(), "BASE"))
            .collect()
    }

    /// Opens the log, reads with a connector to its end, closes the log; (rows, rejected rows) of this run.
    async fn run(&self, connector: FileConnector) -> (u64, u64) {
        let log = open_log(self.data.path());
        let status = connector.status();
        let end = Box::new(connector).run(context(&log).await).await.unwrap();
        assert_eq!((end, status.is_finished()), (ConnectorEnd::Finished, true));
        log.close().await.unwrap();
        (status.rows(), status.rejected())
    }

    async fn lines(&self) -> Vec<String> {
        let log = open_log(self.data.path());
        let lines = all_lines(&log, &readings(&log).await.stream);
        log.close().await.unwrap();
        lines
    }

    async fn rejected(&self) -> Vec<serde_json::Value> {
        let log = open_log(self.data.path());
        let lines = all_lines(&log, &readings(&log).await.rejected);
        log.close().await.unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn context(log: &Log) -> ConnectorContext {
    ConnectorContext::new(log.clone(), readings(log).await, CancellationToken::new())
}

fn row(i: u32) -> String {
    format!("{{\"device_id\":\"dev-{i}\",\"ts\":{i},\"temperature\":{i}}}\n")
}

/// The numbers of the rows in a log, in order.
async fn numbers(log: &Log) -> Vec<u32> {
    let rows = all_rows(log, &readings(log).await.stream);
    rows.column(2).as_primitive::<Float64Type>().values().iter().map(|number| *number as u32).collect()
}

#[tokio::test]
async fn csv_with_and_without_header() {
    let place = Place::new();
    place.write(
        "a.csv",
        "ts,temperature,device_id\n2013-12-02 21:15:00,73.9,m1\n2013-12-02 21:20:00,hot,m1\n2013-12-02 21:25:00,,m1",
    );
    assert_eq!(place.run(place.connector(&[("path", "a.csv")])).await, (2, 1));
    assert_eq!(
        place.lines().await,
        [
            r#"{"device_id":"m1","ts":"2013-12-02T21:15:00Z","temperature":73.9}"#,
            r#"{"device_id":"m1","ts":"2013-12-02T21:25:00Z"}"#
        ]
    );
    let rejected = &place.rejected().await[0];
    assert_eq!((rejected["source"].as_str(), rejected["line"].as_u64()), (Some("a.csv"), Some(3)));
    place.write("b.data", "m2,1000,1.5,ok\n");
    let options = [("path", "b.data"), ("format", "csv"), ("header", "false")];
    assert_eq!(place.run(place.connector(&options)).await, (1, 0));
    assert_eq!(
        place.lines().await[2],
        r#"{"device_id":"m2","ts":"1970-01-01T00:00:01Z","temperature":1.5,"status":"ok"}"#
    );
}

#[tokio::test]
async fn a_glob_in_order_and_each_file_once() {
    let place = Place::new();
    place.write("b.ndjson", &row(3));
    place.write("a.ndjson", &(row(1) + &row(2)));
    place.write("c.json", &format!("[{},{}]", row(4), row(5)));
    let options = [("path", "*.*json")];
    assert_eq!(place.run(place.connector(&options)).await, (5, 0));
    assert_eq!(place.run(place.connector(&options)).await, (0, 0));
    place.append("b.ndjson", &row(6));
    place.write("d.ndjson", &row(7));
    assert_eq!(place.run(place.connector(&options)).await, (2, 0));
    let log = open_log(place.data.path());
    assert_eq!(numbers(&log).await, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn lines_longer_than_a_chunk_and_line_numbers_across_chunks() {
    let place = Place::new();
    let long = "x".repeat(300);
    place.write("a.ndjson", &format!("{}{{\"device_id\":\"{long}\",\"ts\":2}}\n\nbad\n{}", row(1), row(3)));
    place.write("b.csv", &format!("device_id,ts\n\"{long}\n{long}\",1\na,bad\n"));
    for (path, counts, line) in [("a.ndjson", (3, 1), 4), ("b.csv", (1, 1), 4)] {
        let mut connector = place.connector(&[("path", path)]);
        connector.config.chunk_bytes = 16;
        assert_eq!(place.run(connector).await, counts);
        assert_eq!(place.rejected().await.last().unwrap()["line"], line, "{path}");
    }
}

/// Runs the connector that `make` makes again and again, the log dying one sync later each time, until it finishes;
/// how often it died.
async fn run_doomed(place: &Place, make: impl Fn() -> FileConnector) -> usize {
    for deaths in 0.. {
        let (log, disk) = open_doomed_log(place.data.path());
        let context = context(&log).await;
        disk.syncs_left.store(deaths, Ordering::SeqCst);
        if Box::new(make()).run(context).await.is_ok() {
            return deaths as usize;
        }
    }
    unreachable!("there are more syncs than commits")
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_each_commit_every_row_is_there_once() {
    let place = Place::new();
    place.write("a.ndjson", &(0..200).map(row).collect::<String>());
    place.write("b.ndjson", &(200..300).map(row).collect::<String>());
    let deaths = run_doomed(&place, || {
        let mut connector = place.connector(&[("path", "*.ndjson")]);
        connector.config.chunk_bytes = 500;
        connector
    });
    let deaths = deaths.await;
    assert!(deaths > 3, "died {deaths} times");
    let log = open_log(place.data.path());
    assert_eq!(numbers(&log).await, (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let place = Place::new();
    place.write("a.ndjson", &(0..100).map(row).collect::<String>());
    let (log, disk) = open_doomed_log(place.data.path());
    let mut connector = place.connector(&[("path", "a.ndjson")]);
    connector.config.chunk_bytes = 500;
    let context = context(&log).await;
    disk.full.store(true, Ordering::SeqCst);
    let running = tokio::spawn(Box::new(connector).run(context));
    while disk.refused.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(running.await.unwrap().unwrap(), ConnectorEnd::Finished);
    assert_eq!(numbers(&log).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn follow_reads_on_whole_lines_new_files_and_renamed_ones() {
    let place = Place::new();
    place.write("a.ndjson", &(row(1) + "{\"device_id\":\"dev-2\","));
    let log = open_log(place.data.path());
    let connector = place.connector(&[("path", "a.ndjson*"), ("format", "ndjson"), ("follow", "true")]);
    assert!(!connector.is_finite());
    let context = context(&log).await;
    let shutdown = context.shutdown.clone();
    let running = tokio::spawn(Box::new(connector).run(context));
    let until = async |expected: &[u32]| {
        while numbers(&log).await != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until(&[1]).await;
    place.append("a.ndjson", "\"ts\":2,\"temperature\":2}\n");
    until(&[1, 2]).await;
    fs::rename(place.files.path().join("a.ndjson"), place.files.path().join("a.ndjson.1")).unwrap();
    place.append("a.ndjson.1", &row(3));
    until(&[1, 2, 3]).await;
    place.write("a.ndjson", &row(4));
    until(&[1, 2, 3, 4]).await;
    shutdown.cancel();
    assert_eq!(running.await.unwrap().unwrap(), ConnectorEnd::Stopped);
}

#[tokio::test]
async fn another_file_of_the_same_name_is_read_from_its_start() {
    let place = Place::new();
    place.write("a.ndjson", &(row(1) + &row(2)));
    let options = [("path", "a.ndjson")];
    assert_eq!(place.run(place.connector(&options)).await, (2, 0));
    fs::remove_file(place.files.path().join("a.ndjson")).unwrap();
    place.write("a.ndjson", &(row(7) + &row(8) + &row(9)));
    assert_eq!(place.run(place.connector(&options)).await, (3, 0));
    let copy = fs::read(place.files.path().join("a.ndjson")).unwrap();
    fs::remove_file(place.files.path().join("a.ndjson")).unwrap();
    fs::write(place.files.path().join("a.ndjson"), copy).unwrap();
    assert_eq!(place.run(place.connector(&options)).await, (0, 0), "a copy is the same file");
}

fn write_parquet(path: &Path, numbers: std::ops::Range<u32>) {
    let body: String = numbers.map(row).collect();
    let schema = readings_schema();
    let mut reader = arrow::json::ReaderBuilder::new(Arc::clone(&schema)).build(body.as_bytes()).unwrap();
    let batch: RecordBatch = reader.next().unwrap().unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_each_commit_parquet_is_read_once() {
    let place = Place::new();
    write_parquet(&place.files.path().join("a.parquet"), 0..300);
    write_parquet(&place.files.path().join("b.parquet"), 300..350);
    let deaths = run_doomed(&place, || {
        let mut connector = place.connector(&[("path", "*.parquet")]);
        connector.config.batch_rows = 20;
        connector
    });
    let deaths = deaths.await;
    assert!(deaths > 3, "died {deaths} times");
    let log = open_log(place.data.path());
    assert_eq!(numbers(&log).await, (0..350).collect::<Vec<_>>());
}

#[tokio::test]
async fn options_that_make_no_sense() {
    let place = Place::new();
    place.write("a.txt", "");
    assert_eq!(place.problems(&[]), ["option \"path\": expected a path or glob, found nothing"]);
    assert_eq!(
        place.problems(&[("path", "b.csv")]),
        ["option \"path\": expected a file, found no file at \"b.csv\" (relative paths start at BASE)"]
    );
    assert_eq!(
        place.problems(&[("path", "a.txt"), ("folow", "true")]),
        [
            "option \"folow\": no such option (did you mean follow)",
            "option \"path\": expected an extension that names the format, found \"a.txt\" (add format = 'csv', 'ndjson', 'json' or 'parquet')"
        ]
    );
    assert!(place.problems(&[("path", "[.csv")])[0].starts_with("option \"path\": expected a glob"));
    assert_eq!(
        place.problems(&[("path", "*.csv")]),
        [
            "option \"path\": expected a file, found none that matches \"*.csv\" (with follow = 'true' files may come later)"
        ]
    );
    assert_eq!(
        place.problems(&[("path", "*.txt"), ("format", "xml")]),
        ["option \"format\": expected csv, ndjson, json or parquet, found \"xml\""]
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let place = Place::new();
    place.write("a.csv", "x,y\n1,2\n");
    place.write("b.parquet", "no parquet");
    let log = open_log(place.data.path());
    for (path, expected) in [("a.csv", "expected a header line"), ("b.parquet", "b.parquet")] {
        let error =
            Box::new(place.connector(&[("path", path)])).run(context(&log).await).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(path), "{error}");
    }
}

#[tokio::test]
async fn a_file_is_the_topic_of_its_rows() {
    let place = Place::new();
    place.write("a.csv", "x\n1\n2\n");
    place.write("b.csv", "x\n3\n");
    let log = open_log(place.data.path());
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new("topic", arrow::datatypes::DataType::Utf8, true),
        arrow::datatypes::Field::new("x", arrow::datatypes::DataType::Int64, true),
    ]);
    let mut input = crate::testing::input(&log, "named", std::sync::Arc::new(schema)).await;
    input.metadata = vec![crate::MetadataColumn { column: 0, metadata: crate::Metadata::Topic }];
    let stream = input.stream.clone();
    let context = ConnectorContext::new(log.clone(), input, CancellationToken::new());
    Box::new(place.connector(&[("path", "*.csv")])).run(context).await.unwrap();
    let expected =
        [("a.csv", 1), ("a.csv", 2), ("b.csv", 3)].map(|(file, x)| format!(r#"{{"topic":"{file}","x":{x}}}"#));
    assert_eq!(all_lines(&log, &stream), expected);
    log.close().await.unwrap();
}
