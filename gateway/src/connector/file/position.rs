//! Positions in files, as they are committed with the rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::FileConfig;
use super::identity::Identity;
use super::{display_path, io_error};
use crate::connector::committer::Committer;
use crate::error::{Error, Result};
use crate::metadata::Arrival;

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Bytes of a text file; the whole size of a Parquet file.
    pub(super) offset: u64,
    /// Lines of a text file, rows of a Parquet file or a JSON array.
    pub(super) lines: u64,
    pub(super) identity: Identity,
}

/// A file with its position.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    /// The path as rejected rows and positions name it.
    pub(super) name: String,
    pub(super) key: String,
    pub(super) file: File,
    pub(super) position: Position,
}

impl OpenFile {
    /// What is known of its rows.
    pub(super) fn arrival(&self, at_us: i64) -> Arrival<'_> {
        Arrival { topic: Some(&self.name), ..Arrival::at(at_us) }
    }
}

/// All positions of a connector, by key.
#[derive(Debug)]
pub(super) struct Positions {
    by_key: BTreeMap<String, Position>,
}

impl Positions {
    pub(super) fn load(committer: &Committer) -> Result<Self> {
        let read = |(key, json): (String, Vec<u8>)| match serde_json::from_slice(&json) {
            Ok(position) => Ok((key, position)),
            Err(source) => Err(Error::Position { key, source }),
        };
        let values = committer.context.log.values(&committer.key(""));
        Ok(Self { by_key: values.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// Opens a file at its position; `None` when it vanished since it was listed.
    pub(super) fn open(&self, config: &FileConfig, committer: &Committer, path: &Path) -> Result<Option<OpenFile>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if config.follow && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", path)(error)),
        };
        let name = display_path(path, &config.base_dir);
        let key = committer.key(&name);
        let position = self.find(&key, &file).map_err(io_error("read", path))?;
        let position = match position {
            Some(position) => position,
            None => {
                if self.by_key.contains_key(&key) {
                    tracing::warn!(file = %name, "the file is another one than before, reading it from its start");
                }
                let identity = Identity::of(&file, 0).map_err(io_error("read", path))?;
                Position { offset: 0, lines: 0, identity }
            }
        };
        Ok(Some(OpenFile { path: path.to_owned(), name, key, file, position }))
    }

    /// Remembers how far a file was read.
    pub(super) fn keep(&mut self, file: OpenFile) {
        if file.position.offset > 0 {
            self.by_key.insert(file.key, file.position);
        }
    }

    /// The position of this very file: under its own name, or under the one it had before it was renamed.
    fn find(&self, key: &str, file: &File) -> std::io::Result<Option<Position>> {
        if let Some(position) = self.by_key.get(key)
            && position.identity.matches(file, position.offset)?
        {
            return Ok(Some(*position));
        }
        let inode = Identity::of(file, 0)?.inode;
        for position in self.by_key.values().filter(|position| position.identity.inode == inode && position.offset > 0)
        {
            if position.identity.matches(file, position.offset)? {
                return Ok(Some(*position));
            }
        }
        Ok(None)
    }
}
