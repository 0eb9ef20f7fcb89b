//! What one plugin may take of its sidecar: the fields of `spec.limits` of a PluginHost. Types only.

use crate::{duration::GoDuration, schema};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What one plugin may take of its sidecar. Whoever meets a bound hears an error that names its field.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::limits)]
pub struct Limits {
    /// Hooks, middleware, routes, subscriptions and services. 1024 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>")]
    pub registrations: Option<u32>,
    /// Their names and patterns together. 256Ki by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub registration_bytes: Option<IntOrString>,
    /// One event, with its name. 250Ki by default. The application's are not bounded by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub event_bytes: Option<IntOrString>,
    /// Events that wait for all subscribers of the sidecar together, in its memory. 16Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub queued_event_bytes: Option<IntOrString>,
    /// What one plugin keeps in the embedded cache, in the sidecar's memory. 8Mi by default, at most totalCache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub cache: Option<IntOrString>,
    /// What all plugins keep there together. 24Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub total_cache: Option<IntOrString>,
    /// Keys and values in the embedded storage. 64Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub storage: Option<IntOrString>,
    /// The embedded database, which all plugins share. 256Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub database: Option<IntOrString>,
    /// The directory data/ of a plugin's process: with more it is ended. 256Mi by default. Lowered, for processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub data: Option<IntOrString>,
    /// The directory tmp/ of a plugin's process: with more it is ended. 64Mi by default. Lowered, for processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub tmp: Option<IntOrString>,
    /// A plugin's files, packed and unpacked. 512Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub artifact: Option<IntOrString>,
    /// Threads of all processes of a plugin: with more they are ended. 256 by default. Lowered, for processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>")]
    pub threads: Option<u32>,
    /// Open files of a process, and of all processes of a plugin. 1024 by default. For processes that start later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>")]
    pub descriptors: Option<u32>,
    /// Lines that a plugin adds to the log each second. 1000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>")]
    pub log_lines: Option<u32>,
    /// Their bytes. 1Mi by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any")]
    pub log_bytes: Option<IntOrString>,
    /// The longest that a transaction may be open, and a statement on the embedded database may run. 30s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<GoDuration>,
    /// Names that no limit has. They are kept, so that they can be refused and not only be lost.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Map<String, Value>,
}
