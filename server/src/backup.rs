//! A backup of a data directory, whether a server holds it or nobody does.

use std::path::Path;

use serde_json::{Value, json};
use thermocline_log::{BackupReport, CopyProgress};

use crate::control::{SOCKET_FILE, SocketPath};
use crate::error::{Error, Result};

/// Copies the log in `dir` into the directory `dest`, which must be empty or not exist. Where a server holds `dir`, that
/// server is asked over its control socket, and goes on meanwhile; it writes the copy, as its own user. Blocks while
/// the directory is nobody's and is copied here.
///
/// # Errors
/// What [`thermocline_log::backup`] or [`Log::backup`](thermocline_log::Log::backup) says; [`Error::Answer`] when a
/// server said it.
pub async fn backup_data_dir(dir: &Path, dest: &Path, mut progress: impl FnMut(CopyProgress)) -> Result<BackupReport> {
    match thermocline_log::backup(dir, dest, &mut progress) {
        // Nobody answers where a process only looks at the directory.
        Err(thermocline_log::Error::Locked { path }) if path == dir && dir.join(SOCKET_FILE).exists() => {
            ask(dir, dest, progress).await
        }
        done => Ok(done?),
    }
}

async fn ask(dir: &Path, dest: &Path, mut progress: impl FnMut(CopyProgress)) -> Result<BackupReport> {
    let io = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    };
    let dest = std::path::absolute(dest).map_err(io("resolve", dest))?;
    let socket = SocketPath::of(dir, SOCKET_FILE).map_err(io("open", dir))?;
    let failed = |source| Error::Request { url: dir.join(SOCKET_FILE).display().to_string(), source };
    let client = reqwest::Client::builder().unix_socket(socket.as_path()).no_proxy().build().map_err(failed)?;
    let request = client.post("http://localhost/v1/backup").json(&json!({ "to": dest }));
    let mut answer = request.send().await.map_err(failed)?;
    let mut received = Vec::new();
    let mut last = Value::Null;
    while let Some(bytes) = answer.chunk().await.map_err(failed)? {
        received.extend_from_slice(&bytes);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            last = serde_json::from_slice(&received[..end]).unwrap_or_default();
            received.drain(..=end);
            if let (Some(copied_bytes), Some(total_bytes)) =
                (last["copied_bytes"].as_u64(), last["total_bytes"].as_u64())
            {
                progress(CopyProgress { copied_bytes, total_bytes });
            }
        }
    }
    // A refusal is not a line but the whole body.
    report(&if received.is_empty() { last } else { serde_json::from_slice(&received).unwrap_or_default() })
}

fn report(last: &Value) -> Result<BackupReport> {
    if let (Some(files), Some(bytes), Some(taken_ms)) =
        (last["files"].as_u64(), last["bytes"].as_u64(), last["taken_ms"].as_i64())
    {
        return Ok(BackupReport { files, bytes, taken_ms });
    }
    let message = last["error"]["message"].as_str().unwrap_or("the server ended before the backup was complete");
    Err(Error::Answer { message: message.to_owned(), user: false })
}
