//! Commits rows and position together, one commit at a time.
//!
//! One at a time on purpose: were a later commit to succeed after an earlier one was refused (the log at its memory cap,
//! the disk full), the position would be past rows that are not there. The next rows are read and decoded meanwhile, so
//! that little is lost by waiting.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thermocline_log::Commit;

use super::{ConnectorContext, ConnectorStatus};
use crate::append::Append;
use crate::error::{Error, Result};
use crate::input::OpenStream;

const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The way of a connector's rows into the log.
pub(crate) struct Committer {
    pub(crate) context: ConnectorContext,
    pub(crate) open: Arc<OpenStream>,
    status: Arc<ConnectorStatus>,
    source: &'static str,
}

impl Committer {
    pub(crate) fn new(context: ConnectorContext, status: Arc<ConnectorStatus>, source: &'static str) -> Self {
        let open = Arc::new(OpenStream::new(context.input.clone()));
        Self { context, open, status, source }
    }

    /// Key of a position of this connector.
    pub(crate) fn key(&self, part: &str) -> String {
        format!("connector/{}/{}/{part}", self.open.input.stream.name(), self.source)
    }

    /// The committed position under `key`.
    ///
    /// # Errors
    /// [`Error::Position`] when it cannot be read.
    pub(crate) fn position<P: DeserializeOwned>(&self, key: &str) -> Result<Option<P>> {
        let read = |json: Vec<u8>| {
            serde_json::from_slice(&json).map_err(|source| Error::Position { key: key.to_owned(), source })
        };
        self.context.log.value(key).map(read).transpose()
    }

    /// Makes rows and position durable; waits and tries again while the log takes no rows. `false` when it was asked to
    /// stop before that: neither rows nor position are in the log then.
    ///
    /// # Errors
    /// The log failed for good.
    pub(crate) async fn commit(&self, append: &Append, key: &str, position: &impl Serialize) -> Result<bool> {
        let json = serde_json::to_vec(position).map_err(|source| Error::Position { key: key.to_owned(), source })?;
        let mut wait = FIRST_WAIT;
        loop {
            let mut commit = Commit::new();
            append.add_to(&mut commit, &self.open);
            commit.put(key, json.clone());
            match self.context.log.commit(commit).await {
                Ok(_) => {
                    append.count(&self.open, self.source);
                    self.status.add(append.accepted, append.rejected_rows);
                    return Ok(true);
                }
                Err(error) if error.is_retryable() => {
                    if wait == LONGEST_WAIT {
                        let stream = self.open.input.stream.name();
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(stream, source = self.source, error, "the log takes no rows, waiting");
                    }
                    if !self.sleep(wait).await {
                        return Ok(false);
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits; `false` when it was asked to stop meanwhile.
    pub(crate) async fn sleep(&self, duration: Duration) -> bool {
        let sleep = self.context.clock.sleep(duration);
        self.context.shutdown.run_until_cancelled(sleep).await.is_some()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.context.shutdown.is_cancelled()
    }

    pub(crate) fn finish(&self) {
        self.status.finish();
    }
}
