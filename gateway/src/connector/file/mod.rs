//! The `file` connector: reads a file, or all files of a glob in the order of their names, each row once.
//!
//! With `follow` it looks again every quarter of a second: files that grew are read on (whole lines only), new files of
//! the glob are read from their start, and a file that was renamed within the glob goes on where it was.

mod config;
mod identity;
mod parquet;
mod position;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::config::{FileConfig, FileFormat};
use self::position::{OpenFile, Positions};
use super::committer::Committer;
use super::{Connector, ConnectorContext, ConnectorEnd, ConnectorStatus, OptionProblem};
use crate::error::{Error, Result};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What became of one look at a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Read to its end as of now.
    AtEnd,
    /// The connector was asked to stop.
    Stopped,
}

/// Reads files.
#[derive(Debug)]
pub(crate) struct FileConnector {
    config: FileConfig,
    status: Arc<ConnectorStatus>,
}

impl FileConnector {
    pub(crate) fn new(options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Self, Vec<OptionProblem>> {
        Ok(Self { config: FileConfig::read(options, base_dir)?, status: Arc::default() })
    }
}

#[async_trait]
impl Connector for FileConnector {
    fn status(&self) -> Arc<ConnectorStatus> {
        Arc::clone(&self.status)
    }

    fn is_finite(&self) -> bool {
        !self.config.follow
    }

    async fn run(self: Box<Self>, context: ConnectorContext) -> Result<ConnectorEnd> {
        let committer = Committer::new(context, Arc::clone(&self.status), "file");
        let mut positions = Positions::load(&committer)?;
        loop {
            // All positions first: reading one file overwrites the position that a renamed one is found by.
            let mut files = Vec::new();
            for path in self.config.paths()? {
                files.extend(positions.open(&self.config, &committer, &path)?);
            }
            for mut file in files {
                if look(&self.config, &committer, &mut file).await? == Looked::Stopped {
                    return Ok(ConnectorEnd::Stopped);
                }
                positions.keep(file);
            }
            if !self.config.follow {
                committer.finish();
                return Ok(ConnectorEnd::Finished);
            }
            if !committer.sleep(LOOK_EVERY).await {
                return Ok(ConnectorEnd::Stopped);
            }
        }
    }
}

/// Reads what a file has beyond its position.
async fn look(config: &FileConfig, committer: &Committer, file: &mut OpenFile) -> Result<Looked> {
    if committer.is_stopped() {
        return Ok(Looked::Stopped);
    }
    match config.format_of(&file.path) {
        FileFormat::Parquet => parquet::read(config, committer, file).await,
        format => text::read(config, format, committer, file).await,
    }
}

/// A path as people and positions name it: relative to the base folder where it is inside.
fn display_path(path: &Path, base_dir: &Path) -> String {
    path.strip_prefix(base_dir).unwrap_or(path).to_string_lossy().into_owned()
}

/// An I/O error at a path.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = PathBuf::from(path);
    move |source| Error::Io { action, path, source }
}

/// Names the file in what is wrong with all of it.
fn in_file(path: &Path) -> impl FnOnce(Error) -> Error {
    move |error| match error {
        Error::Malformed { format, reason } => {
            Error::Malformed { format, reason: format!("{}: {reason}", path.display()) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
