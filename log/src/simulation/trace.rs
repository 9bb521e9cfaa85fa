//! What went to the journal's files and what was told to anybody, in one order. From it alone follows whether a row was
//! durable when it was told of: it was written, and then its file and the folder were synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::simulation::rows::FIRST_NUMBER;

#[derive(Debug, Clone)]
pub(super) enum Event {
    Created(PathBuf),
    FolderSynced(PathBuf),
    Written(PathBuf, Vec<u8>),
    Synced(PathBuf),
    SyncFailed(PathBuf),
    /// A reader could read the row with this number.
    Visible(i64),
    /// The commit with this row was answered.
    Acknowledged(i64),
}

#[derive(Debug, Default)]
struct File {
    /// Numbers of rows written and not synced.
    written: BTreeSet<i64>,
    synced: BTreeSet<i64>,
    /// Whether its name is durable.
    named: bool,
}

/// How many rows were seen and how many acknowledged, or which one too early.
pub(super) fn check(events: &[Event], folder: &Path) -> Result<(usize, usize), String> {
    let mut files: BTreeMap<&Path, File> = BTreeMap::new();
    let (mut visible, mut acknowledged) = (0, 0);
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Created(path) => {
                files.insert(path, File::default());
            }
            Event::Written(path, bytes) if path.parent() == Some(folder) => {
                files.entry(path).or_default().written.extend(numbers_in(bytes));
            }
            Event::Written(..) => {}
            Event::Synced(path) => {
                let file = files.entry(path).or_default();
                file.synced.append(&mut file.written);
            }
            // What was written before may never reach the disk, whatever later syncs say.
            Event::SyncFailed(path) => files.entry(path).or_default().written.clear(),
            Event::FolderSynced(synced) => {
                files
                    .iter_mut()
                    .filter(|(path, _)| path.parent() == Some(synced))
                    .for_each(|(_, file)| file.named = true);
            }
            Event::Visible(n) | Event::Acknowledged(n) => {
                if !files.values().any(|file| file.named && file.synced.contains(n)) {
                    return Err(format!("event {at}: {event:?}, but row {} was not synced", n - FIRST_NUMBER));
                }
                if matches!(event, Event::Visible(_)) { visible += 1 } else { acknowledged += 1 }
            }
        }
    }
    Ok((visible, acknowledged))
}

/// The numbers of rows among these bytes: everything in the journal is aligned to eight.
fn numbers_in(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let candidates = bytes.chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().unwrap()));
    candidates.filter(|n| n >> 32 == FIRST_NUMBER >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_told_of_too_early_is_noticed() {
        let (folder, path) = (Path::new("/j"), PathBuf::from("/j/1"));
        let n = FIRST_NUMBER + 7;
        let written = || Event::Written(path.clone(), n.to_le_bytes().to_vec());
        let created = || [Event::Created(path.clone()), Event::FolderSynced(folder.to_owned())];
        let synced = || Event::Synced(path.clone());
        let events = |rest: Vec<Event>| [created().to_vec(), rest].concat();
        assert_eq!(check(&events(vec![written(), synced(), Event::Visible(n)]), folder), Ok((1, 0)));
        assert!(check(&events(vec![written(), Event::Visible(n), synced()]), folder).is_err());
        assert!(check(&events(vec![synced(), written(), Event::Acknowledged(n)]), folder).is_err());
        let failed = Event::SyncFailed(path.clone());
        assert!(check(&events(vec![written(), failed, synced(), Event::Acknowledged(n)]), folder).is_err());
        let unnamed = [Event::Created(path.clone()), written(), synced(), Event::Visible(n)];
        assert!(check(&unnamed, folder).is_err());
    }
}
