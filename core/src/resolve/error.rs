//! Why plugins do not fit together, in the reference's words, and what to do about it. Pure.

use semver::Version;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ResolveError {
    #[error("framework version mismatch: plugin requires {constraint}, found {found}")]
    Framework { plugin: String, constraint: String, found: Version },
    #[error("missing dependency: plugin '{plugin}' requires '{dependency}' version '{constraint}'")]
    Missing { plugin: String, dependency: String, constraint: String },
    #[error("version mismatch: plugin '{plugin}' requires '{dependency}' {constraint}, found {found}")]
    Mismatch { plugin: String, dependency: String, constraint: String, found: Version },
    /// Closed: the first member stands again at the end.
    #[error("circular dependency detected: {}", path.join(" -> "))]
    Circular { path: Vec<String> },
}

impl ResolveError {
    /// What the operator of these plugins can do.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Framework { plugin, found, .. } => {
                format!("use a version of '{plugin}' for framework {found}, or change the framework's version")
            }
            Self::Missing { plugin, dependency, constraint } => format!(
                "install '{dependency}' in a version that satisfies {constraint}, or make the dependency of '{plugin}' optional"
            ),
            Self::Mismatch { plugin, dependency, constraint, found } => format!(
                "use a version of '{dependency}' that satisfies {constraint}, or a version of '{plugin}' that accepts {found}"
            ),
            Self::Circular { .. } => {
                "remove one of these dependencies, or move what they share into a plugin of its own".to_owned()
            }
        }
    }
}
