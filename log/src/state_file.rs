//! State files: what a named value refers to instead of holding it. A file gets its name when it is complete and durable
//! and does not change afterwards.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::error::{Result, io_error};
use crate::log::{Log, PARTIAL_SUFFIX, STATE_FOLDER};
use crate::shared::Shared;

/// So much is written and made durable at once: a commit that is synced meanwhile waits behind it.
const PIECE_BYTES: usize = 4 << 20;

/// Path of the state file of that name.
pub(crate) fn path_of(shared: &Shared, name: &str) -> Result<PathBuf> {
    let path = shared.dir.join(STATE_FOLDER).join(name);
    if matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
        return Ok(path);
    }
    let invalid = IoError::new(ErrorKind::InvalidInput, "expected the name of a file, found a path");
    Err(io_error("use state file", &path)(invalid))
}

impl Log {
    /// Writes a file of [`Self::state_dir`], in the place of one of that name. It is durable when this returns. On failure
    /// what stood under the name stays, and nothing is left behind as far as the disk allows.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full), or an I/O error.
    pub fn write_state_file(&self, name: &str, content: &[u8]) -> Result<()> {
        let (disk, path) = (&self.shared().options.disk, path_of(self.shared(), name)?);
        let partial = path_of(self.shared(), &format!("{name}{PARTIAL_SUFFIX}"))?;
        let write = || {
            let file = disk.create(&partial).map_err(io_error("create state file", &partial))?;
            let sync = || file.sync_data().map_err(io_error("sync state file", &partial));
            for (n, piece) in content.chunks(PIECE_BYTES).enumerate() {
                if n > 0 {
                    sync()?;
                }
                let offset = (n * PIECE_BYTES) as u64;
                file.write_all_at(&[piece], offset).map_err(io_error("write state file", &partial))?;
            }
            sync()?;
            disk.rename(&partial, &path).map_err(io_error("rename state file", &partial))
        };
        write().inspect_err(|_| {
            let _ = disk.remove(&partial);
        })?;
        let folder = self.state_dir();
        disk.sync_dir(&folder).map_err(io_error("sync directory", &folder))
    }

    /// Reads a file of [`Self::state_dir`].
    ///
    /// # Errors
    /// An I/O error, also when there is none of that name.
    pub fn read_state_file(&self, name: &str) -> Result<Vec<u8>> {
        let path = path_of(self.shared(), name)?;
        let file = self.shared().options.disk.open(&path).map_err(io_error("open state file", &path))?;
        let bytes = file.len().map_err(io_error("size state file", &path))?;
        let mut content = vec![0; usize::try_from(bytes).expect("a state file fits the address space")];
        file.read_exact_at(&mut content, 0).map_err(io_error("read state file", &path))?;
        Ok(content)
    }

    /// Names of the complete files of [`Self::state_dir`], in no order.
    ///
    /// # Errors
    /// An I/O error.
    pub fn state_files(&self) -> Result<Vec<String>> {
        let folder = self.state_dir();
        let entries = self.shared().options.disk.list(&folder).map_err(io_error("list", &folder))?;
        let names = entries.into_iter().map(|entry| entry.name);
        Ok(names.filter(|name| !name.ends_with(PARTIAL_SUFFIX)).collect())
    }
}
