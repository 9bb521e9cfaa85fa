//! Where files go: an object store and what makes a local one durable. The store alone does not sync, and a sink must
//! not say that rows are safe before the disk has them.

use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::error::{Error, Result};

/// A folder of files.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    url: Url,
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
}

impl Location {
    /// A path, relative ones from `base`, or a `file://` address. The folder is created at the first write.
    pub(crate) fn parse(text: &str, base: &FilePath) -> Result<Self> {
        let misfit = |expected: &str| Error::Option {
            option: "location".into(),
            expected: expected.into(),
            found: format!("'{text}'"),
        };
        let folder = if text.contains("://") {
            let url = Url::parse(text).map_err(|_| misfit("a file:// address"))?;
            url.to_file_path().map_err(|()| misfit("a file:// address of this machine"))?
        } else {
            base.join(text)
        };
        let folder = std::path::absolute(folder).map_err(|_| misfit("a path"))?;
        let url = Url::from_directory_path(&folder).map_err(|()| misfit("an absolute path"))?;
        Ok(Self { url, store: Arc::new(LocalFileSystem::new()), folder })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn folder(&self) -> &FilePath {
        &self.folder
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The path of a file within the store.
    pub(crate) fn path(&self, relative: &str) -> Result<Path> {
        let mut path = Path::from_absolute_path(&self.folder).map_err(|error| self.unavailable(&error))?;
        for part in relative.split('/') {
            path = path.join(part);
        }
        Ok(path)
    }

    /// Writes a file whole and puts it in place at once, durable when this returns.
    pub(crate) async fn put(&self, relative: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.path(relative)?;
        self.store.put(&path, Bytes::from(bytes).into()).await.map_err(|error| self.unavailable(&error))?;
        self.sync(relative).await
    }

    /// Makes a file and the folders that lead to it durable.
    pub(crate) async fn sync(&self, relative: &str) -> Result<()> {
        let (folder, file) = (self.folder.clone(), self.folder.join(relative));
        let synced = tokio::task::spawn_blocking(move || sync_up(&file, &folder)).await;
        match synced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.unavailable(&error)),
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    pub(crate) fn unavailable(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Unavailable {
            destination: self.folder.display().to_string(),
            reason: error.to_string(),
            retry_after: None,
        }
    }
}

/// Syncs a file, its folder, and every folder up to the parent of the location, which may all be new.
fn sync_up(file: &FilePath, location: &FilePath) -> std::io::Result<()> {
    File::open(file)?.sync_all()?;
    let stop = location.parent();
    let mut folder = file.parent();
    while let Some(current) = folder {
        File::open(current)?.sync_all()?;
        if Some(current) == stop {
            break;
        }
        folder = current.parent();
    }
    Ok(())
}
