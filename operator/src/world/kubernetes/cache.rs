//! All objects that the driver looks at, in memory, and the bells that ring when one changes. No I/O.

use super::{
    convert,
    index::{Index, Key, Touched},
};
use crate::{
    control::identity::Identity,
    host::{Bells, HostKey},
    world::{Pod, Revision, View},
};
use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1};
use kube::core::ObjectMeta;
use parking_lot::RwLock;
use rockstar_crds::{Plugin, PluginHost};
use std::{collections::BTreeSet, sync::Arc};

#[derive(Debug, Default)]
pub(super) struct Cache {
    hosts: RwLock<Index<PluginHost>>,
    plugins: RwLock<Index<Plugin>>,
    pods: RwLock<Index<Pod>>,
    revisions: RwLock<Index<Revision>>,
    bells: Bells,
}

/// A kind of object that the cache keeps.
pub(super) trait Kept: Sized {
    type Kept: PartialEq;

    fn index(cache: &Cache) -> &RwLock<Index<Self::Kept>>;

    /// The host that it belongs to, and what is kept of it; None if it does not concern us.
    fn keep(self) -> Option<(HostKey, Self::Kept)>;

    /// Whether the list of hosts, and of plugins without one, changes with it.
    const LISTED: bool;
}

impl Kept for PluginHost {
    type Kept = Self;
    const LISTED: bool = true;

    fn index(cache: &Cache) -> &RwLock<Index<Self>> {
        &cache.hosts
    }

    fn keep(self) -> Option<(HostKey, Self)> {
        let (namespace, name) = key(&self.metadata)?;
        Some((HostKey { namespace, name }, self))
    }
}

impl Kept for Plugin {
    type Kept = Self;
    const LISTED: bool = true;

    fn index(cache: &Cache) -> &RwLock<Index<Self>> {
        &cache.plugins
    }

    fn keep(self) -> Option<(HostKey, Self)> {
        Some((HostKey::new(self.metadata.namespace.clone()?, self.spec.host.clone()), self))
    }
}

impl Kept for v1::Pod {
    type Kept = Pod;
    const LISTED: bool = false;

    fn index(cache: &Cache) -> &RwLock<Index<Pod>> {
        &cache.pods
    }

    fn keep(self) -> Option<(HostKey, Pod)> {
        Some((convert::labelled_host(&self.metadata)?, convert::pod(&self)))
    }
}

impl Kept for ControllerRevision {
    type Kept = Revision;
    const LISTED: bool = false;

    fn index(cache: &Cache) -> &RwLock<Index<Revision>> {
        &cache.revisions
    }

    fn keep(self) -> Option<(HostKey, Revision)> {
        Some((convert::labelled_host(&self.metadata)?, convert::revision(&self)?))
    }
}

pub(super) fn key(meta: &ObjectMeta) -> Option<Key> {
    Some((meta.namespace.clone()?, meta.name.clone()?))
}

impl Cache {
    pub(super) fn new(bells: Bells) -> Self {
        Self { bells, ..Self::default() }
    }

    pub(super) fn apply<K: Kept>(&self, key: Key, object: K) {
        let touched = match object.keep() {
            Some((host, kept)) => K::index(self).write().apply(key, host, kept),
            None => K::index(self).write().remove(&key),
        };
        self.ring::<K>(&touched);
    }

    pub(super) fn remove<K: Kept>(&self, key: &Key) {
        let touched = K::index(self).write().remove(key);
        self.ring::<K>(&touched);
    }

    pub(super) fn retain<K: Kept>(&self, namespace: Option<&str>, listed: &BTreeSet<Key>) {
        let touched = K::index(self).write().retain(namespace, listed);
        self.ring::<K>(&touched);
    }

    fn ring<K: Kept>(&self, touched: &Touched) {
        touched.iter().for_each(|host| self.bells.ring(host));
        if K::LISTED && !touched.is_empty() {
            self.bells.ring_list();
        }
    }

    pub(super) fn hosts(&self) -> Vec<HostKey> {
        self.hosts.read().hosts().cloned().collect()
    }

    pub(super) fn view(&self, host: &HostKey) -> Option<View> {
        let object = self.hosts.read().of_host(host).next().cloned();
        object.as_ref()?;
        let mut revisions: Vec<_> = self.revisions.read().of_host(host).cloned().collect();
        revisions.sort_by_key(|r| r.number);
        Some(View {
            host: object,
            plugins: self.plugins.read().of_host(host).cloned().collect(),
            pods: self.pods.read().of_host(host).map(|pod| Pod::clone(pod)).collect(),
            revisions,
            unreadable: Vec::new(),
        })
    }

    pub(super) fn orphans(&self) -> Vec<Arc<Plugin>> {
        let hosts = self.hosts();
        let plugins = self.plugins.read();
        let orphaned = plugins.hosts().filter(|host| !hosts.contains(host));
        orphaned.flat_map(|host| plugins.of_host(host)).cloned().collect()
    }

    pub(super) fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        let pods = self.pods.read();
        let (host, known) = pods.get(&(pod.namespace.clone(), pod.pod.clone()))?;
        (known.uid == pod.uid).then(|| host.clone())
    }
}
