//! Source text: files, positions in them, and reading a folder of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlparser::tokenizer;

/// A file of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path, as it is shown in diagnostics.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A stretch of a source file, lines and columns from 1, columns in characters, `end` exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// The file.
    pub file: Arc<PathBuf>,
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column just after the end.
    pub end_column: usize,
}

impl Span {
    /// The parser's position `at`, in `file`.
    pub(crate) fn new(file: &Arc<PathBuf>, at: tokenizer::Span) -> Self {
        let small = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            file: Arc::clone(file),
            line: small(at.start.line),
            column: small(at.start.column),
            end_line: small(at.end.line),
            end_column: small(at.end.column),
        }
    }
}

/// Why a pipeline's files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder could not be read.
    #[error("cannot read {path}", path = path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder has no `.sql` file.
    #[error("expected at least one .sql file in {path}, found none", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not UTF-8.
    #[error("expected UTF-8 text in {path}, found an invalid byte at offset {offset}", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first invalid byte.
        offset: usize,
    },
}

/// Reads one file, or the `.sql` files of a folder (not of its subfolders) in the order of their names.
///
/// # Errors
/// When something cannot be read, is not UTF-8, or the folder has no `.sql` file.
pub fn load(path: impl AsRef<Path>) -> Result<Vec<SourceFile>, LoadError> {
    let path = path.as_ref();
    let io_error = |source| LoadError::Io { path: path.to_path_buf(), source };
    if !fs::metadata(path).map_err(io_error)?.is_dir() {
        return Ok(vec![read(path)?]);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error)? {
        let file = entry.map_err(io_error)?.path();
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) && file.is_file() {
            paths.push(file);
        }
    }
    if paths.is_empty() {
        return Err(LoadError::Empty { path: path.to_path_buf() });
    }
    paths.sort();
    paths.iter().map(|file| read(file)).collect()
}

fn read(path: &Path) -> Result<SourceFile, LoadError> {
    let bytes = fs::read(path).map_err(|source| LoadError::Io { path: path.to_path_buf(), source })?;
    let text = String::from_utf8(bytes)
        .map_err(|error| LoadError::NotUtf8 { path: path.to_path_buf(), offset: error.utf8_error().valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(SourceFile { path: path.to_path_buf(), text })
}

/// The text between two positions of the parser, lines and columns from 1, the end exclusive.
pub(crate) fn slice(text: &str, at: tokenizer::Span) -> &str {
    let (start, end) = (byte_offset(text, at.start), byte_offset(text, at.end));
    text.get(start..end.max(start)).unwrap_or_default()
}

fn byte_offset(text: &str, at: tokenizer::Location) -> usize {
    let mut start = 0;
    for _ in 1..at.line {
        match text[start..].find('\n') {
            Some(n) => start += n + 1,
            None => return text.len(),
        }
    }
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
    text[start..].char_indices().nth(column).map_or(text.len(), |(n, _)| start + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_in_the_order_of_names_and_not_recursively() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.sql"), "SELECT 2").unwrap();
        fs::write(dir.path().join("a.SQL"), "\u{feff}SELECT 1").unwrap();
        fs::write(dir.path().join("notes.txt"), "no").unwrap();
        fs::create_dir(dir.path().join("deep.sql")).unwrap();
        let files = load(dir.path()).unwrap();
        let texts: Vec<_> = files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["SELECT 1", "SELECT 2"]);
        assert_eq!(load(dir.path().join("b.sql")).unwrap()[0].text, "SELECT 2");
    }

    #[test]
    fn an_empty_folder_a_missing_path_and_other_bytes_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load(dir.path()), Err(LoadError::Empty { .. })));
        assert!(matches!(load(dir.path().join("none")), Err(LoadError::Io { .. })));
        fs::write(dir.path().join("x.sql"), b"ab\xff").unwrap();
        assert!(matches!(load(dir.path()), Err(LoadError::NotUtf8 { offset: 2, .. })));
    }

    #[test]
    fn positions_count_characters() {
        let text = "a\näöü x";
        let at = |line, column| tokenizer::Location { line, column };
        assert_eq!(slice(text, tokenizer::Span::new(at(2, 2), at(2, 4))), "öü");
        assert_eq!(slice(text, tokenizer::Span::new(at(2, 5), at(9, 1))), "x");
    }
}
