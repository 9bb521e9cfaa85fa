//! A disk that is nearly full: rows are refused and readiness says so, and all of it ends when there is space.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use thermocline_log::{DiskHooks, DiskSpace, HookedDisk, LogOptions};

use crate::support::{eventually, within};

/// A disk that says that it is nearly full when it is told to.
#[derive(Debug, Default)]
struct NearlyFull(AtomicBool);

impl DiskHooks for NearlyFull {
    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        let available_bytes = if self.0.load(Ordering::SeqCst) { 100 << 20 } else { 1 << 40 };
        Ok(DiskSpace { available_bytes, total_bytes: 1 << 40 })
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
        log: LogOptions { disk: HookedDisk::new(&disk), ..LogOptions::default() },
        metrics: None,
        checkpoint_rows: None,
        memory_limit_bytes: None,
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
