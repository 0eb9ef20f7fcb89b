//! Why an artifact is not here, and whose fault that is. Pure.

use super::Artifact;
use crate::failure::{Class, Failure, Step};
use rockstar_core::{manifest::LoadError, revision::Source};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("plugin file not found: {0}")]
    NotFound(String),
    #[error("failed to read {path}: {cause}")]
    Unreadable { path: String, cause: io::Error },
    #[error("no manifest: the plugin has neither plugin.yaml nor plugin.json")]
    NoManifest,
    #[error(transparent)]
    Manifest(#[from] LoadError),
    #[error("no program: the plugin has no executable named '{name}', and no command is given")]
    NoProgram { name: String },
    #[error("program not found: {0}")]
    ProgramNotFound(PathBuf),
    #[error("program is not executable: {path} has mode {mode:04o}")]
    NotExecutable { path: PathBuf, mode: u32 },
    #[error("failed to download {from}: {cause}")]
    Unavailable { from: String, cause: String },
    #[error("failed to download {from}: not done within {} s", limit.as_secs())]
    Slow { from: String, limit: Duration },
    #[error("failed to download {from}: access denied ({cause}); check the credentials")]
    Denied { from: String, cause: String },
    #[error("the pull secret cannot be used for {registry}: {problem}")]
    Secret { registry: String, problem: &'static str },
    #[error("{image} has no image for this machine ({}/{})", std::env::consts::OS, std::env::consts::ARCH)]
    Platform { image: String },
    /// What was found is not named: it may be a page that only this machine can see.
    #[error("digest mismatch: {what} is not {expected}")]
    Digest { what: String, expected: String },
    #[error("{what} is no plugin: {problem}")]
    Unusable { what: String, problem: String },
    #[error("{what} is too large: at most {limit} are allowed")]
    TooLarge { what: String, limit: String },
    #[error("failed to unpack {what}: {cause}")]
    Archive { what: String, cause: io::Error },
    #[error("failed to unpack {what}: {} {problem}", path.display())]
    Entry { what: String, path: PathBuf, problem: &'static str },
    #[error("failed to store the plugin's files: {0}")]
    Store(#[source] io::Error),
}

impl ArtifactError {
    /// The same of the files where they were taken from, which is where they can be put right.
    #[must_use]
    pub fn as_given(self, artifact: &Artifact, source: &Source) -> Self {
        let Source::Path { path: given } = source else { return self };
        let root = if artifact.program.is_some() { Path::new(given).parent() } else { Some(Path::new(given)) };
        let place = |path: PathBuf| match (root, path.strip_prefix(&artifact.directory)) {
            (Some(root), Ok(inside)) => root.join(inside),
            _ => path,
        };
        match self {
            Self::NotExecutable { path, mode } => Self::NotExecutable { path: place(path), mode },
            Self::ProgramNotFound(path) => Self::ProgramNotFound(place(path)),
            other => other,
        }
    }

    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Store(_)
            | Self::Unavailable { .. }
            | Self::Slow { .. }
            | Self::Denied { .. }
            | Self::Secret { .. }
            | Self::Platform { .. } => Class::Environment,
            _ => Class::Revision,
        }
    }

    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "ArtifactNotFound",
            Self::Unreadable { .. } => "ArtifactUnreadable",
            Self::NoManifest | Self::Manifest(_) => "ManifestInvalid",
            Self::NoProgram { .. } | Self::ProgramNotFound(_) => "ProgramNotFound",
            Self::NotExecutable { .. } => "NotExecutable",
            Self::Unavailable { .. } | Self::Slow { .. } => "ArtifactUnavailable",
            Self::Denied { .. } => "ArtifactAccessDenied",
            Self::Secret { .. } => "PullSecretInvalid",
            Self::Platform { .. } => "PlatformUnsupported",
            Self::Digest { .. } => "DigestMismatch",
            Self::Unusable { .. } | Self::TooLarge { .. } | Self::Archive { .. } | Self::Entry { .. } => {
                "ArtifactInvalid"
            }
            Self::Store(_) => "StorageUnavailable",
        }
    }
}

impl From<ArtifactError> for Failure {
    fn from(error: ArtifactError) -> Self {
        Self { class: error.class(), step: Step::Load, reason: error.reason(), message: error.to_string() }
    }
}
