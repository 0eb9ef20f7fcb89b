//! The Kubernetes API as the world: watches fill a cache, values are read by name, writes go through `writes`.
//! I/O: the API server.

mod cache;
mod convert;
mod feed;
mod guarded;
mod index;
mod values;
mod writes;

use super::{Note, Revision, ValueRef, Values, View, World, WriteError};
use crate::{
    control::identity::{Identity, Membership},
    host::HostKey,
    namespaces::Namespaces,
    scope::Scope,
};
use async_trait::async_trait;
use cache::{Cache, Kept};
use feed::{Feed, Progress};
use guarded::Guarded;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{apps::v1::ControllerRevision, core::v1::Pod},
};
use kube::{Client, Resource, runtime::watcher::Config};
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, PluginHost, PluginHostStatus, PluginStatus, names::HOST_LABEL};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use values::ValueReader;
use writes::Writer;

/// The cluster, as far as it concerns the operator.
pub struct Kubernetes {
    cache: Arc<Cache>,
    values: ValueReader,
    writer: Writer,
    namespaces: Namespaces,
    progress: Vec<watch::Receiver<Progress>>,
}

/// A replica whose watch fails for so long lets another one lead.
const FAILING_TIMEOUT: Duration = Duration::from_secs(60);
const FITNESS_INTERVAL: Duration = Duration::from_secs(1);

impl Debug for Kubernetes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubernetes").field("hosts", &self.cache.hosts().len()).finish_non_exhaustive()
    }
}

/// The watches; dropping them ends them.
#[derive(Debug, Default)]
pub struct Watches {
    tasks: JoinSet<()>,
    progress: Vec<watch::Receiver<Progress>>,
}

impl Kubernetes {
    /// Begins to watch. `instance` is the name of this replica in events. Wait for `synced` before anything is decided.
    #[must_use]
    pub fn start(client: Client, scope: &Scope, namespaces: Namespaces, instance: &str) -> (Self, Watches) {
        let cache = Arc::new(Cache::new(namespaces.clone()));
        let labelled = Config::default().labels(HOST_LABEL);
        let mut watches = Watches::default();
        let feeds = Feeds { client: &client, scope, cache: &cache, namespaces: &namespaces };
        watches.add::<PluginHost>(&feeds, &Config::default());
        watches.add::<Plugin>(&feeds, &Config::default());
        watches.add::<Pod>(&feeds, &labelled);
        watches.add::<ControllerRevision>(&feeds, &labelled);
        let world = Self {
            cache,
            values: ValueReader::new(client.clone()),
            writer: Writer { client: client.clone(), instance: instance.to_owned() },
            namespaces,
            progress: watches.progress.clone(),
        };
        (world, watches)
    }

    /// Waits until the first list of everything is complete, but for namespaces that do not allow it.
    pub async fn synced(&self) {
        for progress in &self.progress {
            drop(progress.clone().wait_for(|progress| progress.begun).await);
        }
    }

    /// Keeps saying whether this replica sees the cluster as it is, so that it may lead. Never ends.
    pub async fn report_fitness(&self, fit: &watch::Sender<bool>) {
        loop {
            let now = Instant::now();
            let is_fit = self.progress.iter().all(|progress| progress.borrow().is_fit(now));
            fit.send_if_modified(|before| std::mem::replace(before, is_fit) != is_fit);
            sleep(FITNESS_INTERVAL).await;
        }
    }

    /// The namespaces that have anything to look after: PluginHosts, Plugins, or labelled pods.
    #[must_use]
    pub fn inhabited(&self) -> BTreeSet<String> {
        self.cache.inhabited()
    }
}

impl Progress {
    fn is_fit(self, now: Instant) -> bool {
        self.begun && self.failing_since.is_none_or(|since| now.duration_since(since) < FAILING_TIMEOUT)
    }
}

/// What all watches share.
struct Feeds<'a> {
    client: &'a Client,
    scope: &'a Scope,
    cache: &'a Arc<Cache>,
    namespaces: &'a Namespaces,
}

impl Watches {
    fn add<K>(&mut self, feeds: &Feeds<'_>, config: &Config)
    where
        K: Kept + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        for api in feeds.scope.apis::<Guarded<K>>(feeds.client) {
            let (progress, receiver) = watch::channel(Progress::default());
            let feed = Feed {
                client: feeds.client.clone(),
                cache: Arc::clone(feeds.cache),
                namespace: api.namespace().map(str::to_owned),
                namespaces: feeds.namespaces.clone(),
                progress,
            };
            self.progress.push(receiver);
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

    fn is_held(&self, namespace: &str) -> bool {
        self.namespaces.is_held(namespace)
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

    async fn save_revision(&self, host: &PluginHost, plugin: &Plugin, revision: &Revision) -> Result<(), WriteError> {
        self.writer.save_revision(host, plugin, revision).await
    }

    async fn delete_revision(&self, host: &HostKey, id: &RevisionId) -> Result<(), WriteError> {
        for name in self.cache.revision_objects(host, id) {
            // Earlier versions named it without its host, so that another host may use it, too.
            if name != convert::former_name(id) || !self.cache.has_other_host(host) {
                self.writer.delete_revision(host, &name).await?;
            }
        }
        Ok(())
    }

    async fn report_host(&self, host: &HostKey, status: &PluginHostStatus) -> Result<(), WriteError> {
        self.writer.report_host(host, status).await
    }

    async fn report_plugin(&self, host: &HostKey, name: &str, status: &PluginStatus) -> Result<(), WriteError> {
        self.writer.report_plugin(host, name, status).await
    }

    async fn remove_finalizer(&self, plugin: &Plugin) -> Result<(), WriteError> {
        self.writer.remove_finalizer(plugin).await
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

#[cfg(test)]
mod tests;
