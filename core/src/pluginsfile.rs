//! The configuration file of a sidecar without Kubernetes: `plugins.yaml`, `.json` or `.toml`, which mean the same.
//! Pure: reading the file is the sidecar's.

mod decode;
mod error;

pub use crate::document::Format;
pub use error::{FileError, FileFault};

use crate::{
    assignment::{ErrorThreshold, Policies},
    backends::Backends,
    document::{self, Cursor},
    limits::Limits,
    permission::Permissions,
    revision::Resources,
    sandbox::Sandbox,
};
use semver::Version;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where plugins are looked for unless the file says otherwise.
pub const DIRECTORY: &str = "./plugins";

#[derive(Clone, Debug, PartialEq)]
pub struct PluginsFile {
    /// Whether the plugin system is on.
    pub enabled: bool,
    pub directory: String,
    /// In the order of the file.
    pub plugins: Vec<Entry>,
    /// For plugins that have none of their own; already in their policies.
    pub error_threshold: Option<ErrorThreshold>,
    pub framework: Option<Version>,
    pub backends: Backends,
    pub sandbox: Sandbox,
    /// Bounds what one plugin may take of the sidecar.
    pub limits: Limits,
}

/// One plugin of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: String,
    pub enabled: bool,
    /// The plugin's directory or binary as given; `{directory}/{name}` where it was left out.
    pub path: String,
    /// As given, without the schema's defaults.
    pub config: Map<String, Value>,
    pub permissions: Permissions,
    /// The program and its arguments; empty = as the manifest says.
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub resources: Resources,
    pub policies: Policies,
}

/// A file with what its author should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub file: PluginsFile,
    pub warnings: Vec<String>,
}

/// Reads a file's text.
pub fn parse(text: &str, format: Format) -> Result<Parsed, FileError> {
    let node = document::parse(text, format)?;
    let mut warnings = Vec::new();
    let file = decode::file(&Cursor::root(&node), &mut warnings)?;
    Ok(Parsed { file, warnings })
}

#[cfg(test)]
mod tests;
