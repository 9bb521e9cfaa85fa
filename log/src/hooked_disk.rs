//! The operating system's file system with hooks, for tests and measurements: what is done can be watched, refused, held
//! back or done in part. What a hook does not take for itself is done as [`OsDisk`] does it.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DirEntry, Disk, DiskFile, DiskSpace, OsDisk};

/// An operation of a [`Disk`] or a [`DiskFile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskOp {
    /// [`Disk::create_dir_all`].
    CreateDir,
    /// [`Disk::list`].
    List,
    /// [`Disk::create`].
    Create,
    /// [`Disk::open`].
    Open,
    /// [`Disk::rename`]; the path is the one that the file had.
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::remove_dir`].
    RemoveDir,
    /// [`Disk::sync_dir`].
    SyncDir,
    /// [`Disk::lock`].
    Lock,
    /// [`DiskFile::len`].
    Len,
    /// [`DiskFile::read_exact_at`].
    Read,
    /// [`DiskFile::write_all_at`].
    Write,
    /// [`DiskFile::allocate`].
    Allocate,
    /// [`DiskFile::set_len`].
    SetLen,
    /// [`DiskFile::sync_data`].
    Sync,
}

/// What stands between a [`HookedDisk`] and the operating system. A hook that is not implemented changes nothing.
pub trait DiskHooks: fmt::Debug + Send + Sync + 'static {
    /// Hears of every operation before it is done; an error refuses it.
    ///
    /// # Errors
    /// Whatever the operation is to fail with.
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let _ = (op, path);
        Ok(())
    }

    /// In the place of a read.
    ///
    /// # Errors
    /// As [`DiskFile::read_exact_at`].
    fn read(&self, file: &dyn DiskFile, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let _ = path;
        file.read_exact_at(buffer, offset)
    }

    /// In the place of a write.
    ///
    /// # Errors
    /// As [`DiskFile::write_all_at`].
    fn write(&self, file: &dyn DiskFile, path: &Path, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let _ = path;
        file.write_all_at(parts, offset)
    }

    /// In the place of a preallocation.
    ///
    /// # Errors
    /// As [`DiskFile::allocate`].
    fn allocate(&self, file: &dyn DiskFile, path: &Path, bytes: u64) -> io::Result<()> {
        let _ = path;
        file.allocate(bytes)
    }

    /// In the place of a file's sync.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync(&self, file: &dyn DiskFile, path: &Path) -> io::Result<()> {
        let _ = path;
        file.sync_data()
    }

    /// In the place of a directory's sync.
    ///
    /// # Errors
    /// As [`Disk::sync_dir`].
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        OsDisk.sync_dir(path)
    }

    /// What is said of the space; [`DiskSpace::UNKNOWN`] where it is not hooked, so that tests do not depend on that of the
    /// machine they run on.
    ///
    /// # Errors
    /// As [`Disk::space`].
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let _ = path;
        Ok(DiskSpace::UNKNOWN)
    }
}

/// The operating system's file system as `H` lets it through.
#[derive(Debug)]
pub struct HookedDisk<H>(Arc<H>);

impl<H: DiskHooks> HookedDisk<H> {
    /// A disk with these hooks, which whoever made it goes on to direct.
    pub fn new(hooks: &Arc<H>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(hooks)))
    }

    fn hooked(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile { hooks: Arc::clone(&self.0), path: path.to_owned(), file })
    }
}

impl<H: DiskHooks> Disk for HookedDisk<H> {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.before(DiskOp::CreateDir, path)?;
        OsDisk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.before(DiskOp::List, path)?;
        OsDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.before(DiskOp::Create, path)?;
        Ok(self.hooked(path, OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.before(DiskOp::Open, path)?;
        Ok(self.hooked(path, OsDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.before(DiskOp::Rename, from)?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.before(DiskOp::Remove, path)?;
        OsDisk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before(DiskOp::RemoveDir, path)?;
        OsDisk.remove_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.0.space(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.before(DiskOp::SyncDir, path)?;
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.0.before(DiskOp::Lock, path)?;
        OsDisk.lock(path)
    }
}

#[derive(Debug)]
struct HookedFile<H> {
    hooks: Arc<H>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl<H: DiskHooks> DiskFile for HookedFile<H> {
    fn len(&self) -> io::Result<u64> {
        self.hooks.before(DiskOp::Len, &self.path)?;
        self.file.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.hooks.before(DiskOp::Read, &self.path)?;
        self.hooks.read(self.file.as_ref(), &self.path, buffer, offset)
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.hooks.before(DiskOp::Write, &self.path)?;
        self.hooks.write(self.file.as_ref(), &self.path, parts, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.hooks.before(DiskOp::Allocate, &self.path)?;
        self.hooks.allocate(self.file.as_ref(), &self.path, bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.hooks.before(DiskOp::SetLen, &self.path)?;
        self.file.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.hooks.before(DiskOp::Sync, &self.path)?;
        self.hooks.sync(self.file.as_ref(), &self.path)
    }
}
