//! What a Plugin is looked at together with. Plain data.

use rockstar_core::manifest::{self, Dependency};
use rockstar_crds::Plugin;

/// Another Plugin of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The object's name.
    pub object: String,
    pub host: String,
    /// The manifest's name.
    pub plugin: String,
    pub dependencies: Vec<Dependency>,
}

/// A reference that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Such as `spec.configFrom[jwt_secret]`.
    pub field: String,
    /// Such as `Secret auth`.
    pub object: String,
}

/// What was found; what could not be asked for is not complained about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Whether the PluginHost is there; none = unknown.
    pub host: Option<bool>,
    /// None = unknown.
    pub neighbours: Option<Vec<Neighbour>>,
    pub missing: Vec<Missing>,
}

impl Neighbour {
    /// None if its manifest cannot be read.
    #[must_use]
    pub fn of(plugin: &Plugin) -> Option<Self> {
        let manifest = manifest::from_value(&plugin.spec.manifest).ok()?.manifest;
        Some(Self {
            object: plugin.metadata.name.clone()?,
            host: plugin.spec.host.clone(),
            plugin: manifest.name,
            dependencies: manifest.dependencies,
        })
    }

    pub(super) fn requires(&self, plugin: &str) -> bool {
        self.dependencies.iter().any(|dependency| dependency.name == plugin && !dependency.optional)
    }
}
