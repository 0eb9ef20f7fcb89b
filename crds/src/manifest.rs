//! The schema of a manifest inside a Plugin. Its meaning is read by `rockstar_core::manifest`, from a cluster as from a
//! file, so that texts and hints are the same everywhere. Pure.

use crate::schema;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    Manifest::json_schema(generator)
}

const NAME: &str =
    "must be a DNS name: lower case letters, digits, '-' and '.', beginning and ending with a letter or digit";

/// The plugin's manifest, field for field as in its plugin.yaml.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
#[x_kube(
    validation = ("has(self.name) && self.name != ''", "missing required field: name"),
    validation = ("has(self.version) && self.version != ''", "missing required field: version"),
    validation = ("has(self.description) && self.description != ''", "missing required field: description"),
    validation = ("has(self.author) && self.author != ''", "missing required field: author"),
)]
pub struct Manifest {
    /// The plugin's name, one of a kind in its host.
    #[schemars(length(max = 242))]
    #[x_kube(
        validation = (r"self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')", NAME),
        validation = ("self == oldSelf", "cannot change: it is the plugin's identity; make another Plugin and delete this one"),
    )]
    pub name: Option<String>,
    /// A semantic version.
    #[schemars(length(max = 128))]
    #[x_kube(validation = (
        r"self == '' || self.matches('^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)([.](0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?([+][0-9a-zA-Z-]+([.][0-9a-zA-Z-]+)*)?$')",
        "invalid version format: must be semantic version (X.Y.Z)",
    ))]
    pub version: Option<String>,
    /// What the plugin does.
    #[schemars(length(max = 16_384))]
    pub description: Option<String>,
    /// Who made it.
    #[schemars(length(max = 1024))]
    pub author: Option<String>,
    /// Which versions of the framework it works with.
    pub framework: Option<Framework>,
    /// The plugins that it needs.
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub dependencies: Option<Vec<Dependency>>,
    /// What it may be granted.
    #[serde(default)]
    #[schemars(schema_with = "schema::permissions")]
    pub permissions: Option<BTreeMap<String, bool>>,
    /// The schema of its configuration.
    #[schemars(extend("maxProperties" = 256))]
    pub config: Option<BTreeMap<String, ConfigKey>>,
    /// The hooks that it registers.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub hooks: Option<Vec<Hook>>,
    /// The events that it sends and receives.
    pub events: Option<Events>,
    /// The services that it offers to other plugins.
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub exports: Option<Vec<Export>>,
    /// The program and its arguments, in the artifact. The executable named as the plugin by default.
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Option<Vec<String>>,
}

/// The framework's version.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct Framework {
    /// A constraint like ">=1.0.0,<2.0.0".
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
}

/// A plugin that is needed.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct Dependency {
    /// The name in its manifest.
    #[schemars(length(min = 1, max = 242))]
    pub name: String,
    /// A constraint like ">=2.0.0".
    #[schemars(length(max = 256))]
    pub version: String,
    /// true: it may be missing, but not of another version.
    pub optional: Option<bool>,
}

/// One key of the configuration.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct ConfigKey {
    /// string, integer, float, boolean, duration, array or object.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = (
        "self in ['string', 'integer', 'float', 'boolean', 'duration', 'array', 'object']",
        "invalid config schema: type must be one of [string, integer, float, boolean, duration, array, object]",
    ))]
    pub kind: String,
    /// true: the plugin is not started without a value. false by default.
    pub required: Option<bool>,
    /// The value where spec.config gives none.
    #[serde(default)]
    #[schemars(schema_with = "schema::any")]
    pub default: Option<Value>,
    /// Says what the key is for.
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
}

/// A hook.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct Hook {
    /// startup, shutdown, pre_request, post_request, pre_response, post_response or error.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule {
        rule: "self in ['startup', 'shutdown', 'pre_request', 'post_request', 'pre_response', 'post_response', 'error']".into(),
        message: Some(Message::Expression(r"'unknown hook type: \'' + self + '\''".into())),
        ..Rule::default()
    })]
    pub kind: String,
    /// Higher is earlier. 100 by default.
    pub priority: Option<i32>,
}

/// Events by name.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    /// Names of the events that the plugin publishes.
    #[schemars(length(max = 256), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub publishes: Option<Vec<String>>,
    /// Names of the events that it subscribes to.
    #[schemars(length(max = 256), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub subscribes: Option<Vec<String>>,
}

/// A service.
#[derive(KubeSchema, Clone, Debug, Serialize, Deserialize)]
pub struct Export {
    /// The name that others import it by.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Says what the service does.
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
}
