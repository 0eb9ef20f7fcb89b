//! A plugin's directory: its manifest, checked, and its program. Reads files, changes none.

use rockstar_core::document::Format;
use rockstar_core::manifest::{self, LoadError, Manifest};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use thiserror::Error;

const MANIFESTS: [(&str, Format); 2] = [("plugin.yaml", Format::Yaml), ("plugin.json", Format::Json)];

#[derive(Debug, Error)]
pub(crate) enum PackageError {
    #[error("{0}: no plugin.yaml or plugin.json there; put the plugin's manifest beside its program")]
    NoManifest(PathBuf),
    #[error("{path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Manifest { path: PathBuf, error: LoadError },
    #[error("{0}: plugin file not found; name the program as the plugin, or set `command` in the manifest")]
    NoProgram(PathBuf),
    #[error("{0}: command is outside the plugin's directory; give it relative to the directory")]
    Outside(String),
    #[error("{0}: not a file; the plugin's program is expected there")]
    NotAFile(PathBuf),
    #[error("{0}: not executable; run `chmod +x` on it")]
    NotExecutable(PathBuf),
}

/// A directory that can be published.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) manifest: Manifest,
    pub(crate) warnings: Vec<String>,
}

impl Package {
    pub(crate) fn open(directory: &Path) -> Result<Self, PackageError> {
        let found: Vec<_> = MANIFESTS.iter().filter(|(name, _)| directory.join(name).is_file()).collect();
        let (name, format) = found.first().ok_or_else(|| PackageError::NoManifest(directory.to_owned()))?;
        let path = directory.join(name);
        let text = fs::read_to_string(&path).map_err(|error| PackageError::Unreadable { path: path.clone(), error })?;
        let parsed =
            manifest::load(&text, *format).map_err(|error| PackageError::Manifest { path: path.clone(), error })?;
        check_program(directory, &parsed.manifest)?;
        let mut warnings: Vec<_> = parsed.warnings.iter().map(|text| format!("{}: {text}", path.display())).collect();
        if found.len() > 1 {
            warnings.push(format!("{}: plugin.json is ignored because plugin.yaml is there too", directory.display()));
        }
        Ok(Self { manifest: parsed.manifest, warnings })
    }
}

fn check_program(directory: &Path, manifest: &Manifest) -> Result<(), PackageError> {
    let name = manifest.command.first().unwrap_or(&manifest.name);
    if name.starts_with('/') || Path::new(name).components().any(|part| part.as_os_str() == "..") {
        return Err(PackageError::Outside(name.clone()));
    }
    let path = directory.join(name);
    let meta = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PackageError::NoProgram(path)),
        Err(error) => return Err(PackageError::Unreadable { path, error }),
        Ok(meta) => meta,
    };
    match meta {
        meta if !meta.is_file() => Err(PackageError::NotAFile(path)),
        meta if meta.permissions().mode() & 0o111 == 0 => Err(PackageError::NotExecutable(path)),
        _ => Ok(()),
    }
}
