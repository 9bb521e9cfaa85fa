//! The Delta archive holds every row once, as DuckDB and the deltalake package read it.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Run, eventually, machine_csv, machine_csv_missing, pipeline, python};

/// Compares an archive with the rows of its stream.
async fn assert_every_row_once(run: &Run, dir: &Path, stream: &str, time: &str, archive: &Path, rows: usize) {
    let (printed, expected) = (dir.join("rows.json"), dir.join("rows.parquet"));
    std::fs::write(&printed, run.sql_text(&format!("SELECT * FROM {stream}"), "json").await).unwrap();
    python("to_parquet.py", &[&printed, Path::new(time), &expected]).await;
    // A process each: both in one abort when it ends.
    let by_duckdb = python("archive_duckdb.py", &[archive, &expected]).await;
    assert_eq!(by_duckdb, [json!({"rows": rows, "surplus": 0, "missing": 0})], "DuckDB");
    let by_deltalake = python("archive_deltalake.py", &[archive, &expected]).await;
    assert_eq!(by_deltalake, [json!({"rows": rows, "same": true})], "deltalake");
}

/// Commits of a Delta table.
fn commits(archive: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(archive.join("_delta_log")) else { return 0 };
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
}

fn plant(dir: &Path, commits: &str) -> (Run, PathBuf) {
    let archive = dir.join("archive");
    let pipeline = pipeline("plant", dir, &[("commit_interval = '5 seconds'", commits)]);
    (Run::new(pipeline, dir.join("data")).env("PLANT_ARCHIVE", &archive), archive)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plants_archive_has_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let (run, archive) = plant(dir.path(), "commit_interval = '5 seconds'");
    run.to_the_end().await;
    assert_every_row_once(&run, dir.path(), "readings", "ts", &archive, 60_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_archive_has_every_row_once() {
    let Some(csv) = machine_csv() else { return machine_csv_missing() };
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    let run = Run::new(pipeline("machine-temperature", dir.path(), &[]), dir.path().join("data"))
        .env("MACHINE_CSV", &csv)
        .env("MACHINE_ARCHIVE", &archive);
    run.to_the_end().await;
    assert_every_row_once(&run, dir.path(), "machine", "timestamp", &archive, 22_695).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_amid_archiving_leaves_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let (run, archive) = plant(dir.path(), "commit_interval = '50 ms', max_rows = 2000");
    let run = run.env("PLANT_ROWS", "120000");
    let mut seen = 0;
    for further in [1, 3, 2, 5, 4] {
        let running = run.start().await;
        let wanted = seen + further;
        eventually("commits to the archive", || async { (commits(&archive) >= wanted).then_some(()) }).await;
        running.kill().await;
        seen = commits(&archive);
    }
    assert!(seen < 60, "{seen} commits: the kills came after everything was archived");
    run.to_the_end().await;
    assert_every_row_once(&run, dir.path(), "readings", "ts", &archive, 120_000).await;
}
