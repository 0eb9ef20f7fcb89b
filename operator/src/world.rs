//! The world that the driver sees and writes to: Kubernetes, or a directory with its state in memory.
//! Here are the traits and the plain data; the I/O is in the implementations.

pub mod directory;
pub mod kubernetes;

use crate::{control::identity::Membership, host::HostKey};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};
use rockstar_core::{
    revision::{Body, RevisionId},
    rollout::State,
};
use rockstar_crds::{
    Plugin, PluginHost, PluginHostStatus, PluginStatus,
    plugin::{ConfigFrom, KeyRef},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// What memory holds of one host: consistent enough to decide on, never the base of a write.
#[derive(Clone, Debug)]
pub struct View {
    /// None: there is no such object, but something that belongs to it; or no version of it could be decoded.
    pub host: Option<Arc<PluginHost>>,
    /// Why the object that is there now cannot be decoded; `host` is then the last version that could be, if any.
    pub host_error: Option<String>,
    /// Those whose `spec.host` is this one, by object name.
    pub plugins: Vec<Arc<Plugin>>,
    pub pods: Vec<Pod>,
    /// Of these plugins, oldest first.
    pub revisions: Vec<Arc<Revision>>,
    /// Plugins that are listed but cannot be decoded. Those whose host cannot be seen are in the views of all hosts.
    pub unreadable: Vec<Unreadable>,
}

/// An object that this version cannot decode.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// The object's name.
    pub name: String,
    pub uid: String,
    pub generation: Option<i64>,
    /// The plugin's name in its manifest, if it can be seen.
    pub plugin: Option<String>,
    pub host: Option<String>,
    /// As it was written last, where that can be decoded.
    pub status: Option<PluginStatus>,
    pub error: String,
}

/// A pod of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub phase: PodPhase,
    /// Marked for deletion.
    pub terminating: bool,
    /// Whether the sidecar was injected.
    pub injected: bool,
    pub created: Timestamp,
    /// The API's Ready condition.
    pub ready: bool,
    /// It ends by itself, as a Job's: its restart policy is not Always.
    pub transient: bool,
    /// The sidecar's container has started.
    pub started: bool,
    /// What the sidecar's container left when it ended.
    pub termination: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// A stored revision: what runs, and the configuration that it was made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub id: RevisionId,
    /// The plugin's name in its manifest.
    pub plugin: String,
    /// Grows with each revision of the plugin.
    pub number: i64,
    pub content: Content,
}

/// The immutable part of a revision. Secrets are references here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    pub body: Body,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_from: Vec<ConfigFrom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
}

/// A value that lives elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueRef {
    Secret(KeyRef),
    ConfigMap(KeyRef),
    /// All entries of a ConfigMap, as a JSON object.
    WholeConfigMap(String),
}

/// Values as they are now; missing ones say why.
pub type Values = BTreeMap<ValueRef, Result<String, String>>;

/// Something to tell the users about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub about: Subject,
    pub warning: bool,
    /// CamelCase: RolloutStarted, Promoted, RolledBack, …
    pub reason: &'static str,
    pub text: String,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Host,
    /// A Plugin by its object's name.
    Plugin(String),
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{object} was changed by another writer")]
    Conflict { object: String },
    #[error("{object} is gone")]
    Gone { object: String },
    #[error("failed to write {object}: {cause}")]
    Failed { object: String, cause: String },
}

/// Reads are from memory and immediate, but for values; writes have deadlines of their own.
#[async_trait]
pub trait World: Membership {
    /// All hosts that may be acted on: those with a PluginHost, with Plugins, or with labelled pods.
    fn hosts(&self) -> Vec<HostKey>;

    /// None: there is no such host, and nothing that belongs to it.
    fn view(&self, host: &HostKey) -> Option<View>;

    /// Whether what runs in a namespace must stay as it is: the namespace cannot be read, or another operator owns it.
    fn is_held(&self, _namespace: &str) -> bool {
        false
    }

    /// The Plugins whose host does not exist.
    fn orphans(&self) -> Vec<Arc<Plugin>>;

    /// Values of Secrets and ConfigMaps, at most a few seconds old.
    async fn values(&self, namespace: &str, wanted: &[ValueRef]) -> Values;

    /// The rollout as it is stored, read past all caches.
    async fn rollout(&self, host: &HostKey) -> Result<State, WriteError>;

    /// Replaces the stored rollout, if it is still `expected`.
    async fn save_rollout(&self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError>;

    /// Stores a revision; it may be stored already.
    async fn save_revision(&self, host: &PluginHost, plugin: &Plugin, revision: &Revision) -> Result<(), WriteError>;

    async fn delete_revision(&self, host: &HostKey, id: &RevisionId) -> Result<(), WriteError>;

    /// Everything in the status but the rollout.
    async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError>;

    async fn report_plugin(&self, host: &HostKey, name: &str, status: &PluginStatus) -> Result<(), WriteError>;

    /// Removes the finalizer that an earlier version of the operator set.
    async fn remove_finalizer(&self, plugin: &Plugin) -> Result<(), WriteError>;

    /// Tells users; may be lost.
    async fn tell(&self, host: &HostKey, note: Note);

    /// Whether values may change without a ring of the bell, so that they must be asked for again and again.
    fn polls_values(&self) -> bool;
}

fn secret_value(namespace: &str, at: &KeyRef, found: Option<&Secret>) -> Result<String, String> {
    let secret = found.ok_or_else(|| format!("Secret {namespace}/{} not found", at.name))?;
    let plain = secret.string_data.as_ref().and_then(|d| d.get(&at.key)).cloned();
    let decoded = || secret.data.as_ref().and_then(|d| d.get(&at.key)).map(|v| String::from_utf8(v.0.clone()));
    let missing = || format!("Secret {namespace}/{} has no key '{}'", at.name, at.key);
    let no_text = |_| format!("key '{}' of Secret {namespace}/{} is not UTF-8 text", at.key, at.name);
    match plain {
        Some(value) => Ok(value),
        None => decoded().ok_or_else(missing)?.map_err(no_text),
    }
}

fn config_map_value(namespace: &str, at: &KeyRef, found: Option<&ConfigMap>) -> Result<String, String> {
    let map = found.ok_or_else(|| format!("ConfigMap {namespace}/{} not found", at.name))?;
    let value = map.data.as_ref().and_then(|d| d.get(&at.key)).cloned();
    value.ok_or_else(|| format!("ConfigMap {namespace}/{} has no key '{}'", at.name, at.key))
}

fn whole_config_map(namespace: &str, name: &str, found: Option<&ConfigMap>) -> Result<String, String> {
    let map = found.ok_or_else(|| format!("ConfigMap {namespace}/{name} not found"))?;
    serde_json::to_string(&map.data.clone().unwrap_or_default()).map_err(|e| e.to_string())
}
