//! Plugin: one plugin of a host, what it may do and how it is treated. Types only.

pub mod status;

use crate::{
    duration::GoDuration,
    manifest,
    policy::{CrashBudget, ErrorThreshold, Reload},
    schema,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use rockstar_core::assignment::FailurePolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub use status::PluginStatus;

/// The host of a Plugin that names none.
pub const DEFAULT_HOST: &str = "default";

/// What one plugin is, where its files are, what it is given and how it is treated.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "plugins.rockstar-framework.dev",
    version = "v1alpha1",
    kind = "Plugin",
    namespaced,
    cel,
    status = "PluginStatus",
    derive = "PartialEq",
    shortname = "plg",
    category = "rockstar",
    doc = "A plugin of the applications that a PluginHost selects.",
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host", priority = "1"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Available")].status"#,
        priority = "1"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PluginSpec {
    /// The PluginHost in this namespace.
    #[serde(default = "default_host")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = (
        "self == oldSelf",
        "cannot change: it is part of the plugin's identity; make another Plugin and delete this one",
    ))]
    pub host: String,
    /// false: the plugin is unloaded everywhere.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// Load order among plugins that do not depend on each other: higher first.
    #[serde(default = "default_priority")]
    pub priority: i32,
    /// The plugin's manifest, field for field as in its plugin.yaml.
    #[schemars(schema_with = "manifest::schema")]
    pub manifest: Value,
    /// Where the plugin's files come from.
    pub source: Source,
    /// Values for the keys of the manifest's config.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "schema::free_object")]
    pub config: Map<String, Value>,
    /// Values from Secrets and ConfigMaps; they win over those in config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<ConfigFrom>>", length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub config_from: Vec<ConfigFrom>,
    /// What the plugin is granted; each must be declared in its manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::permissions")]
    pub permissions: BTreeMap<String, bool>,
    /// Environment of the plugin's process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, String>>", extend("maxProperties" = 128))]
    pub env: BTreeMap<String, String>,
    /// What a request gets while the plugin cannot answer. Closed: 503. Open: it goes on without the plugin. Closed by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::failure_policy")]
    pub failure_policy: Option<FailurePolicy>,
    /// How long one hook may take. 5s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_timeout: Option<GoDuration>,
    /// How long the plugin may take to stop. 10s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<GoDuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
    /// Left out: that of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<ErrorThreshold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash_budget: Option<CrashBudget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

fn default_host() -> String {
    DEFAULT_HOST.into()
}

const fn default_enabled() -> bool {
    true
}

const fn default_priority() -> i32 {
    100
}

/// Where the plugin's files come from: exactly one of oci, http and path.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = (
    "[has(self.oci), has(self.http), has(self.path)].filter(given, given).size() == 1",
    "exactly one of oci, http and path must be given",
))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// An OCI artifact or image in a registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
    /// A tar.gz, or a single file, on a web server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// A directory or executable in the sidecar's image, or in a volume mounted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub path: Option<String>,
}

/// An OCI artifact or image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// registry/repository, with a tag if you like; the digest decides.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = ("!self.contains('@')", "must have no digest: put it into the field digest"))]
    pub image: String,
    /// The digest that `rockstar push` prints.
    #[schemars(length(max = 128))]
    #[x_kube(validation = ("self.matches('^sha256:[0-9a-f]{64}$')", "must be sha256: and 64 hexadecimal digits, as `rockstar push` prints it"))]
    pub digest: String,
    /// A Secret of type kubernetes.io/dockerconfigjson in this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pull_secret: Option<String>,
}

/// A file on a web server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSource {
    /// Where the file is.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = ("self.startsWith('https://') || self.startsWith('http://')", "must begin with https:// or http://"))]
    pub url: String,
    /// The file's SHA-256.
    #[schemars(length(max = 128))]
    #[x_kube(validation = ("self.matches('^[0-9a-f]{64}$')", "must be 64 hexadecimal digits, as sha256sum prints them"))]
    pub sha256: String,
}

/// A value from elsewhere: exactly one of secretKeyRef and configMapKeyRef.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = (
    "has(self.secretKeyRef) != has(self.configMapKeyRef)",
    "exactly one of secretKeyRef and configMapKeyRef must be given",
))]
#[serde(rename_all = "camelCase")]
pub struct ConfigFrom {
    /// The key of the configuration that gets the value.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or ConfigMap in this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyRef {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What the plugin's process may use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// A process with more resident memory is ended and started anew. 100Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub memory: Option<IntOrString>,
}
