//! What the operator says of a Plugin. Types only.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// At most so many failures are shown.
pub const MAX_FAILURES: usize = 5;

/// What runs, where, and what is wrong with it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = schema::not_observed()))]
pub struct PluginStatus {
    /// The metadata.generation that this status is about; -1 before the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The version that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The revision that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The revision that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<PluginInstances>,
    /// The latest failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<Failure>>", length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub failures: Vec<Failure>,
    /// Lists what holds, one entry a type; Ready sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// The state of the plugin over all instances.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Unloaded,
    Loading,
    Initialized,
    Running,
    Stopped,
    Error,
    Terminating,
}

/// In how many instances the plugin is what.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInstances {
    /// Those of the host.
    #[serde(default)]
    pub desired: i32,
    /// Those that run the revision that the spec asks for.
    #[serde(default)]
    pub updated: i32,
    /// Those that run it proven.
    #[serde(default)]
    pub ready: i32,
    /// Those in which it fails.
    #[serde(default)]
    pub failed: i32,
}

/// One failure in one pod.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The pod that it happened in.
    pub pod: String,
    /// The revision that failed.
    pub revision: String,
    pub class: FailureClass,
    /// Why, as one CamelCase word for programs.
    pub reason: String,
    /// Why, for people.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When, by the pod's clock.
    #[schemars(schema_with = "schema::time")]
    pub at: Time,
}

/// Environment: the instance waits and retries. Revision: the revision is at fault.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    Environment,
    Revision,
}
