//! Conformance of Delta tables, read back with another reader than the writer's own code where one is at hand.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use deltalake::DeltaTable;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use crate::conformance::{Harness, MemoryLedger, MemoryLog, odd_rows, row_json, sensor_rows, sensor_schema};
use crate::connector::Guarantee;
use crate::error::Error;
use crate::runner::{Phase, Runner};
use crate::settings::SinkSettings;
use crate::sink::{Ledger, Sink};

struct Archive {
    folder: TempDir,
    options: Vec<(&'static str, &'static str)>,
}

impl Archive {
    fn new(options: &[(&'static str, &'static str)]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), options: options.to_vec() }
    }

    fn location(&self) -> PathBuf {
        self.folder.path().join("tables/hall 2 ü/readings")
    }

    fn try_open(&self, schema: arrow::datatypes::SchemaRef) -> crate::Result<Box<dyn Sink>> {
        let mut options = vec![("location", "tables/hall 2 ü/readings"), ("commit_interval", "0 s")];
        options.extend(self.options.iter().copied());
        let settings = SinkSettings {
            name: "archive".into(),
            connector: "delta".into(),
            options: options.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            base_dir: self.folder.path().to_owned(),
            deployment: "plant-1".into(),
        };
        crate::open(settings, schema)
    }

    async fn table(&self) -> DeltaTable {
        deltalake::open_table(Url::from_directory_path(self.location()).unwrap()).await.unwrap()
    }

    async fn files(&self) -> Vec<PathBuf> {
        let table = self.table().await;
        let views = table.snapshot().unwrap().log_data();
        views.into_iter().map(|file| self.location().join(file.path().as_ref())).collect()
    }
}

fn read_rows(file: &Path) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        rows.extend((0..batch.num_rows()).map(|row| row_json(&batch, row)));
    }
    rows
}

#[async_trait]
impl Harness for Archive {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self) -> Box<dyn Sink> {
        self.try_open(sensor_schema()).unwrap()
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        self.files().await.iter().flat_map(|file| read_rows(file)).collect()
    }

    /// A file lies where the folder should be.
    async fn take_down(&self) {
        std::fs::write(self.folder.path().join("tables"), "in the way").unwrap();
    }

    async fn bring_up(&self) {
        std::fs::remove_file(self.folder.path().join("tables")).unwrap();
    }
}

mod flat {
    crate::sink_conformance!(async { super::Archive::new(&[]) });
}

mod by_date {
    crate::sink_conformance!(async { super::Archive::new(&[("partition_by", "date")]) });
}

fn log_of(rows: &RecordBatch) -> MemoryLog {
    let log = MemoryLog::new("readings", 0, rows.schema());
    log.append(rows);
    log
}

#[tokio::test]
async fn the_position_is_read_from_the_table() {
    let archive = Archive::new(&[]);
    let log = log_of(&sensor_rows(0..50));
    assert_eq!(archive.open().position(log.id()).await.unwrap(), None);
    archive.open().write(&[log.delivery(0..50)]).await.unwrap();
    assert_eq!(archive.open().position(log.id()).await.unwrap(), Some(50));
    let table = archive.table().await;
    let snapshot = table.snapshot().unwrap();
    let version = snapshot.transaction_version(table.log_store().as_ref(), "thermocline/archive/readings/0").await;
    assert_eq!(version.unwrap(), Some(49));
}

#[tokio::test]
async fn a_second_writer_of_the_same_sink_is_a_conflict_and_doubles_nothing() {
    let archive = Archive::new(&[]);
    let log = log_of(&sensor_rows(0..60));
    let (mut first, mut second) = (archive.open(), archive.open());
    first.write(&[log.delivery(0..10)]).await.unwrap();
    second.write(&[log.delivery(0..10)]).await.unwrap();
    second.write(&[log.delivery(10..40)]).await.unwrap();
    let error = first.write(&[log.delivery(10..60)]).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(first.position(log.id()).await.unwrap(), Some(40));
    first.write(&[log.delivery(40..60)]).await.unwrap();
    assert_eq!(archive.stored().await.len(), 60);
}

