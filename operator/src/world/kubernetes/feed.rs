//! Watches keep the cache as the cluster is. A watch that fails begins anew with a list, so that its success is seen; one
//! that a namespace does not allow holds that namespace, and nothing else. I/O: watches.

use super::{
    cache::{self, Cache, Kept},
    guarded::Guarded,
    index::Key,
};
use crate::{
    api::{call, found},
    namespaces::Namespaces,
};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Config, Event, watcher},
};
use rand::Rng;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt::Debug, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
const FORBIDDEN: u16 = 403;

/// One watch: of a kind, in a namespace or in all.
pub(super) struct Feed {
    pub(super) client: Client,
    pub(super) cache: Arc<Cache>,
    pub(super) namespace: Option<String>,
    pub(super) namespaces: Namespaces,
    pub(super) progress: watch::Sender<Progress>,
}

/// How a watch goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// A first list was complete, or its namespace does not allow one.
    pub(super) begun: bool,
    pub(super) failing_since: Option<Instant>,
}

impl Feed {
    /// Runs until dropped.
    pub(super) async fn run<K>(self, api: Api<Guarded<K>>, config: Config)
    where
        K: Kept + Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let (listed, error) = self.drain(pin!(watcher(api.clone(), config.clone()))).await;
            backoff = if listed { FIRST_BACKOFF } else { (backoff * 2).min(MAX_BACKOFF) };
            if let Some(error) = error {
                self.failed::<K>(&error).await;
            }
            let jitter = rand::rng().random_range(0.5..1.0);
            sleep(backoff.mul_f64(jitter)).await;
        }
    }

    /// Takes events up to the first error. Returns whether a list was complete.
    async fn drain<K>(
        &self,
        mut events: impl Stream<Item = watcher::Result<Event<Guarded<K>>>> + Unpin,
    ) -> (bool, Option<watcher::Error>)
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        let (mut keys, mut listed) = (BTreeSet::new(), false);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => listed |= self.take(event, &mut keys),
                Err(error) => return (listed, Some(error)),
            }
        }
        (listed, None)
    }

    /// Returns whether a list is complete.
    fn take<K>(&self, event: Event<Guarded<K>>, listed: &mut BTreeSet<Key>) -> bool
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
                self.succeeded::<K>();
                return true;
            }
        }
        false
    }

    fn apply<K>(&self, object: Guarded<K>) -> Option<Key>
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        let key = cache::key(&object.metadata)?;
        match object.object {
            Ok(object) => self.cache.apply(key.clone(), object),
            Err(undecoded) => {
                let (namespace, name) = &key;
                tracing::error!(kind = %K::kind(&()), %namespace, %name, error = %undecoded.error, "an object cannot be decoded; what runs of it stays");
                self.cache.apply_undecoded::<K>(key.clone(), object.metadata, &undecoded);
            }
        }
        Some(key)
    }

    fn succeeded<K: Resource<DynamicType = ()>>(&self) {
        let kind = K::kind(&());
        let before = self.progress.send_replace(Progress { begun: true, failing_since: None });
        let is_news = self.namespace.as_ref().is_some_and(|n| self.namespaces.set_unreadable(n, &kind, None));
        if is_news || before.failing_since.is_some() {
            tracing::info!(%kind, namespace = self.namespace, "a watch works again");
        }
    }

    async fn failed<K>(&self, error: &watcher::Error)
    where
        K: Kept + Resource<DynamicType = ()>,
    {
        let kind = K::kind(&());
        match &self.namespace {
            Some(namespace) if is_forbidden(error) => {
                if self.namespaces.set_unreadable(namespace, &kind, Some(error.to_string())) {
                    tracing::warn!(%kind, %namespace, %error, "a namespace cannot be read; what runs in it stays as it is");
                }
                self.progress.send_replace(Progress { begun: true, failing_since: None });
                self.forget_if_gone::<K>(namespace).await;
            }
            _ => {
                let is_first = self.progress.borrow().failing_since.is_none();
                if is_first {
                    tracing::warn!(%kind, namespace = self.namespace, %error, "a watch failed; it is tried again");
                }
                self.progress.send_modify(|progress| {
                    progress.failing_since.get_or_insert_with(Instant::now);
                });
            }
        }
    }

    /// A namespace that does not allow anything because it is gone takes its objects along.
    async fn forget_if_gone<K: Kept>(&self, namespace: &str) {
        let api = Api::<Namespace>::all(self.client.clone());
        let read = call(format!("read Namespace {namespace}"), api.get_metadata(namespace)).await;
        if matches!(found(read), Ok(None)) {
            self.cache.retain::<K>(Some(namespace), &BTreeSet::new());
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == FORBIDDEN,
        _ => false,
    }
}
