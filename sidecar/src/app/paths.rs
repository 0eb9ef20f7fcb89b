//! Where the sidecar keeps its private files. Makes directories.

use super::AppError;
use crate::args::Arguments;
use std::{fs, os::unix::fs::DirBuilderExt, path::PathBuf};

#[derive(Debug)]
pub(super) struct Paths {
    pub(super) run: PathBuf,
    pub(super) data: PathBuf,
    /// Removed at the end.
    _temporary: Option<tempfile::TempDir>,
}

impl Paths {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, AppError> {
        let failed = |cause| AppError::Prepare { what: "the private directory", cause };
        let alone = arguments.config.is_some();
        let temporary = match alone && arguments.run_dir.is_none() {
            true => Some(tempfile::Builder::new().prefix("rockstar-").tempdir().map_err(failed)?),
            false => None,
        };
        let own = temporary.as_ref().map(|t| t.path().to_owned());
        let run = arguments.run_dir.clone().or(own).unwrap_or_else(|| "/run/rockstar".into());
        let data = match &arguments.data_dir {
            Some(data) => data.clone(),
            None if alone => run.join("data"),
            None => "/var/lib/rockstar".into(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&run).map_err(failed)?;
        Ok(Self { run, data, _temporary: temporary })
    }
}
