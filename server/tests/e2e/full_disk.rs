//! A disk that is nearly full: rows are refused and readiness says so, and all of it ends when there is space.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use thermocline_log::{DirEntry, Disk, DiskFile, DiskSpace, LogOptions, OsDisk};

use crate::support::{eventually, within};

/// The real file system, which says that it is nearly full when it is told to.
#[derive(Debug, Default)]
struct NearlyFull(AtomicBool);

impl Disk for NearlyFull {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        OsDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let available_bytes = if self.0.load(Ordering::SeqCst) { 100 << 20 } else { 1 << 40 };
        Ok(DiskSpace { available_bytes, total_bytes: 1 << 40 })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        OsDisk.lock(path)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_is_507_and_not_ready_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pipeline.sql"), "CREATE STREAM readings (n BIGINT);").unwrap();
    let (pipeline, _) = thermocline::load(&dir.path().join("pipeline.sql"), &|_| None).await.unwrap();
    let disk = Arc::new(NearlyFull::default());
    let settings = thermocline::ServerSettings {
        pipeline: pipeline.unwrap(),
        data_dir: dir.path().join("data"),
        listen: "127.0.0.1:0".parse().unwrap(),
        log: LogOptions { disk: Arc::clone(&disk) as _, ..LogOptions::default() },
        metrics: None,
        checkpoint_rows: None,
    };
    let server = thermocline::Server::start(settings, &|_| None).await.unwrap();
    let url = |path: &str| format!("http://{}{path}", server.address());
    let post = || async {
        let request = reqwest::Client::new().post(url("/v1/streams/readings")).body("{\"n\": 1}");
        within("an answer", request.send()).await.unwrap().status().as_u16()
    };
    let ready = || async {
        let answer = within("readiness", reqwest::get(url("/readyz"))).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    assert_eq!((post().await, ready().await.0), (200, 200));
    disk.0.store(true, Ordering::SeqCst);
    let not_ready =
        eventually("readiness to end", || async { Some(ready().await).filter(|found| found.0 == 503) }).await;
    assert_eq!(not_ready.1["reasons"], json!(["the disk is nearly full: rows are refused"]));
    assert_eq!(post().await, 507);
    disk.0.store(false, Ordering::SeqCst);
    eventually("readiness to begin", || async { (ready().await.0 == 200).then_some(()) }).await;
    assert_eq!(post().await, 200);
    server.stop().await.unwrap();
}
