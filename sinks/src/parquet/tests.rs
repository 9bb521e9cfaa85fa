//! Conformance of Parquet files, and what their names and folders promise.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;

use crate::conformance::{Harness, MemoryLog, row_json, sensor_rows, sensor_schema};
use crate::connector::Guarantee;
use crate::settings::SinkSettings;
use crate::sink::Sink;

struct Files {
    folder: TempDir,
    options: Vec<(&'static str, &'static str)>,
}

impl Files {
    fn new(options: &[(&'static str, &'static str)]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), options: options.to_vec() }
    }

    fn open_as(&self, deployment: &str) -> Box<dyn Sink> {
        let location = format!("file://{}", self.folder.path().join("files").display());
        let mut options = vec![("location", location.as_str()), ("commit_interval", "0 s")];
        options.extend(self.options.iter().copied());
        let settings = SinkSettings {
            name: "files".into(),
            connector: "parquet".into(),
            options: options.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            base_dir: PathBuf::from("/nowhere"),
            deployment: deployment.into(),
        };
        crate::open(settings, sensor_schema()).unwrap()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let mut folders = vec![self.folder.path().join("files")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { paths.push(path) }
            }
        }
        paths.sort();
        paths
    }

    /// Paths relative to the location.
    fn names(&self) -> Vec<String> {
        let root = self.folder.path().join("files");
        self.paths().iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
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
impl Harness for Files {
    fn guarantee(&self) -> Guarantee {
        Guarantee::Idempotent
    }

    fn open(&self) -> Box<dyn Sink> {
        self.open_as("plant-1")
    }

    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        sensor_rows(ids)
    }

    async fn stored(&self) -> Vec<Value> {
        self.paths().iter().flat_map(|file| read_rows(file)).collect()
    }

    /// A file lies where the folder should be.
    async fn take_down(&self) {
        std::fs::write(self.folder.path().join("files"), "in the way").unwrap();
    }

    async fn bring_up(&self) {
        std::fs::remove_file(self.folder.path().join("files")).unwrap();
    }
}

mod flat {
    crate::sink_conformance!(async { super::Files::new(&[]) });
}

mod by_date {
    crate::sink_conformance!(async { super::Files::new(&[("partition_by", "date")]) });
}

fn log() -> MemoryLog {
    let log = MemoryLog::new("readings", 2, sensor_schema());
    log.append(&sensor_rows(0..3000));
    log
}

#[tokio::test]
async fn names_tell_the_offsets_and_folders_the_date() {
    let files = Files::new(&[("partition_by", "date")]);
    files.open().write(&[log().delivery(1439..1442)]).await.unwrap();
    let names = files.names();
    assert_eq!(names.len(), 2);
    for (name, date) in names.iter().zip(["2026-11-22", "2026-11-23"]) {
        let beginning = format!("date={date}/files.readings.2.00000000000000001439-00000000000000001442.");
        assert!(name.starts_with(&beginning), "{name}");
    }
}

#[tokio::test]
async fn the_same_delivery_gives_the_same_bytes_in_the_same_file() {
    let files = Files::new(&[]);
    files.open().write(&[log().delivery(0..100)]).await.unwrap();
    let before = std::fs::read(&files.paths()[0]).unwrap();
    files.open().write(&[log().delivery(0..100)]).await.unwrap();
    assert_eq!(files.paths().len(), 1);
    assert!(std::fs::read(&files.paths()[0]).unwrap() == before, "the bytes differ");
}

#[tokio::test]
async fn files_of_another_deployment_are_left_alone() {
    let files = Files::new(&[]);
    files.open_as("plant-1").write(&[log().delivery(0..100)]).await.unwrap();
    files.open_as("plant-2").write(&[log().delivery(0..50)]).await.unwrap();
    assert_eq!(files.paths().len(), 2);
}

#[tokio::test]
async fn a_partition_column_is_in_the_folder_not_in_the_file() {
    let files = Files::new(&[("partition_by", "device_id")]);
    files.open().write(&[log().delivery(0..7)]).await.unwrap();
    let names = files.names();
    assert_eq!(names.len(), 7);
    assert!(names[3].starts_with("device_id=press-3/"), "{}", names[3]);
    assert_eq!(read_rows(&files.paths()[3])[0].get("device_id"), None);
}
