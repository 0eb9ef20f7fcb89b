//! What one plugin may take of its sidecar: the fields of `spec.limits` of a PluginHost. Types only.

use crate::{duration::GoDuration, schema};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What one plugin may take of its sidecar. Whoever meets a bound hears an error that names its field.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Hooks, middleware, routes, subscriptions and services. 1024 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 8192))]
    pub registrations: Option<u32>,
    /// Their names and patterns together. 256Ki by default, at most 1Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub registration_bytes: Option<IntOrString>,
    /// One event, with its name. 250Ki by default and at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub event_bytes: Option<IntOrString>,
    /// Events that wait for all subscribers of the sidecar together, in its memory. 16Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub queued_event_bytes: Option<IntOrString>,
    /// What one plugin keeps in the embedded cache, in the sidecar's memory. 8Mi by default, at most totalCache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub cache: Option<IntOrString>,
    /// What all plugins keep there together. 24Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub total_cache: Option<IntOrString>,
    /// Keys and values in the embedded storage. 64Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub storage: Option<IntOrString>,
    /// The embedded database, which all plugins share. 256Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub database: Option<IntOrString>,
    /// The directory data/ of a plugin's process: with more it is ended. 256Mi by default. For processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub data: Option<IntOrString>,
    /// The directory tmp/ of a plugin's process: with more it is ended. 64Mi by default. For processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub tmp: Option<IntOrString>,
    /// A plugin's files, packed and unpacked. 512Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub artifact: Option<IntOrString>,
    /// Threads of all processes of a plugin: with more they are ended. 256 by default. For processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 8, max = 32768))]
    pub threads: Option<u32>,
    /// Open files of a process, and of all processes of a plugin. 1024 by default. For processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 64, max = 1_048_576))]
    pub descriptors: Option<u32>,
    /// Lines that a plugin adds to the log each second. 1000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 10, max = 100_000))]
    pub log_lines: Option<u32>,
    /// Their bytes. 1Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::memory")]
    pub log_bytes: Option<IntOrString>,
    /// The longest that a transaction may be open, and a statement on the embedded database may run. 30s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<GoDuration>,
}
