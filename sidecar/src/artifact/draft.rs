//! A copy in the making: a directory under a name nobody looks for, renamed when it is whole. Does I/O, blocking.

use super::ArtifactError;
use std::{fs, io, path::Path};
use tempfile::TempDir;

const PREFIX: &str = ".draft-";

/// Gone when dropped before it is published.
#[derive(Debug)]
pub(super) struct Draft(TempDir);

impl Draft {
    pub(super) fn new(store: &Path) -> Result<Self, ArtifactError> {
        tempfile::Builder::new().prefix(PREFIX).tempdir_in(store).map(Self).map_err(ArtifactError::Store)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it its name.
    pub(super) fn publish(self, target: &Path) -> Result<(), ArtifactError> {
        match fs::rename(self.0.path(), target) {
            // Another load of the same files was quicker.
            Err(_) if target.is_dir() => Ok(()),
            Err(cause) => Err(ArtifactError::Store(cause)),
            Ok(()) => {
                // It is not a draft any more; its directory is readable to its own plugin only through us.
                let _ = self.0.keep();
                Ok(())
            }
        }
    }
}

/// Removes what a sidecar that was killed left behind.
pub(super) fn sweep(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
