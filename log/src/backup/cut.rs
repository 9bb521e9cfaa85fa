//! What belongs to the copy: which files, and how much of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::clock::{Clock, SystemClock};
use crate::disk::Disk;
use crate::error::{Result, io_error};
use crate::log::{PARTIAL_SUFFIX, STATE_FOLDER};
use crate::open::{IDENTITY_FILE, Opened};
use crate::read_only::ReadOnlyDisk;
use crate::sealer;
use crate::segment::Segment;
use crate::shared::Shared;

use super::gate::Hold;

/// A file to copy.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    /// How many of its bytes, from the first on.
    pub bytes: u64,
    /// Their checksum, where it is known; else it is taken while they are copied.
    pub crc: Option<u32>,
    /// Keeps the file of a segment on disk until it is copied.
    _segment: Option<Arc<Segment>>,
}

/// The log at one durable instant.
#[derive(Debug)]
pub(super) struct Cut {
    pub taken_ms: i64,
    /// Journal files, oldest first, up to a whole frame that is synced.
    pub journal: Vec<Part>,
    /// The complete files of the state folder.
    pub state: Vec<Part>,
    /// Segments; they hold no row that is not in the journal up to the cut, or was before it was trimmed.
    pub segments: Vec<Part>,
    /// The log's identity.
    pub identity: Part,
}

impl Cut {
    /// Takes the cut of a running log, whose journal and state files stay meanwhile.
    ///
    /// The order matters, as appending, sealing and retention go on:
    ///
    /// 1. Everything that is acknowledged by now is synced, also where the durability did not ask for it.
    /// 2. Segments, held from now on. Rows that are sealed later are in the journal still, which is not trimmed.
    /// 3. The journal. Taken after the segments it reaches at least as far as they do: rows are sealed after they were
    ///    synced. Where retention has removed rows since, the journal's new start says so, and opening the copy
    ///    removes their segments.
    /// 4. State files. One that a value of the journal names was there before the value, and has not been removed.
    pub(super) fn of_running(shared: &Shared, _held: &Hold<'_>) -> Result<Self> {
        sealer::sync_journal(shared)?;
        let segments = segments(&shared.catalog);
        let journal = shared.journal.durable();
        Ok(Self {
            taken_ms: shared.options.clock.now_ms(),
            journal: journal.into_iter().map(|(path, bytes)| part(path, bytes)).collect(),
            state: state_files(shared.options.disk.as_ref(), &shared.dir)?,
            segments,
            identity: identity(shared.options.disk.as_ref(), &shared.dir)?,
        })
    }

    /// Takes the cut of a directory that nobody has open: all of it but a torn end.
    pub(super) fn of_closed(dir: &Path, opened: &Opened) -> Result<Self> {
        Ok(Self {
            taken_ms: SystemClock.now_ms(),
            journal: opened.journal.files.iter().map(|file| part(file.path.clone(), file.bytes)).collect(),
            state: state_files(&ReadOnlyDisk, dir)?,
            segments: segments(&opened.catalog),
            identity: identity(&ReadOnlyDisk, dir)?,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let parts = self.journal.iter().chain(&self.state).chain(&self.segments).chain([&self.identity]);
        parts.map(|part| part.bytes).sum()
    }
}

fn part(path: PathBuf, bytes: u64) -> Part {
    Part { path, bytes, crc: None, _segment: None }
}

fn segments(catalog: &Catalog) -> Vec<Part> {
    let segments = catalog.partitions().into_iter().flat_map(|partition| partition.segments());
    let part = |segment: Arc<Segment>| Part {
        path: segment.path.clone(),
        bytes: segment.bytes,
        crc: Some(segment.name.crc),
        _segment: Some(segment),
    };
    segments.map(part).collect()
}

fn state_files(disk: &dyn Disk, dir: &Path) -> Result<Vec<Part>> {
    let folder = dir.join(STATE_FOLDER);
    let files = disk.list(&folder).map_err(io_error("list", &folder))?;
    let complete = files.into_iter().filter(|file| !file.name.ends_with(PARTIAL_SUFFIX));
    Ok(complete.map(|file| part(folder.join(file.name), file.bytes)).collect())
}

fn identity(disk: &dyn Disk, dir: &Path) -> Result<Part> {
    let path = dir.join(IDENTITY_FILE);
    let bytes = disk.open(&path).and_then(|file| file.len()).map_err(io_error("open", &path))?;
    Ok(part(path, bytes))
}
