//! Accepts connections, gives each its own task and timeouts, and ends in order.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::router::router;
use super::state::{HttpOptions, HttpState};

/// What is read from a socket at a time, and decoded before the next is read: few calls for a large body, and still in
/// the processor's cache when it is decoded. A request's head must fit too.
const READ_BUFFER_BYTES: usize = 128 << 10;

/// Serves until `shutdown`; then accepts nothing more, lets requests in flight finish within
/// [`HttpOptions::shutdown_grace`], and cuts the rest off.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: CancellationToken) {
    let options = Arc::clone(&state.options);
    let app = router(state);
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let cut_off = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let connection = connection(stream, app.clone(), Arc::clone(&options), shutdown.clone());
        let cut_off = cut_off.clone();
        connections.spawn(async move {
            cut_off.run_until_cancelled(connection).await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.shutdown_grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting off requests that did not finish in time");
        cut_off.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            // A connection that was reset early, or no file descriptor left: both pass.
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, app: Router, options: Arc<HttpOptions>, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "cannot turn off Nagle's algorithm");
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(READ_BUFFER_BYTES);
    builder.timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serving = pin!(serving.with_upgrades());
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}
