//! Where the sidecar keeps its private files. Makes directories.

use super::AppError;
use crate::{args::Arguments, launch, removal};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";

#[derive(Debug)]
pub(super) struct Paths {
    pub(super) run: PathBuf,
    /// Private directories of plugins' processes.
    pub(super) plugins: PathBuf,
    pub(super) data: PathBuf,
    _lock: File,
    /// Removed at the end.
    temporary: Option<PathBuf>,
}

impl Paths {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, AppError> {
        let failed = |cause| AppError::Prepare { what: "the private directory", cause };
        let alone = arguments.config.is_some();
        let temporary = match alone && arguments.run_dir.is_none() {
            true => Some(tempfile::Builder::new().prefix("rockstar-").tempdir().map_err(failed)?.keep()),
            false => None,
        };
        let run = arguments.run_dir.clone().or(temporary.clone()).unwrap_or_else(|| "/run/rockstar".into());
        let data = match &arguments.data_dir {
            Some(data) => data.clone(),
            None if alone => run.join("data"),
            None => "/var/lib/rockstar".into(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(failed)?;
        // In a pod the run directory is memory.
        let plugins = if alone { run.clone() } else { data.clone() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&plugins).map_err(failed)?;
        // Where the lock is, there is what its holder removes.
        let lock = File::create(plugins.join(LOCK)).map_err(failed)?;
        if let Err(cause) = sweep(&plugins, &lock) {
            tracing::warn!(%cause, "Failed to remove what an earlier sidecar left in {}: {cause}", plugins.display());
        }
        Ok(Self { run, plugins, data, _lock: lock, temporary })
    }
}

/// Only whoever holds the lock may remove: another sidecar's plugins may be in there.
fn sweep(plugins: &Path, lock: &File) -> io::Result<()> {
    match flock(lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => launch::sweep(plugins),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        let Some(temporary) = &self.temporary else { return };
        if let Err(cause) = removal::remove_tree(temporary) {
            tracing::warn!(%cause, "Failed to remove {}: {cause}", temporary.display());
        }
    }
}
