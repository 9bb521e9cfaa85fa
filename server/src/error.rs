//! What can go wrong between the parts.

use std::path::PathBuf;

use crate::load::Findings;

/// Result of a server operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pipeline has mistakes; they say themselves where.
    #[error("the pipeline has {} mistake(s)", .0.errors())]
    Pipeline(Box<Findings>),
    /// The pipeline's files cannot be read.
    #[error(transparent)]
    Load(#[from] thermocline_sql::LoadError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] thermocline_log::Error),
    /// A query failed.
    #[error(transparent)]
    Engine(#[from] thermocline_engine::Error),
    /// A door or a connector failed.
    #[error(transparent)]
    Gateway(#[from] thermocline_gateway::Error),
    /// A sink cannot be opened.
    #[error("sink {sink:?}: {source}")]
    Sink {
        /// The sink.
        sink: String,
        /// The cause.
        #[source]
        source: thermocline_sinks::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file operation failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A running server could not be asked.
    #[error("asking {url}: {source}")]
    Request {
        /// The server.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// A running server answered with an error.
    #[error("{message}")]
    Answer {
        /// What it said.
        message: String,
        /// Whether the query was wrong, and not the server.
        user: bool,
    },
    /// The metrics recorder is in place already.
    #[error("metrics: {0}")]
    Metrics(String),
}

impl Error {
    /// The process's exit code: 1 findings, 3 failure.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pipeline(_) | Self::Load(_) | Self::Answer { user: true, .. } => 1,
            Self::Engine(thermocline_engine::Error::Sql(_)) => 1,
            _ => 3,
        }
    }
}

/// An error with what caused it, on one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}