#[tokio::test]
async fn two_runners_of_one_sink_write_every_row_once() {
    let archive = Archive::new(&[("max_rows", "7")]);
    let log = log_of(&sensor_rows(0..200));
    let run = || {
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
        let feed = log.feed(&MemoryLedger::default());
        let backoff = crate::Backoff::new(std::time::Duration::from_millis(1), std::time::Duration::from_millis(20));
        let runner = Runner::new("archive", archive.open(), vec![feed], ledger).with_backoff(backoff);
        let phase = tokio::sync::watch::Sender::new(Phase::Drain);
        async move { runner.run(phase.subscribe()).await }
    };
    tokio::join!(run(), run());
    let mut ids: Vec<i64> = archive.stored().await.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_table_of_another_schema_is_refused_with_both_schemas() {
    let archive = Archive::new(&[]);
    archive.open().write(&[log_of(&sensor_rows(0..5)).delivery(0..5)]).await.unwrap();
    let other = sensor_rows(0..5).project(&[0, 1, 2]).unwrap();
    let mut sink = archive.try_open(other.schema()).unwrap();
    let error = sink.write(&[log_of(&other).delivery(0..5)]).await.unwrap_err();
    let Error::Refused { reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains("expected (device_id string, ts timestamp, id long)"), "{reason}");
    assert!(
        reason.contains("found (device_id string, ts timestamp, id long, temperature double, note string)"),
        "{reason}"
    );
    assert_eq!(archive.stored().await.len(), 5);
}

#[tokio::test]
async fn a_table_of_another_partitioning_is_refused() {
    let mut archive = Archive::new(&[]);
    archive.open().write(&[log_of(&sensor_rows(0..5)).delivery(0..5)]).await.unwrap();
    archive.options.push(("partition_by", "device_id"));
    let error = archive.open().write(&[log_of(&sensor_rows(0..5)).delivery(0..5)]).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn files_have_the_measured_layout() {
    let archive = Archive::new(&[]);
    archive.open().write(&[log_of(&sensor_rows(0..5000)).delivery(0..5000)]).await.unwrap();
    let files = archive.files().await;
    assert_eq!(files.len(), 1);
    let rows = read_rows(&files[0]);
    let keys: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["device_id"].as_str().unwrap(), row["ts"].as_str().unwrap())).collect();
    assert!(keys.is_sorted(), "rows are ordered by device, then time");
    let reader = SerializedFileReader::new(std::fs::File::open(&files[0]).unwrap()).unwrap();
    let group = reader.metadata().row_group(0);
    let column = |name: &str| group.columns().iter().find(|column| column.column_path().string() == name).unwrap();
    for (name, encoding) in [
        ("ts", Encoding::DELTA_BINARY_PACKED),
        ("id", Encoding::DELTA_BINARY_PACKED),
        ("temperature", Encoding::BYTE_STREAM_SPLIT),
        ("device_id", Encoding::RLE_DICTIONARY),
    ] {
        assert!(column(name).encodings().any(|found| found == encoding), "{name}");
        assert!(matches!(column(name).compression(), Compression::ZSTD(_)), "{name}");
    }
    assert!(column("device_id").bloom_filter_offset().is_some());
    assert!(column("note").bloom_filter_offset().is_none());
}

