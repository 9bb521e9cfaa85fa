//! The sink: whole lines, flushed before `write` returns.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::encoding::lines;
use crate::error::{Error, Result};
use crate::sink::{Delivery, Limits, Outcome, Sink};

/// Writes rows as lines of JSON.
pub struct ConsoleSink<W> {
    name: String,
    writer: Arc<Mutex<W>>,
}

impl<W: Write + Send + 'static> ConsoleSink<W> {
    /// A sink that writes to `writer`.
    pub fn new(name: String, writer: W) -> Self {
        Self { name, writer: Arc::new(Mutex::new(writer)) }
    }
}

#[async_trait]
impl<W: Write + Send + 'static> Sink for ConsoleSink<W> {
    fn limits(&self) -> Limits {
        Limits { max_rows: 10_000, linger: Duration::ZERO }
    }

    async fn write(&mut self, deliveries: &[Delivery]) -> Result<Outcome> {
        let mut text = String::new();
        for delivery in deliveries {
            text.push_str(&lines(&delivery.rows)?);
        }
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock();
            writer.write_all(text.as_bytes()).and_then(|()| writer.flush())
        });
        let unavailable = |reason: String| Error::Unavailable {
            destination: format!("standard output of {}", self.name),
            reason,
            retry_after: None,
        };
        match written.await {
            Ok(Ok(())) => Ok(Outcome::default()),
            Ok(Err(error)) => Err(unavailable(error.to_string())),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }
}
