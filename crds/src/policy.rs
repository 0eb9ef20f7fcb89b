//! Policies that apply to a running plugin without a reload, as they are written in resources. Types only.

use crate::{duration::GoDuration, schema};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use rockstar_core::assignment::{QueueStrategy, ThresholdAction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a new version takes over.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// A new version that crashes within this time goes back to the previous one. 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<GoDuration>,
    /// How long middleware that waits for its handler, and bodies in transit, are awaited. 5s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<GoDuration>,
    /// How calls into the plugin wait meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
}

/// How calls wait while their plugin is replaced.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// block: calls wait, until the timeout. reject: 503 at once. block by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::queue_strategy")]
    pub strategy: Option<QueueStrategy>,
    /// After this time a waiting call gets 503. 30s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// With so many calls waiting, the next one gets 503 at once. 1000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 100_000))]
    pub max_size: Option<u32>,
}

/// What happens when a plugin makes too many errors. Left out: nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorThreshold {
    /// false: nothing happens, whatever the host says. true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// So many errors within the window. 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub max_errors: Option<u32>,
    /// 5m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window: Option<GoDuration>,
    /// disable the plugin in that pod, log a warning, or raise an alert. disable by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::threshold_action")]
    pub action: Option<ThresholdAction>,
    /// A call without an error begins the count anew. true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_on_success: Option<bool>,
    /// Where the action alert posts besides its metric and event, in the form of Alertmanager's /api/v2/alerts. A Plugin
    /// without one has that of its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = ("self.startsWith('https://') || self.startsWith('http://')", "must begin with https:// or http://"))]
    pub webhook: Option<String>,
}

/// How often a plugin that crashes is started again at once.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashBudget {
    /// With more crashes within the window the plugin is down in that pod, and started once after 1, 2, 4 … 30 minutes. 5 by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 0, max = 1000))]
    pub max_crashes: Option<u32>,
    /// 5m by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<GoDuration>,
}

/// What a container asks for and may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResources {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, IntOrString>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, IntOrString>,
}
