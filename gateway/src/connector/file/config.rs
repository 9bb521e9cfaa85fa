//! Options of the `file` connector.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::io_error;
use crate::connector::OptionProblem;
use crate::connector::options::OptionReader;
use crate::error::{Error, Result};

const CHUNK_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 64 << 10;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileFormat {
    Csv,
    Ndjson,
    Json,
    Parquet,
}

/// The options, read.
#[derive(Debug)]
pub(super) struct FileConfig {
    pub(super) base_dir: PathBuf,
    /// The path or glob, below the base folder unless it is absolute.
    pattern: PathBuf,
    /// `None`: by each file's extension.
    format: Option<FileFormat>,
    pub(super) follow: bool,
    /// Whether a CSV file starts with a line of column names.
    pub(super) header: bool,
    /// Bytes of a text file in one commit, about.
    pub(super) chunk_bytes: usize,
    /// Rows of a Parquet file in one commit.
    pub(super) batch_rows: usize,
}

impl FileConfig {
    pub(super) fn read(options: &BTreeMap<String, String>, base_dir: &Path) -> Result<Self, Vec<OptionProblem>> {
        let mut reader = OptionReader::new(options, &["path", "format", "follow", "header"]);
        let format = reader.read("format", "csv, ndjson, json or parquet", FileFormat::parse);
        let follow = reader.flag("follow").unwrap_or(false);
        let header = reader.flag("header").unwrap_or(true);
        let pattern = base_dir.join(reader.text("path").unwrap_or_default());
        let config = Self {
            base_dir: base_dir.to_owned(),
            pattern,
            format,
            follow,
            header,
            chunk_bytes: CHUNK_BYTES,
            batch_rows: BATCH_ROWS,
        };
        match reader.text("path") {
            None | Some("") => reader.problem(Some("path"), "expected a path or glob, found nothing", None),
            Some(path) => {
                if let Some((message, hint)) = config.problem_of_path(path, options.contains_key("format")) {
                    reader.problem(Some("path"), &message, Some(&hint));
                }
            }
        }
        reader.finish(config)
    }

    fn problem_of_path(&self, path: &str, has_format: bool) -> Option<(String, String)> {
        if self.is_glob() {
            let pattern = self.pattern.to_string_lossy();
            if let Err(error) = glob::Pattern::new(&pattern) {
                return Some((format!("expected a glob, found {path:?}: {error}"), "as in 'data/*.csv'".to_owned()));
            }
            if !self.follow && self.paths().is_ok_and(|paths| paths.is_empty()) {
                let message = format!("expected a file, found none that matches {path:?}");
                return Some((message, "with follow = 'true' files may come later".to_owned()));
            }
        } else if !self.follow && !self.pattern.is_file() {
            let what = if self.pattern.is_dir() { "a folder" } else { "no file" };
            let hint = format!("relative paths start at {}", self.base_dir.display());
            return Some((format!("expected a file, found {what} at {path:?}"), hint));
        }
        // What a wildcard in the extension stands for shows with each file.
        let is_open =
            Path::new(path).extension().is_some_and(|extension| extension.to_string_lossy().contains(['*', '?', '[']));
        let has_extension = FileFormat::of_path(Path::new(path)).is_some();
        (!has_format && !has_extension && !is_open).then(|| {
            let message = format!("expected an extension that names the format, found {path:?}");
            (message, "add format = 'csv', 'ndjson', 'json' or 'parquet'".to_owned())
        })
    }

    /// The files there are now, by name.
    pub(super) fn paths(&self) -> Result<Vec<PathBuf>> {
        if !self.is_glob() {
            return if self.follow && !self.pattern.exists() { Ok(Vec::new()) } else { Ok(vec![self.pattern.clone()]) };
        }
        let pattern = self.pattern.to_string_lossy();
        let malformed = |error: glob::PatternError| Error::Malformed { format: "a glob", reason: error.to_string() };
        let mut paths = Vec::new();
        for path in glob::glob(&pattern).map_err(malformed)? {
            let path = path.map_err(|error| {
                let path = error.path().to_owned();
                io_error("list", &path)(error.into())
            })?;
            if path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    pub(super) fn format_of(&self, path: &Path) -> FileFormat {
        self.format.or_else(|| FileFormat::of_path(path)).unwrap_or(FileFormat::Ndjson)
    }

    /// A path without wildcards names one file, also when it has brackets.
    fn is_glob(&self) -> bool {
        self.pattern.to_string_lossy().contains(['*', '?', '[']) && !self.pattern.exists()
    }
}

impl FileFormat {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "ndjson" | "jsonl" => Self::Ndjson,
            "json" => Self::Json,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    fn of_path(path: &Path) -> Option<Self> {
        path.extension().and_then(|extension| Self::parse(&extension.to_string_lossy()))
    }
}
