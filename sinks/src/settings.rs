//! How a sink is described to this crate: its name, connector and options with their values resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value; for the destination only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkOption {
    /// A literal: text, or a number or boolean as it was written.
    Text(String),
    /// `secret('NAME')`, resolved.
    Secret(Secret),
    /// `secret('NAME')` that is not known here: enough to be checked, not to be opened.
    UnresolvedSecret,
}

impl From<&str> for SinkOption {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for SinkOption {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Secret> for SinkOption {
    fn from(value: Secret) -> Self {
        Self::Secret(value)
    }
}

/// A sink to open.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// Name of the sink.
    pub name: String,
    /// Name of its connector.
    pub connector: String,
    /// Options, without `connector`.
    pub options: BTreeMap<String, SinkOption>,
    /// Folder that relative locations start from: that of the statement.
    pub base_dir: PathBuf,
    /// Identity of this installation, stable across restarts; part of what a destination sees as a row's identity.
    pub deployment: String,
}
