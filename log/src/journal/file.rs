//! One journal file: its name, its creation, appending frames to it, cutting it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result, io_error};
use crate::journal::format::{FILE_HEADER_BYTES, FileHeader, Position};
use crate::journal::spare;

const EXTENSION: &str = ".wal";

/// Path of the file with that sequence.
pub(crate) fn path_of(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:020}{EXTENSION}"))
}

/// The sequence in a file name; `None` for a name that is not a journal file's.
pub(crate) fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let is_sequence = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // There is one after every sequence that is in use.
    is_sequence.then(|| digits.parse().ok())?.filter(|sequence| *sequence < u64::MAX)
}

/// The file that frames are appended to.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub path: PathBuf,
    pub sequence: u64,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    end: u64,
    /// Up to here appending needs no new blocks.
    capacity: u64,
}

impl JournalFile {
    /// Makes the file with its header and first frame, all durable but its name. On failure no file is left behind.
    pub(crate) fn prepare(
        disk: &dyn Disk,
        folder: &Path,
        header: &FileHeader,
        first_frame: &[&[u8]],
        capacity: u64,
    ) -> Result<Self> {
        let file = spare::take(disk, folder)?;
        let mut journal = Self { path: spare::next_path(folder), sequence: header.sequence, file, end: 0, capacity };
        match journal.fill(header, first_frame) {
            Ok(()) => Ok(journal),
            Err(error) => Err(journal.unmade(disk, folder, error)),
        }
    }

    fn fill(&mut self, header: &FileHeader, first_frame: &[&[u8]]) -> Result<()> {
        self.file.allocate(self.capacity).map_err(io_error("allocate journal file", &self.path))?;
        let header = header.encode();
        let parts: Vec<&[u8]> = std::iter::once(header.as_slice()).chain(first_frame.iter().copied()).collect();
        self.file.write_all_at(&parts, 0).map_err(io_error("write journal file", &self.path))?;
        self.end = parts.iter().map(|part| part.len() as u64).sum();
        self.sync()
    }

    /// Gives a prepared file its name, durably: from now on it is part of the journal. On failure no file is left behind.
    pub(crate) fn begin(mut self, disk: &dyn Disk, folder: &Path) -> Result<Self> {
        let prepared = std::mem::replace(&mut self.path, path_of(folder, self.sequence));
        let renamed = disk.rename(&prepared, &self.path).map_err(io_error("rename journal file", &prepared));
        match renamed.and_then(|()| disk.sync_dir(folder).map_err(io_error("sync directory", folder))) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.unmade(disk, folder, error)),
        }
    }

    /// Removes a file that could not be made, for good: come back after a power loss, it would stand for groups that the
    /// file before it goes on with. On a full disk this is what decides whether the journal may go on.
    fn unmade(&self, disk: &dyn Disk, folder: &Path, error: Error) -> Error {
        let removed = spare::gone(disk.remove(&self.path)).and_then(|()| disk.sync_dir(folder));
        match (removed, error) {
            (Err(source), Error::Full { .. }) => {
                Error::Io { action: "remove unfinished journal file", path: self.path.clone(), source }
            }
            (_, error) => error,
        }
    }

    /// Where the next frame goes.
    pub(crate) fn position(&self) -> Position {
        Position { file: self.sequence, offset: self.end }
    }

    /// Whether `bytes` more fit the file's planned size.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.end + bytes <= self.capacity
    }

    /// Bytes written: header and whole frames.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Writes a frame. On failure the file is cut back to where it was, as far as the disk allows.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> Result<()> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        self.file.write_all_at(parts, self.end).map_err(io_error("write journal file", &self.path))?;
        self.end += bytes;
        Ok(())
    }

    /// Removes what a failed append left beyond the end, and all unused space with it.
    pub(crate) fn cut(&mut self) -> Result<()> {
        self.capacity = self.capacity.min(self.end.max(FILE_HEADER_BYTES as u64));
        self.file.set_len(self.end).map_err(io_error("truncate journal file", &self.path))
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(io_error("sync journal file", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_sequence_round_trips(sequence in 0..u64::MAX) {
            let path = path_of(Path::new("journal"), sequence);
            prop_assert_eq!(sequence_of(path.file_name().unwrap().to_str().unwrap()), Some(sequence));
        }

        #[test]
        fn a_name_that_is_a_journal_files_is_the_one_it_would_get(name in "[0-9+ ]{18,21}(\\.wal|\\.tmp|)") {
            if let Some(sequence) = sequence_of(&name) {
                prop_assert_eq!(path_of(Path::new(""), sequence), PathBuf::from(name));
            }
        }
    }
}
