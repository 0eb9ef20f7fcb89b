//! Which program of an artifact is the plugin. Reads file modes.

use super::{Artifact, ArtifactError};
use rockstar_core::manifest::Manifest;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where programs outside the artifact are looked for.
const SEARCHED: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/opt/bin"];

pub(super) fn find(artifact: &Artifact, manifest: &Manifest) -> Result<(PathBuf, Vec<String>), ArtifactError> {
    let (program, arguments) = match manifest.command.split_first() {
        Some((program, arguments)) => (named(&artifact.directory, program), arguments),
        None => (own(artifact, &manifest.name)?, &[][..]),
    };
    executable(&program)?;
    Ok((program, arguments.iter().map(|a| argument(&artifact.directory, a)).collect()))
}

fn own(artifact: &Artifact, name: &str) -> Result<PathBuf, ArtifactError> {
    let program = artifact.program.clone().unwrap_or_else(|| artifact.directory.join(name));
    program.is_file().then_some(program).ok_or_else(|| ArtifactError::NoProgram { name: name.to_owned() })
}

/// A file of the artifact, else one of the system.
fn named(directory: &Path, program: &str) -> PathBuf {
    let inside = directory.join(program);
    if inside.is_file() || program.contains('/') {
        return inside;
    }
    SEARCHED.iter().map(|s| Path::new(s).join(program)).find(|p| p.is_file()).unwrap_or(inside)
}

/// `./file` is a file of the artifact; the plugin itself runs in another directory.
fn argument(directory: &Path, argument: &str) -> String {
    match argument.strip_prefix("./") {
        Some(file) => directory.join(file).display().to_string(),
        None => argument.to_owned(),
    }
}

fn executable(program: &Path) -> Result<(), ArtifactError> {
    let metadata = program.metadata().map_err(|_| ArtifactError::ProgramNotFound(program.to_owned()))?;
    let mode = metadata.permissions().mode() & 0o7777;
    match metadata.is_file() && mode & 0o111 != 0 {
        true => Ok(()),
        false => Err(ArtifactError::NotExecutable { path: program.to_owned(), mode }),
    }
}
