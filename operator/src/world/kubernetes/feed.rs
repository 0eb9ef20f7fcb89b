//! Watches keep the cache as the cluster is. A bad object stands for nothing: what was known of it stays. I/O: watches.

use super::{
    cache::{self, Cache, Kept},
    index::Key,
};
use futures::{Stream, StreamExt};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, sync::Arc};
use tokio::sync::watch;

/// One watch: of a kind, in a namespace or in all.
pub(super) struct Feed {
    pub(super) cache: Arc<Cache>,
    pub(super) namespace: Option<String>,
    /// Set once the first list is complete.
    pub(super) synced: watch::Sender<bool>,
}

impl Feed {
    /// Runs until dropped.
    pub(super) async fn run<K>(self, api: Api<DeserializeGuard<K>>, config: Config)
    where
        K: Kept + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let events = watcher(api, config).default_backoff();
        self.drain(std::pin::pin!(events)).await;
    }

    async fn drain<K>(self, mut events: impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Unpin)
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut listed),
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "a watch failed; it is tried again"),
            }
        }
    }

    fn take<K>(&self, event: Event<DeserializeGuard<K>>, listed: &mut BTreeSet<Key>)
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.extend(self.apply(object)),
            Event::Apply(object) => drop(self.apply(object)),
            Event::Delete(object) => {
                if let Some(key) = cache::key(object.meta()) {
                    self.cache.remove::<K>(&key);
                }
            }
            Event::InitDone => {
                self.cache.retain::<K>(self.namespace.as_deref(), listed);
                self.synced.send_replace(true);
            }
        }
    }

    fn apply<K>(&self, object: DeserializeGuard<K>) -> Option<Key>
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        let key = cache::key(object.meta())?;
        match object.0 {
            Ok(mut object) => {
                object.managed_fields_mut().clear();
                self.cache.apply(key.clone(), object);
            }
            Err(bad) => {
                let (namespace, name) = &key;
                tracing::error!(kind = %K::kind(&()), %namespace, %name, error = %bad.error, "an object is unreadable; what was known of it stays");
            }
        }
        Some(key)
    }
}
