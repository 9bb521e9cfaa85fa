//! The door for commands on the same machine: HTTP over a Unix domain socket in the data directory. Whoever may write to
//! the socket file, which is the server's own user, may command.
//!
//! `POST /v1/backup` with `{"to": "/absolute/path"}` answers with one JSON object a line: how far the copy is, once a
//! second, then what was copied, or `{"error": {"message": …}}`. A client that goes away ends the backup.

use std::convert::Infallible;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use thermocline_log::{BackupReport, CopyProgress, Log};
use tokio::net::{UnixListener, UnixSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Interval;

/// The socket's name in the data directory.
pub(crate) const SOCKET_FILE: &str = "control.sock";
/// Its name before it may be used.
const NEW_SOCKET_FILE: &str = "control.sock.new";
/// Longest path of a socket: `sun_path` holds 108 bytes, the last of them zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 16;
/// Time between two lines that say how far a copy is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The open door; closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    serving: JoinHandle<()>,
    path: PathBuf,
}

impl Control {
    /// Opens the door in the log's directory, in the place of one that a killed process left.
    pub(crate) fn open(log: &Log) -> io::Result<Self> {
        let dir = log.dir();
        let listener = listen(&dir)?;
        let app = Router::new().route("/v1/backup", post(backup)).with_state(log.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the control socket failed");
            }
        });
        Ok(Self { serving, path: dir.join(SOCKET_FILE) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.serving.abort();
        // A file that stays only costs a failed attempt.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Nobody can connect before the permissions are right: the socket listens only then, and has its name only then.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    let new = dir.join(NEW_SOCKET_FILE);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(SocketPath::of(dir, NEW_SOCKET_FILE)?.as_path())?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    let listener = socket.listen(BACKLOG)?;
    std::fs::rename(new, dir.join(SOCKET_FILE))?;
    Ok(listener)
}

/// A path that fits a socket's address, whatever the length of the directory's own.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    /// Keeps the path valid where it leads through the open directory.
    _dir: Option<File>,
}

impl SocketPath {
    pub(crate) fn of(dir: &Path, file: &str) -> io::Result<Self> {
        let path = dir.join(file);
        if path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(Self { path, _dir: None });
        }
        let dir = File::open(dir)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{file}", dir.as_raw_fd()));
        Ok(Self { path, _dir: Some(dir) })
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }
}

#[derive(serde::Deserialize)]
struct BackupRequest {
    to: PathBuf,
}

async fn backup(State(log): State<Log>, Json(request): Json<BackupRequest>) -> Response {
    if !request.to.is_absolute() {
        let message = format!("expected an absolute path, found {}", request.to.display());
        return (StatusCode::BAD_REQUEST, Json(failed(&message))).into_response();
    }
    let (progress, so_far) = watch::channel(CopyProgress { copied_bytes: 0, total_bytes: 0 });
    let copying = async move {
        let to = request.to;
        let tell = move |now| {
            progress.send_replace(now);
        };
        log.backup(to, tell).await
    };
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.reset();
    let lines = futures::stream::unfold(Copying { so_far, tick, copying: Some(copying.boxed()) }, Copying::next_line);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// A backup under way, told line by line. Dropped with the connection, it takes the backup with it.
struct Copying {
    so_far: watch::Receiver<CopyProgress>,
    tick: Interval,
    copying: Option<BoxFuture<'static, thermocline_log::Result<BackupReport>>>,
}

impl Copying {
    async fn next_line(mut self) -> Option<(Result<String, Infallible>, Self)> {
        let copying = self.copying.as_mut()?;
        let line = tokio::select! {
            done = copying => {
                self.copying = None;
                match done {
                    Ok(BackupReport { files, bytes, taken_ms }) => {
                        json!({ "files": files, "bytes": bytes, "taken_ms": taken_ms })
                    }
                    Err(error) => failed(&crate::error::with_causes(&error)),
                }
            }
            _ = self.tick.tick() => {
                let CopyProgress { copied_bytes, total_bytes } = *self.so_far.borrow();
                json!({ "copied_bytes": copied_bytes, "total_bytes": total_bytes })
            }
        };
        Some((Ok(format!("{line}\n")), self))
    }
}

fn failed(message: &str) -> Value {
    json!({ "error": { "message": message } })
}
