//! PluginHost: a group of pods that share a set of plugins, and how changes reach them. Types only.

pub mod limits;
pub mod status;

use crate::{
    duration::GoDuration,
    plugin::KeyRef,
    policy::{ContainerResources, ErrorThreshold},
    schema,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use limits::Limits;
pub use status::PluginHostStatus;

/// A group of pods that share a set of plugins.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "plugins.rockstar-framework.dev",
    version = "v1alpha1",
    kind = "PluginHost",
    namespaced,
    cel,
    status = "PluginHostStatus",
    derive = "PartialEq",
    shortname = "plh",
    category = "rockstar",
    doc = "The pods labelled plugins.rockstar-framework.dev/host with its name, and the plugins that they share.",
    validation = ("size(self.metadata.name) <= 63", "metadata.name must have at most 63 characters: pods carry it as a label"),
    printcolumn(name = "Framework", type_ = "string", json_path = ".spec.framework.version"),
    printcolumn(name = "Instances", type_ = "integer", json_path = ".status.instances.desired"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.instances.updated"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PluginHostSpec {
    pub framework: FrameworkVersion,
    /// false: no plugin runs.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// No plugin of this host may be granted more. Left out: all that its Plugins grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::permission_names")]
    pub permission_ceiling: Option<Vec<String>>,
    /// The services that plugins use; what is left out is embedded in the sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Backends>,
    /// For plugins that have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<ErrorThreshold>,
    /// Required: a plugin does not run where the kernel cannot confine it. BestEffort: it does, and the status says so.
    /// Required by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What one plugin may take of its sidecar; what is left out has its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    #[serde(default)]
    pub rollout: Rollout,
}

const fn default_enabled() -> bool {
    true
}

impl PluginHostSpec {
    /// With defaults for all but the framework's version.
    pub fn of(framework: impl Into<String>) -> Self {
        Self {
            framework: FrameworkVersion { version: framework.into() },
            enabled: default_enabled(),
            permission_ceiling: None,
            backends: None,
            error_threshold: None,
            sandbox: None,
            limits: None,
            sidecar: None,
            rollout: Rollout::default(),
        }
    }
}

/// The framework that the application is built with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkVersion {
    /// The version that manifests' framework.version is checked against, X.Y.Z.
    #[schemars(length(max = 128))]
    #[x_kube(validation = (
        r"self.matches('^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?([+][0-9A-Za-z.-]+)?$')",
        "invalid version format: must be semantic version (X.Y.Z)",
    ))]
    pub version: String,
}

/// How much confinement is asked for.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sandbox {
    #[default]
    Required,
    BestEffort,
}

/// The services that plugins use.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Backend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Backend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Backend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsBackend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigBackend>,
}

/// An engine, by its address.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    pub url_from: UrlFrom,
}

/// What carries events between plugins, and what goes where they come too fast.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = ("has(self.urlFrom) || has(self.overflow)", "urlFrom or overflow must be given"))]
#[serde(rename_all = "camelCase")]
pub struct EventsBackend {
    /// Left out: plugins of one pod hear each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_from: Option<UrlFrom>,
    /// What is dropped where a subscriber, or the engine, does not keep up. DropNewest by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<EventOverflow>,
}

/// Which event goes when a queue of events is full.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventOverflow {
    #[default]
    DropNewest,
    DropOldest,
}

/// Where an address with its credentials is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlFrom {
    pub secret_key_ref: KeyRef,
}

/// The framework's configuration.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigBackend {
    pub config_map_ref: ObjectRef,
}

/// An object in this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The container that is put into each pod.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Left out: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ContainerResources>,
}

/// How a change reaches the pods.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// So many instances may be down or unproven at a time, after the first one was proven. 25% by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub max_unavailable: Option<IntOrString>,
    /// So many instances keep what they have. 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub partition: Option<IntOrString>,
    /// true: no instance moves to something new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// A revision that fails in so many instances is given up. 2 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub failure_threshold: Option<u32>,
    /// With no instance proven for so long, the rollout counts as stalled. 10m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<GoDuration>,
    /// RollBack: instances return to what ran before. Halt: the rollout stops and waits. RollBack by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// What happens when a revision is given up.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    #[default]
    RollBack,
    Halt,
}
