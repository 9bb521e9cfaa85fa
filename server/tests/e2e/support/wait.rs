//! Bounded waiting that says what was waited for.

use std::future::Future;
use std::time::Duration;

/// Long enough for a debug build on a loaded machine; a test that needs it all has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at what tells nobody when it changes, such as a folder.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The outcome of a future that must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// Looks again and again until there is something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    within(what, looking).await
}
