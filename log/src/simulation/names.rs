//! The directories: which names there are, and which of them the disk knows of.
//!
//! A change of a directory is durable once the directory was synced. At a power loss those that were not may each be lost
//! without the others (what POSIX allows), or all from some point on (what a journaling file system does).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::simulation::inode::Survival;
use crate::simulation::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Link(PathBuf, Node),
    Rename { from: PathBuf, to: PathBuf, node: Node },
    Unlink(PathBuf),
}

#[derive(Debug, Clone)]
pub(super) struct Names {
    cached: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    unsynced: Vec<Change>,
}

impl Names {
    /// Only the folder `root`.
    pub(super) fn new(root: &Path) -> Self {
        let cached = BTreeMap::from([(root.to_owned(), Node::Folder)]);
        Self { durable: cached.clone(), cached, unsynced: Vec::new() }
    }

    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        self.cached.get(path).copied()
    }

    pub(super) fn children(&self, folder: &Path) -> Vec<(&Path, Node)> {
        let within = self.cached.iter().filter(|(path, _)| path.parent() == Some(folder));
        within.map(|(path, node)| (path.as_path(), *node)).collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        files(&self.cached)
    }

    /// Every file that has a name, or may have one again after a power loss.
    pub(super) fn linked(&self) -> Vec<u64> {
        let changed = self.unsynced.iter().filter_map(|change| match change {
            Change::Link(_, Node::File(inode)) | Change::Rename { node: Node::File(inode), .. } => Some(*inode),
            _ => None,
        });
        self.files().chain(self.durable_files()).map(|(_, inode)| inode).chain(changed).collect()
    }

    pub(super) fn durable_files(&self) -> impl Iterator<Item = (&Path, u64)> {
        files(&self.durable)
    }

    pub(super) fn link(&mut self, path: &Path, node: Node) {
        self.change(Change::Link(path.to_owned(), node));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, node: Node) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), node });
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        self.change(Change::Unlink(path.to_owned()));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.cached, &change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self, folder: &Path) {
        let changes = std::mem::take(&mut self.unsynced);
        for change in changes {
            if change.folder() == Some(folder) {
                apply(&mut self.durable, &change);
            } else {
                self.unsynced.push(change);
            }
        }
    }

    pub(super) fn lose_power(&mut self, survival: Survival, random: &mut Random) {
        let changes = std::mem::take(&mut self.unsynced);
        let in_order = random.percent(50).then(|| random.index(changes.len() + 1));
        for (index, change) in changes.iter().enumerate() {
            let survives = match (survival.percent, in_order) {
                (0, _) => false,
                (100, _) => true,
                (_, Some(until)) => index < until,
                (percent, None) => random.percent(percent),
            };
            if survives {
                apply(&mut self.durable, change);
            }
        }
        // Nothing is in a folder that is not there. Folders stand before what is in them.
        let mut cached = BTreeMap::new();
        for (path, node) in &self.durable {
            if cached.is_empty() || path.parent().is_some_and(|parent| cached.contains_key(parent)) {
                cached.insert(path.clone(), *node);
            }
        }
        self.durable.clone_from(&cached);
        self.cached = cached;
    }
}

impl Change {
    fn folder(&self) -> Option<&Path> {
        let (Self::Link(path, _) | Self::Rename { to: path, .. } | Self::Unlink(path)) = self;
        path.parent()
    }
}

fn files(names: &BTreeMap<PathBuf, Node>) -> impl Iterator<Item = (&Path, u64)> {
    names.iter().filter_map(|(path, node)| match node {
        Node::Folder => None,
        Node::File(inode) => Some((path.as_path(), *inode)),
    })
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change {
        Change::Link(path, node) => {
            names.insert(path.clone(), *node);
        }
        Change::Rename { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
        Change::Unlink(path) => {
            names.remove(path);
        }
    }
}
