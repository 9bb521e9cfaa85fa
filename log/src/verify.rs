//! Checks every byte of a data directory that a checksum protects, and names all damage instead of the first.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result, io_error};
use crate::read_only::ReadOnlyDisk;
use crate::segment::{self, Segment, SegmentName};
use crate::{examine, journal, open};

/// A place in a data directory that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file, or the folder that something is missing from.
    pub path: PathBuf,
    /// Byte offset in the file; 0 when the checksum that fails is that of the whole file.
    pub offset: u64,
    /// What was expected and found.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.path.display(), self.offset, self.what)
    }
}

/// Checks the log in `dir`: its identity, every frame of the journal, the checksum of every segment, and that segments
/// and journal together miss no row (as far as the journal can be read). Returns all damage, by file and offset. A torn
/// end of the journal, which was never acknowledged, is none. Changes nothing; the directory cannot be opened meanwhile.
///
/// # Errors
/// [`Error::Locked`] when a process has it open, [`Error::Version`], or an I/O error, also when there is no log in `dir`.
pub fn verify(dir: impl AsRef<Path>) -> Result<Vec<Damage>> {
    let dir = dir.as_ref();
    let _hold = examine::hold(dir)?;
    let mut found = Vec::new();
    // Frames can be told only by the log's id.
    match open::read_identity(&ReadOnlyDisk, dir) {
        Ok(Some(log_id)) => found.extend(journal::damages(&ReadOnlyDisk, &dir.join(journal::FOLDER), log_id)?),
        Ok(None) => {}
        Err(error) => found.push(damage(error)?),
    }
    check_segments(dir, &mut found)?;
    // What no checksum tells: missing files, groups out of order, rows that are nowhere.
    if let Err(error) = examine::recover(dir) {
        let first = damage(error)?;
        if !found.iter().any(|known| known.path == first.path) {
            found.push(first);
        }
    }
    found.sort();
    Ok(found)
}

fn check_segments(dir: &Path, found: &mut Vec<Damage>) -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(ReadOnlyDisk);
    for stream in folders(&dir.join(segment::FOLDER))? {
        for partition in folders(&stream)? {
            for entry in disk.list(&partition).map_err(io_error("list", &partition))? {
                let Ok(name) = entry.name.parse::<SegmentName>() else { continue };
                let segment = Arc::new(Segment::new(Arc::clone(&disk), partition.join(&entry.name), name, entry.bytes));
                if let Err(error) = segment.verify() {
                    found.push(damage(error)?);
                }
            }
        }
    }
    Ok(())
}

/// The folders in `folder`; none when it does not exist.
fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", folder))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    Ok(paths.map_err(io_error("list", folder))?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Damage is what is looked for; any other error means that looking failed.
fn damage(error: Error) -> Result<Damage> {
    match error {
        Error::Corrupt { path, offset, what } => Ok(Damage { path, offset, what }),
        other => Err(other),
    }
}
