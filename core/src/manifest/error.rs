//! What can be wrong with a manifest, in the reference's words. Pure.

use crate::{
    config::ConfigError,
    document::{DocumentError, Place},
    manifest::UnknownHookType,
    permission::PermissionError,
};

/// One fault of a manifest, with the field it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ManifestError {
    pub fault: Box<ManifestFault>,
    /// Such as `dependencies[0].version`; empty for the whole text.
    pub field: String,
    pub place: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    #[error(transparent)]
    Document(DocumentError),
    #[error("missing required field: {field}{}", .typo.as_ref().map(|t| format!(": {t}")).unwrap_or_default())]
    MissingField { field: String, typo: Option<String> },
    #[error(
        "invalid plugin name: '{0}' must be 1 to 253 letters, digits, '-', '_' or '.', \
         with a letter or digit at both ends"
    )]
    InvalidName(String),
    #[error("invalid version format: must be semantic version (X.Y.Z)")]
    InvalidVersion,
    #[error("invalid dependency version constraint: {0}")]
    InvalidConstraint(String),
    #[error("invalid framework version constraint: {0}")]
    InvalidFrameworkConstraint(String),
    #[error(transparent)]
    Permission(PermissionError),
    #[error("invalid config schema: type must be one of [string, integer, float, boolean, duration, array, object]")]
    InvalidConfigType,
    #[error(transparent)]
    ConfigSchema(ConfigError),
    #[error(transparent)]
    HookType(UnknownHookType),
}

/// A manifest that keeps its plugin from being loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse manifest: {0}")]
pub struct LoadError(pub ManifestError);

impl From<DocumentError> for ManifestError {
    fn from(error: DocumentError) -> Self {
        let field = match &error {
            DocumentError::WrongType { field, .. } => field.clone(),
            DocumentError::Syntax { .. } => String::new(),
        };
        Self { place: error.place(), field, fault: Box::new(ManifestFault::Document(error)) }
    }
}
