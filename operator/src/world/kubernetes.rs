//! The Kubernetes API as the world: watches fill a cache, values are read by name, writes go through `writes`.
//! I/O: the API server.

mod cache;
mod convert;
mod feed;
mod index;
mod values;
mod writes;

use super::{Note, Revision, ValueRef, Values, View, World, WriteError};
use crate::{
    control::identity::{Identity, Membership},
    host::{Bells, HostKey},
    scope::Scope,
};
use async_trait::async_trait;
use cache::{Cache, Kept};
use feed::Feed;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::ControllerRevision, core::v1::Pod},
};
use kube::{Client, Resource, core::DeserializeGuard, runtime::watcher::Config};
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus, names::HOST_LABEL};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};
use tokio::{sync::watch, task::JoinSet};
use values::ValueReader;
use writes::Writer;

/// The cluster, as far as it concerns the operator.
pub struct Kubernetes {
    cache: Arc<Cache>,
    values: ValueReader,
    writer: Writer,
    synced: Vec<watch::Receiver<bool>>,
}

impl Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("hosts", &self.cache.hosts().len()).finish_non_exhaustive()
    }
}

/// The watches; dropping them ends them.
#[derive(Debug, Default)]
pub struct Watches {
    tasks: JoinSet<()>,
    synced: Vec<watch::Receiver<bool>>,
}

impl Kubernetes {
    /// Begins to watch. `instance` is the name of this replica in events. Wait for `synced` before anything is decided.
    #[must_use]
    pub fn start(client: Client, scope: &Scope, bells: Bells, instance: &str) -> (Self, Watches) {
        let cache = Arc::new(Cache::new(bells));
        let labelled = Config::default().labels(HOST_LABEL);
        let mut watches = Watches::default();
        watches.add::<PluginHost>(&client, scope, &cache, &Config::default());
        watches.add::<Plugin>(&client, scope, &cache, &Config::default());
        watches.add::<Pod>(&client, scope, &cache, &labelled);
        watches.add::<ControllerRevision>(&client, scope, &cache, &labelled);
        let world = Self {
            cache,
            values: ValueReader::new(client.clone()),
            writer: Writer { client, instance: instance.to_owned() },
            synced: watches.synced.clone(),
        };
        (world, watches)
    }

    /// Waits until the first list of everything is complete.
    pub async fn synced(&self) {
        for synced in &self.synced {
            drop(synced.clone().wait_for(|done| *done).await);
        }
    }

    /// Whether the first list of everything is complete.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.iter().all(|synced| *synced.borrow())
    }
}

impl Watches {
    fn add<K>(&mut self, client: &Client, scope: &Scope, cache: &Arc<Cache>, config: &Config)
    where
        K: Kept + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        for api in scope.apis::<DeserializeGuard<K>>(client) {
            let (synced, receiver) = watch::channel(false);
            let namespace = api.namespace().map(str::to_owned);
            let feed = Feed { cache: Arc::clone(cache), namespace, synced };
            self.synced.push(receiver);
            self.tasks.spawn(feed.run::<K>(api, config.clone()));
        }
    }

    /// Waits for the end of a watch, which only a defect brings about.
    pub async fn ended(&mut self) {
        drop(self.tasks.join_next().await);
    }
}

impl Membership for Kubernetes {
    fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        self.cache.host_of(pod)
    }
}

#[async_trait]
impl World for Kubernetes {
    fn hosts(&self) -> Vec<HostKey> {
        self.cache.hosts()
    }

    fn view(&self, host: &HostKey) -> Option<View> {
        self.cache.view(host)
    }

    fn orphans(&self) -> Vec<Arc<Plugin>> {
        self.cache.orphans()
    }

    async fn values(&self, namespace: &str, wanted: &[ValueRef]) -> Values {
        self.values.values(namespace, wanted).await
    }

    async fn rollout(&self, host: &HostKey) -> Result<State, WriteError> {
        let found = self.writer.host(host).await?;
        Ok(found.status.and_then(|s| s.rollout).unwrap_or_default())
    }

    async fn save_rollout(&self, host: &HostKey, expected: &State, new: &State) -> Result<(), WriteError> {
        self.writer.save_rollout(host, expected, new).await
    }

    async fn save_revision(&self, _: &HostKey, owner: &Plugin, revision: &Revision) -> Result<(), WriteError> {
        self.writer.save_revision(owner, revision).await
    }

    async fn delete_revision(&self, host: &HostKey, id: &RevisionId) -> Result<(), WriteError> {
        self.writer.delete_revision(host, id).await
    }

    async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError> {
        self.writer.report_host(host, status).await
    }

    async fn report_plugin(&self, host: &HostKey, name: &str, status: &PluginStatus) -> Result<(), WriteError> {
        self.writer.report_plugin(host, name, status).await
    }

    async fn remove_finalizer(&self, plugin: &Plugin) -> Result<(), WriteError> {
        self.writer.hold(plugin, false).await
    }

    async fn tell(&self, host: &HostKey, note: Note) {
        if let Some(view) = self.cache.view(host) {
            self.writer.tell(&view, note).await;
        }
    }

    fn polls_values(&self) -> bool {
        true
    }
}