#[tokio::test]
async fn adds_carry_statistics_and_partition_values() {
    let archive = Archive::new(&[("partition_by", "date")]);
    // A day has 1440 rows: three days.
    archive.open().write(&[log_of(&sensor_rows(0..3000)).delivery(0..3000)]).await.unwrap();
    let commit = std::fs::read_to_string(archive.location().join("_delta_log/00000000000000000001.json")).unwrap();
    let actions: Vec<Value> = commit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut adds: Vec<&Value> = actions.iter().map(|action| &action["add"]).filter(|add| !add.is_null()).collect();
    adds.sort_by_key(|add| add["path"].to_string());
    let dates: Vec<&str> = adds.iter().map(|add| add["partitionValues"]["date"].as_str().unwrap()).collect();
    assert_eq!(dates, ["2026-11-22", "2026-11-23", "2026-11-24"]);
    assert!(adds[0]["path"].as_str().unwrap().starts_with("date=2026-11-22/"));
    let stats: Value = serde_json::from_str(adds[1]["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 1440);
    assert_eq!(stats["minValues"]["id"], 1440);
    assert_eq!(stats["maxValues"]["id"], 2879);
    assert_eq!(stats["minValues"]["ts"], "2026-11-23T00:00:00.000000Z");
    assert_eq!(stats["maxValues"]["ts"], "2026-11-23T23:59:00.000000Z");
    assert_eq!(stats["minValues"]["device_id"], "press-0");
    assert_eq!(stats["nullCount"]["note"], 960);
    assert_eq!(stats["nullCount"]["id"], 0);
}

#[tokio::test]
async fn statistics_leave_out_what_could_mislead() {
    let rows = RecordBatch::try_from_iter([
        ("nan", Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef),
        ("inf", Arc::new(Float64Array::from(vec![1.0, f64::INFINITY]))),
        ("late", Arc::new(TimestampMicrosecondArray::from(vec![0, i64::MAX]).with_timezone("UTC"))),
        ("long", Arc::new(StringArray::from(vec!["a".repeat(50), "\u{10ffff}".repeat(50)]))),
        ("none", Arc::new(Int64Array::from(vec![None, None]))),
    ])
    .unwrap();
    let stats: Value = serde_json::from_str(&super::stats::file_stats(&rows)).unwrap();
    assert_eq!(stats["minValues"]["nan"], Value::Null);
    assert_eq!(stats["maxValues"]["inf"], Value::Null);
    assert_eq!(stats["minValues"]["late"], "1970-01-01T00:00:00.000000Z");
    assert_eq!(stats["maxValues"]["late"], Value::Null);
    assert_eq!(stats["minValues"]["long"], "a".repeat(32));
    assert_eq!(stats["maxValues"]["long"], Value::Null);
    assert_eq!(stats["nullCount"]["none"], 2);
}

#[tokio::test]
async fn a_checkpoint_is_written_every_100_commits() {
    let archive = Archive::new(&[]);
    let log = log_of(&sensor_rows(0..105));
    let mut sink = archive.open();
    for offset in 0..105 {
        sink.write(&[log.delivery(offset..offset + 1)]).await.unwrap();
    }
    let log_folder = archive.location().join("_delta_log");
    let checkpoints = std::fs::read_dir(log_folder).unwrap();
    let names = checkpoints.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let checkpoints: Vec<String> = names.filter(|name| name.contains("checkpoint.parquet")).collect();
    assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
    assert_eq!(archive.open().position(log.id()).await.unwrap(), Some(105));
    assert_eq!(archive.stored().await.len(), 105);
}

#[tokio::test]
async fn the_protocol_stays_at_what_every_reader_knows() {
    let archive = Archive::new(&[("partition_by", "date")]);
    archive.open().write(&[log_of(&sensor_rows(0..1)).delivery(0..1)]).await.unwrap();
    let table = archive.table().await;
    let protocol = table.snapshot().unwrap().protocol().clone();
    assert_eq!((protocol.min_reader_version(), protocol.min_writer_version()), (1, 2));
}

/// Readers that share no code with the writer: the Python packages `deltalake` and `duckdb`.
#[tokio::test]
async fn python_reads_every_row_once() {
    let Some(python) = python() else {
        eprintln!("no Python with deltalake and duckdb: see the test script");
        return;
    };
    let archive = Archive::new(&[("partition_by", "date")]);
    let log = log_of(&sensor_rows(0..3000));
    let mut sink = archive.open();
    sink.write(&[log.delivery(0..1700)]).await.unwrap();
    sink.write(&[log.delivery(1700..3000)]).await.unwrap();
    // What can be read by everybody of the odd rows: Python's calendar has four digits.
    let odd = MemoryLog::new("odd", 0, sensor_schema());
    odd.append(&odd_rows().slice(0, 20));
    sink.write(&[odd.delivery(0..20)]).await.unwrap();
    let script = include_str!("read_back.py");
    let output = Command::new(python).arg("-c").arg(script).arg(archive.location()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    for reader in ["deltalake", "duckdb"] {
        assert_eq!(read[reader]["rows"], 3020, "{reader}");
        assert_eq!(read[reader]["distinct"], 3020, "{reader}");
        assert_eq!(read[reader]["day"], 1440, "{reader}");
        assert_eq!(read[reader]["nan"], 1, "{reader}");
        assert_eq!(read[reader]["unicode"], "Grüße, 温度 🌡️", "{reader}");
    }
}

fn python() -> Option<PathBuf> {
    let imports = "import deltalake, duckdb, duckdb_extensions, pyarrow";
    let is_usable = |python: &PathBuf| {
        Command::new(python).args(["-c", imports]).output().is_ok_and(|output| output.status.success())
    };
    if let Some(named) = std::env::var_os("THERMOCLINE_PYTHON").map(PathBuf::from) {
        assert!(
            is_usable(&named),
            "THERMOCLINE_PYTHON: expected a Python that can {imports}, found {}",
            named.display()
        );
        return Some(named);
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    Some(home.join(".cache/thermocline/venv/bin/python")).filter(is_usable)
}
