//! Which journal files there are and which rows each holds, so that a file goes once all its rows are sealed.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::stream::StreamId;

/// One journal file on disk.
#[derive(Debug)]
pub(crate) struct JournalFileInfo {
    pub path: PathBuf,
    pub bytes: u64,
    /// Per partition one past the last offset in the file.
    pub ends: HashMap<(StreamId, u32), u64>,
}

/// All journal files, oldest first; the last is being written.
#[derive(Debug, Default)]
pub(crate) struct JournalIndex {
    files: Mutex<VecDeque<JournalFileInfo>>,
}

impl JournalIndex {
    pub(crate) fn push(&self, file: JournalFileInfo) {
        self.files.lock().push_back(file);
    }

    /// Notes that the file being written grew to `bytes` and holds rows up to the given ends.
    pub(crate) fn grow(&self, bytes: u64, ends: impl Iterator<Item = ((StreamId, u32), u64)>) {
        let mut files = self.files.lock();
        let active = files.back_mut().expect("a journal being written has a file");
        active.bytes = bytes;
        active.ends.extend(ends);
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.lock().iter().map(|file| file.bytes).sum()
    }

    /// The partitions whose rows keep the oldest file alive, when there are more than `files` of them.
    pub(crate) fn holders_beyond(&self, files: usize) -> Vec<(StreamId, u32)> {
        let index = self.files.lock();
        match index.front() {
            Some(oldest) if index.len() > files => oldest.ends.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// The oldest file if its rows are all below what `sealed` says; never the one being written.
    pub(crate) fn oldest_sealed(&self, sealed: impl Fn(StreamId, u32) -> u64) -> Option<PathBuf> {
        let files = self.files.lock();
        let oldest = files.front().filter(|_| files.len() > 1)?;
        let done = oldest.ends.iter().all(|((stream, partition), end)| sealed(*stream, *partition) >= *end);
        done.then(|| oldest.path.clone())
    }

    /// Forgets the oldest file, which is gone.
    pub(crate) fn forget_oldest(&self) {
        self.files.lock().pop_front();
    }
}
