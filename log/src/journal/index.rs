//! Which journal files there are and which rows each holds, so that a file goes once all its rows are sealed and no
//! backup needs it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::error::Result;
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
    state: Mutex<State>,
    /// Whether every file has to stay. Held while one is removed, so that a pin comes before or after.
    pinned: Mutex<bool>,
}

#[derive(Debug, Default)]
struct State {
    files: VecDeque<JournalFileInfo>,
    /// Bytes of the last file that are known to be synced; the files before it are synced whole.
    synced_bytes: u64,
    /// Whether the oldest file has no name any more, though not yet for good.
    oldest_is_gone: bool,
}

impl JournalIndex {
    /// Adds a file, all of which is durable.
    pub(crate) fn push(&self, file: JournalFileInfo) {
        let mut state = self.state.lock();
        state.synced_bytes = file.bytes;
        state.files.push_back(file);
    }

    /// Notes that the file being written grew to `bytes` and holds rows up to the given ends.
    pub(crate) fn grow(&self, bytes: u64, ends: impl Iterator<Item = ((StreamId, u32), u64)>) {
        let mut state = self.state.lock();
        let active = state.files.back_mut().expect("a journal being written has a file");
        active.bytes = bytes;
        active.ends.extend(ends);
    }

    /// Notes that the first `bytes` of the file being written are durable.
    pub(crate) fn note_synced(&self, bytes: u64) {
        self.state.lock().synced_bytes = bytes;
    }

    /// All files of one instant, each with its durable bytes, which end with a whole frame.
    pub(crate) fn durable(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state.lock();
        let kept = state.files.iter().skip(usize::from(state.oldest_is_gone));
        let mut files: Vec<_> = kept.map(|file| (file.path.clone(), file.bytes)).collect();
        if let Some((_, bytes)) = files.last_mut() {
            *bytes = state.synced_bytes;
        }
        files
    }

    /// While pinned, no file is taken away.
    pub(crate) fn pin(&self, pinned: bool) {
        *self.pinned.lock() = pinned;
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().files.iter().map(|file| file.bytes).sum()
    }

    /// The partitions whose rows keep the oldest file alive, when there are more than `files` of them. None while files
    /// are pinned: sealing rows would free nothing then.
    pub(crate) fn holders_beyond(&self, files: usize) -> Vec<(StreamId, u32)> {
        let pinned = *self.pinned.lock();
        let state = self.state.lock();
        match state.files.front() {
            Some(oldest) if state.files.len() > files && !pinned => oldest.ends.keys().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Has the oldest file removed, of which `remove` gets path and bytes, if its rows are all below what `sealed` says;
    /// never the one being written, and none while pinned. Tells whether one went; what could not be removed for good, which `sync` makes it, stays known.
    pub(crate) fn remove_sealed(
        &self,
        sealed: impl Fn(StreamId, u32) -> u64,
        remove: impl FnOnce(&Path, u64) -> Result<()>,
        sync: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let pinned = self.pinned.lock();
        let Some((path, bytes)) = self.oldest_sealed(sealed).filter(|_| !*pinned) else { return Ok(false) };
        remove(&path, bytes)?;
        self.state.lock().oldest_is_gone = true;
        sync()?;
        let mut state = self.state.lock();
        state.oldest_is_gone = false;
        state.files.pop_front();
        Ok(true)
    }

    fn oldest_sealed(&self, sealed: impl Fn(StreamId, u32) -> u64) -> Option<(PathBuf, u64)> {
        let state = self.state.lock();
        let oldest = state.files.front().filter(|_| state.files.len() > 1)?;
        let done = oldest.ends.iter().all(|((stream, partition), end)| sealed(*stream, *partition) >= *end);
        done.then(|| (oldest.path.clone(), oldest.bytes))
    }
}
