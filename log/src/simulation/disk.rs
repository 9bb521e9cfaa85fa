//! What one process sees of a machine's disk: it ends with the process, whatever a log still holds of it.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DirEntry, Disk, DiskFile, DiskSpace};
use crate::simulation::inode::Inode;
use crate::simulation::machine::{Machine, Op, State};
use crate::simulation::names::Node;
use crate::simulation::trace::Event;

#[derive(Debug)]
pub(super) struct SimDisk {
    machine: Arc<Machine>,
    process: u64,
}

impl SimDisk {
    pub(super) fn new(machine: &Arc<Machine>, process: u64) -> Self {
        Self { machine: Arc::clone(machine), process }
    }

    fn run<T>(
        &self,
        op: Op,
        path: &Path,
        effect: impl FnOnce(&mut State, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.machine.run(self.process, op, path, (0, 0), effect)
    }

    /// For operations that fail before they do anything.
    fn run_whole<T>(&self, op: Op, path: &Path, effect: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.run(op, path, |state, fault| fault.map_or_else(|| effect(state), Err))
    }

    fn file(&self, path: &Path, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { machine: Arc::clone(&self.machine), process: self.process, path: path.to_owned(), inode })
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.run_whole(Op::CreateFolder, path, |state| {
            let mut missing: Vec<&Path> = path.ancestors().take_while(|a| state.names.node(a).is_none()).collect();
            while let Some(folder) = missing.pop() {
                state.names.link(folder, Node::Folder);
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.run_whole(Op::List, path, |state| {
            let entry = |(path, node): (&Path, Node)| DirEntry {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                bytes: match node {
                    Node::Folder => 4096,
                    Node::File(inode) => state.inodes[&inode].len() as u64,
                },
            };
            let mut entries: Vec<DirEntry> = state.names.children(path).into_iter().map(entry).collect();
            // In no order.
            for at in (1..entries.len()).rev() {
                entries.swap(at, state.random.index(at + 1));
            }
            Ok(entries)
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.run_whole(Op::Create, path, |state| match state.names.node(path) {
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(inode)) => {
                state.inode(inode).resize(0);
                Ok(inode)
            }
            None if path.parent().and_then(|folder| state.names.node(folder)).is_none() => {
                Err(io::ErrorKind::NotFound.into())
            }
            None => {
                let inode = state.operations;
                state.inodes.insert(inode, Inode::default());
                state.names.link(path, Node::File(inode));
                Ok(inode)
            }
        })?;
        Ok(self.file(path, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.run_whole(Op::Open, path, |state| match state.names.node(path) {
            Some(Node::File(inode)) => Ok(inode),
            _ => Err(io::ErrorKind::NotFound.into()),
        })?;
        Ok(self.file(path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "renames stay within a folder");
        self.run_whole(Op::Rename, from, |state| {
            let node = state.names.node(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.rename(from, to, node);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run_whole(Op::Remove, path, |state| {
            state.names.node(path).ok_or(io::ErrorKind::NotFound)?;
            state.names.unlink(path);
            Ok(())
        })
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.run_whole(Op::Space, path, |state| Ok(state.space()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run_whole(Op::SyncFolder, path, |state| {
            state.names.node(path).ok_or(io::ErrorKind::NotFound)?;
            state.names.sync(path);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let taken = self.run_whole(Op::Lock, path, |state| {
            if state.names.node(path).is_none() {
                let inode = state.operations;
                state.inodes.insert(inode, Inode::default());
                state.names.link(path, Node::File(inode));
            }
            Ok(state.locked.insert(path.to_owned()))
        })?;
        let lock = || -> Box<dyn Any + Send + Sync> {
            Box::new(Lock { machine: Arc::clone(&self.machine), process: self.process, path: path.to_owned() })
        };
        Ok(taken.then(lock))
    }
}

struct Lock {
    machine: Arc<Machine>,
    process: u64,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.machine.unlock(self.process, &self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    machine: Arc<Machine>,
    process: u64,
    path: PathBuf,
    inode: u64,
}

impl SimFile {
    fn run<T>(
        &self,
        op: Op,
        detail: (u64, u32),
        effect: impl FnOnce(&mut State, Option<io::Error>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.machine.run(self.process, op, &self.path, detail, effect)
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.run(Op::Size, (0, 0), |state, fault| {
            fault.map_or(Ok(()), Err)?;
            Ok(state.inode(self.inode).len() as u64)
        })
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.run(Op::Read, (offset, 0), |state, fault| {
            fault.map_or(Ok(()), Err)?;
            let from = to_usize(offset);
            let found = state.inode(self.inode).bytes().get(from..from + buffer.len());
            buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let bytes = parts.concat();
        self.run(Op::Write, (offset, crc32c::crc32c(&bytes)), |state, fault| {
            state.write(self.inode, to_usize(offset), &bytes, fault)?;
            state.add_event(|| Event::Written(self.path.clone(), bytes.clone()));
            Ok(())
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.run(Op::Allocate, (bytes, 0), |state, fault| {
            fault.map_or(Ok(()), Err)?;
            if !state.allocates {
                return Ok(());
            }
            let grows = to_usize(bytes).saturating_sub(state.inode(self.inode).len());
            if state.space_for(grows) < grows {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.inode(self.inode).reserve(to_usize(bytes));
            Ok(())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.run(Op::Resize, (bytes, 0), |state, fault| {
            fault.map_or(Ok(()), Err)?;
            state.inode(self.inode).resize(to_usize(bytes));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(Op::SyncFile, (0, 0), |state, fault| match fault {
            None => {
                state.inode(self.inode).sync();
                Ok(())
            }
            Some(error) => {
                let State { inodes, random, .. } = state;
                inodes.get_mut(&self.inode).expect("files of a process outlive it").fail_sync(random);
                Err(error)
            }
        })
    }
}
