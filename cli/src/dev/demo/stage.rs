//! A copy of the quickstart's YAML that the story may change; the plugins' files stay where they are. Copies files.

use anyhow::{Context as _, Result};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The plugin that is upgraded, and the file that holds it.
pub(super) const PLUGIN: &str = "auth-plugin";
const FILE: &str = "auth-plugin.yaml";

#[derive(Debug)]
pub(super) struct Stage {
    origin: PathBuf,
    copy: TempDir,
}

impl Stage {
    pub(super) fn copy(origin: &Path) -> Result<Self> {
        let missing = "--demo plays examples/quickstart, with its auth-plugin.yaml and upgrades";
        let origin = origin.canonicalize().with_context(|| origin.display().to_string())?;
        fs::metadata(origin.join(FILE)).context(missing)?;
        fs::metadata(origin.join("upgrades")).context(missing)?;
        let copy = tempfile::Builder::new().prefix("rockstar-demo-").tempdir()?;
        copy_files(&origin, copy.path()).with_context(|| format!("copying {}", origin.display()))?;
        Ok(Self { origin, copy })
    }

    pub(super) fn directory(&self) -> &Path {
        self.copy.path()
    }

    /// As `cp upgrades/auth-plugin-VERSION.yaml auth-plugin.yaml` does.
    pub(super) fn upgrade(&self, version: &str) -> Result<()> {
        let from = self.origin.join("upgrades").join(format!("{PLUGIN}-{version}.yaml"));
        fs::copy(&from, self.copy.path().join(FILE)).with_context(|| from.display().to_string())?;
        Ok(())
    }
}

fn copy_files(origin: &Path, copy: &Path) -> io::Result<()> {
    for entry in fs::read_dir(origin)? {
        let entry = entry?;
        let to = copy.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            symlink(entry.path(), to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
