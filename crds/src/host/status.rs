//! What the operator says of a PluginHost, and what it must remember of a rollout. Types only.

use crate::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use rockstar_core::rollout::State;
use serde::{Deserialize, Serialize};

/// What the instances run, and how far the rollout is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = schema::not_observed()))]
pub struct PluginHostStatus {
    /// The metadata.generation that this status is about; -1 before the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<HostInstances>,
    /// The plugins in the order in which they load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>", length(max = 256), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub load_order: Vec<String>,
    /// What must outlive the operator's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::rollout")]
    pub rollout: Option<State>,
    /// Lists what holds, one entry a type; Ready sums up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// How many instances are what.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInstances {
    /// Pods with the host's label and a sidecar.
    #[serde(default)]
    pub desired: i32,
    /// Those whose sidecar is connected.
    #[serde(default)]
    pub connected: i32,
    /// Those that run the target.
    #[serde(default)]
    pub updated: i32,
    /// Those that run it proven.
    #[serde(default)]
    pub ready: i32,
    /// Counts those in which a plugin fails.
    #[serde(default)]
    pub failed: i32,
}
