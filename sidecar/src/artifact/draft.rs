//! A copy in the making: a directory under a name nobody looks for, renamed when it is whole. Does I/O, blocking.

use super::ArtifactError;
use crate::removal;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const PREFIX: &str = ".draft-";

/// Gone when dropped before it is published.
#[derive(Debug)]
pub(super) struct Draft(PathBuf);

impl Draft {
    pub(super) fn new(store: &Path) -> Result<Self, ArtifactError> {
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(store);
        made.map(|directory| Self(directory.keep())).map_err(ArtifactError::Store)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it its name.
    pub(super) fn publish(self, target: &Path) -> Result<(), ArtifactError> {
        match fs::rename(&self.0, target) {
            // Another load of the same files was quicker.
            Err(_) if target.is_dir() => Ok(()),
            Err(cause) => Err(ArtifactError::Store(cause)),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        match removal::remove_tree(&self.0) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%cause, "Failed to remove {}: {cause}", self.0.display());
            }
            _ => {}
        }
    }
}

/// Removes what a sidecar that was killed left behind.
pub(super) fn sweep(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            removal::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
