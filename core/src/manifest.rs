//! The plugin's manifest, field for field as in the reference, and how it is read. Pure.

mod decode;
mod error;

pub use crate::document::{Format, Place};
pub use error::{LoadError, ManifestError, ManifestFault};

use crate::{
    constraint::{Constraint, ConstraintError},
    document::{self, Cursor, Node},
    permission::{self, Permissions},
};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, str::FromStr};

/// A checked manifest. Its JSON form is the reference's `plugin.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub name: String,
    pub version: semver::Version,
    pub description: String,
    pub author: String,
    /// The constraint on the framework's version, as written.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "framework")]
    pub framework: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    #[serde(default, skip_serializing_if = "Permissions::is_empty", with = "permission::switches")]
    pub permissions: Permissions,
    /// The schema of the configuration.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub config: IndexMap<String, ConfigKey>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookDeclaration>,
    #[serde(default, skip_serializing_if = "Events::is_empty")]
    pub events: Events,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    /// The program and its arguments; empty = the executable named as the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// The constraint, as written.
    pub version: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigKey {
    #[serde(rename = "type")]
    pub kind: ConfigType,
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigType {
    String,
    Integer,
    Float,
    Boolean,
    Duration,
    Array,
    Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookType {
    Startup,
    Shutdown,
    PreRequest,
    PostRequest,
    PreResponse,
    PostResponse,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookDeclaration {
    #[serde(rename = "type")]
    pub kind: HookType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A manifest with what its author should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub manifest: Manifest,
    pub warnings: Vec<String>,
}

/// Reads a manifest's text.
pub fn parse(text: &str, format: Format) -> Result<Parsed, ManifestError> {
    from_node(&document::parse(text, format)?)
}

/// `parse` for a plugin that is being loaded: the error reads as the reference's.
pub fn load(text: &str, format: Format) -> Result<Parsed, LoadError> {
    parse(text, format).map_err(LoadError)
}

/// Reads a manifest that came as a value, such as a resource's `spec.manifest`.
pub fn from_value(value: &Value) -> Result<Parsed, ManifestError> {
    from_node(&value.into())
}

/// Reads a configuration schema that came as a value, such as what a plugin's ConfigSchema answers.
pub fn config_schema(value: &Value) -> Result<IndexMap<String, ConfigKey>, ManifestError> {
    decode::config(&Cursor::root(&value.into()), &mut Vec::new())
}

fn from_node(node: &Node) -> Result<Parsed, ManifestError> {
    let mut warnings = Vec::new();
    let manifest = decode::manifest(&Cursor::root(node), &mut warnings)?;
    Ok(Parsed { manifest, warnings })
}

impl Manifest {
    /// The constraint on the framework's version.
    pub fn framework_constraint(&self) -> Result<Option<Constraint>, ConstraintError> {
        self.framework.as_deref().map(Constraint::parse).transpose()
    }
}

impl Dependency {
    /// The constraint on its version.
    pub fn constraint(&self) -> Result<Constraint, ConstraintError> {
        Constraint::parse(&self.version)
    }
}

impl Events {
    /// Whether nothing is declared.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.subscribes.is_empty()
    }
}

impl ConfigType {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 7] =
        [Self::String, Self::Integer, Self::Float, Self::Boolean, Self::Duration, Self::Array, Self::Object];

    /// The name in schemas and texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl fmt::Display for ConfigType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of the seven hook types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown hook type: '{0}'")]
pub struct UnknownHookType(pub String);

impl HookType {
    /// All of them, in the order of the reference.
    pub const ALL: [Self; 7] = [
        Self::Startup,
        Self::Shutdown,
        Self::PreRequest,
        Self::PostRequest,
        Self::PreResponse,
        Self::PostResponse,
        Self::Error,
    ];

    /// The name in manifests, labels and texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Shutdown => "shutdown",
            Self::PreRequest => "pre_request",
            Self::PostRequest => "post_request",
            Self::PreResponse => "pre_response",
            Self::PostResponse => "post_response",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for HookType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HookType {
    type Err = UnknownHookType;

    fn from_str(name: &str) -> Result<Self, UnknownHookType> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownHookType(name.to_owned()))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// As the reference writes it: `{version: ">=1.0.0"}`.
mod framework {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Framework {
        version: String,
    }

    pub(super) fn serialize<S: Serializer>(constraint: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
        constraint.clone().map(|version| Framework { version }).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
        Ok(Option::<Framework>::deserialize(d)?.map(|framework| framework.version))
    }
}

#[cfg(test)]
pub(crate) mod tests;
