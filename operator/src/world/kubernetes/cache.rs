//! All objects that the driver looks at, in memory, and the bells that ring when one changes. No I/O.

use super::{
    convert,
    guarded::Undecoded,
    index::{Index, Key, Touched},
};
use crate::{
    control::identity::Identity,
    host::HostKey,
    namespaces::Namespaces,
    world::{Pod, Revision, Unreadable, View},
};
use k8s_openapi::api::{apps::v1::ControllerRevision, core::v1};
use kube::core::ObjectMeta;
use parking_lot::RwLock;
use rockstar_core::revision::RevisionId;
use rockstar_crds::{Plugin, PluginHost, PluginStatus};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// No host has this name: of Plugins that cannot be decoded so far that their host would be known.
const UNKNOWN_HOST: &str = "";

#[derive(Debug)]
pub(super) struct Cache {
    hosts: RwLock<Index<PluginHost>>,
    plugins: RwLock<Index<Plugin>>,
    pods: RwLock<Index<Pod>>,
    revisions: RwLock<Index<Revision>>,
    /// PluginHosts and Plugins that are listed, but cannot be decoded.
    undecoded_hosts: RwLock<Index<Unreadable>>,
    undecoded_plugins: RwLock<Index<Unreadable>>,
    namespaces: Namespaces,
}

/// A kind of object that the cache keeps.
pub(super) trait Kept: Sized {
    type Kept: PartialEq;

    fn index(cache: &Cache) -> &RwLock<Index<Self::Kept>>;

    /// The host that it belongs to, and what is kept of it; None if it does not concern us.
    fn keep(self) -> Option<(HostKey, Self::Kept)>;

    /// Whether the list of plugins without a host changes with it.
    const LISTED: bool;

    /// Where objects that cannot be decoded are kept. None: what was known of them stays.
    fn undecoded(_cache: &Cache) -> Option<&RwLock<Index<Unreadable>>> {
        None
    }

    /// The host that an object belongs to that cannot be decoded.
    fn undecoded_host(_key: &Key, _undecoded: &Undecoded) -> HostKey {
        HostKey::new("", UNKNOWN_HOST)
    }

    /// Whether the last version that could be decoded stays beside one that cannot.
    const KEEPS_LAST: bool = true;
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

    fn undecoded(cache: &Cache) -> Option<&RwLock<Index<Unreadable>>> {
        Some(&cache.undecoded_hosts)
    }

    fn undecoded_host((namespace, name): &Key, _: &Undecoded) -> HostKey {
        HostKey::new(namespace, name)
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

    fn undecoded(cache: &Cache) -> Option<&RwLock<Index<Unreadable>>> {
        Some(&cache.undecoded_plugins)
    }

    fn undecoded_host((namespace, _): &Key, undecoded: &Undecoded) -> HostKey {
        HostKey::new(namespace, undecoded.text("/spec/host").unwrap_or_else(|| UNKNOWN_HOST.into()))
    }

    /// What an earlier version of the object asked for is not what it asks for now, so that a new leader decides the same.
    const KEEPS_LAST: bool = false;
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
    pub(super) fn new(namespaces: Namespaces) -> Self {
        Self {
            hosts: RwLock::default(),
            plugins: RwLock::default(),
            pods: RwLock::default(),
            revisions: RwLock::default(),
            undecoded_hosts: RwLock::default(),
            undecoded_plugins: RwLock::default(),
            namespaces,
        }
    }

    pub(super) fn apply<K: Kept>(&self, key: Key, object: K) {
        // Both at once: a view that found it in neither would take it for deleted.
        let touched = self.change::<K>(|index| {
            let mut touched = K::undecoded(self).map(|undecoded| undecoded.write().remove(&key)).unwrap_or_default();
            touched.extend(match object.keep() {
                Some((host, kept)) => index.apply(key, host, kept),
                None => index.remove(&key),
            });
            touched
        });
        self.ring::<K>(&touched);
    }

    /// An object is listed that cannot be decoded.
    pub(super) fn apply_undecoded<K: Kept>(&self, key: Key, metadata: ObjectMeta, undecoded: &Undecoded) {
        let Some(all_undecoded) = K::undecoded(self) else { return };
        let host = K::undecoded_host(&key, undecoded);
        let unreadable = Unreadable {
            name: key.1.clone(),
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation,
            plugin: undecoded.text("/spec/manifest/name"),
            host: Some(host.name.clone()).filter(|name| name != UNKNOWN_HOST),
            status: undecoded.raw.get("status").and_then(|status| PluginStatus::deserialize(status).ok()),
            error: undecoded.error.clone(),
        };
        let touched = self.change::<K>(|index| {
            let mut touched = if K::KEEPS_LAST { Touched::new() } else { index.remove(&key) };
            touched.extend(all_undecoded.write().apply(key, host, unreadable));
            touched
        });
        self.ring::<K>(&touched);
    }

    pub(super) fn remove<K: Kept>(&self, key: &Key) {
        let mut touched = K::undecoded(self).map(|index| index.write().remove(key)).unwrap_or_default();
        touched.extend(self.change::<K>(|index| index.remove(key)));
        self.ring::<K>(&touched);
    }

    pub(super) fn retain<K: Kept>(&self, namespace: Option<&str>, listed: &BTreeSet<Key>) {
        let mut touched = K::undecoded(self).map(|index| index.write().retain(namespace, listed)).unwrap_or_default();
        touched.extend(self.change::<K>(|index| index.retain(namespace, listed)));
        self.ring::<K>(&touched);
    }

    fn change<K: Kept>(&self, act: impl FnOnce(&mut Index<K::Kept>) -> Touched) -> Touched {
        let mut index = K::index(self).write();
        let hosts = index.host_count();
        let touched = act(&mut index);
        if index.host_count() != hosts {
            self.namespaces.bells().ring_list();
        }
        touched
    }

    fn ring<K: Kept>(&self, touched: &Touched) {
        let bells = self.namespaces.bells();
        for host in touched {
            match host.name.as_str() {
                UNKNOWN_HOST => bells.ring_namespace(&host.namespace),
                _ => bells.ring(host),
            }
        }
        if K::LISTED && !touched.is_empty() {
            bells.ring_list();
        }
    }

    /// Those that may be acted on: with an object, with plugins, or with pods.
    pub(super) fn hosts(&self) -> Vec<HostKey> {
        let mut hosts: BTreeSet<HostKey> = self.hosts.read().hosts().cloned().collect();
        hosts.extend(self.undecoded_hosts.read().hosts().cloned());
        hosts.extend(self.plugins.read().hosts().cloned());
        hosts.extend(self.pods.read().hosts().cloned());
        hosts.into_iter().filter(|host| !self.namespaces.is_held(&host.namespace)).collect()
    }

    /// The namespaces that have anything to look after.
    pub(super) fn inhabited(&self) -> BTreeSet<String> {
        let mut namespaces: BTreeSet<String> = self.hosts.read().hosts().map(|host| host.namespace.clone()).collect();
        namespaces.extend(self.undecoded_hosts.read().hosts().map(|host| host.namespace.clone()));
        namespaces.extend(self.plugins.read().hosts().map(|host| host.namespace.clone()));
        namespaces.extend(self.pods.read().hosts().map(|host| host.namespace.clone()));
        namespaces
    }

    pub(super) fn view(&self, host: &HostKey) -> Option<View> {
        let mut revisions: Vec<_> = self.revisions.read().of_host(host).cloned().collect();
        revisions.sort_by_key(|r| r.number);
        let (object, host_error) = self.host(host);
        let (plugins, unreadable) = self.plugins_of(host);
        let pods = self.pods.read().of_host(host).map(|pod| Pod::clone(pod)).collect();
        let view = View { host: object, host_error, plugins, pods, revisions, unreadable };
        let exists = view.host.is_some() || view.host_error.is_some();
        (exists || !view.plugins.is_empty() || !view.pods.is_empty()).then_some(view)
    }

    /// The object, as it could be decoded last, and why it cannot be now.
    fn host(&self, host: &HostKey) -> (Option<Arc<PluginHost>>, Option<String>) {
        let hosts = self.hosts.read();
        let undecoded = self.undecoded_hosts.read();
        let error = undecoded.of_host(host).next().map(|undecoded| undecoded.error.clone());
        (hosts.of_host(host).next().cloned(), error)
    }

    /// The plugins of a host, and those that cannot be decoded, at one moment.
    fn plugins_of(&self, host: &HostKey) -> (Vec<Arc<Plugin>>, Vec<Unreadable>) {
        let plugins = self.plugins.read();
        let undecoded = self.undecoded_plugins.read();
        let of_any = HostKey::new(&host.namespace, UNKNOWN_HOST);
        let unreadable = undecoded.of_host(host).chain(undecoded.of_host(&of_any)).map(|p| Unreadable::clone(p));
        (plugins.of_host(host).cloned().collect(), unreadable.collect())
    }

    pub(super) fn orphans(&self) -> Vec<Arc<Plugin>> {
        let (hosts, undecoded, plugins) = (self.hosts.read(), self.undecoded_hosts.read(), self.plugins.read());
        let has_host = |host: &HostKey| hosts.has(host) || undecoded.has(host);
        let orphaned = plugins.hosts().filter(|host| !has_host(host) && !self.namespaces.is_held(&host.namespace));
        orphaned.flat_map(|host| plugins.of_host(host)).cloned().collect()
    }

    pub(super) fn host_of(&self, pod: &Identity) -> Option<HostKey> {
        let pods = self.pods.read();
        let (host, known) = pods.get(&(pod.namespace.clone(), pod.pod.clone()))?;
        (known.uid == pod.uid).then(|| host.clone())
    }

    /// The names of the objects that hold a revision of a host.
    pub(super) fn revision_objects(&self, host: &HostKey, id: &RevisionId) -> Vec<String> {
        let revisions = self.revisions.read();
        revisions.named_of_host(host).filter(|(_, r)| r.id == *id).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the namespace has another host than this one.
    pub(super) fn has_other_host(&self, host: &HostKey) -> bool {
        let hosts = self.hosts.read();
        hosts.hosts().any(|other| other.namespace == host.namespace && other.name != host.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Bells;
    use serde_json::{Value, json};

    const GROUP: &str = "plugins.rockstar-framework.dev/v1alpha1";

    fn key(name: &str) -> Key {
        ("shop".into(), name.into())
    }

    fn cache() -> Cache {
        Cache::new(Namespaces::unclaimed(Bells::default()))
    }

    fn host() -> HostKey {
        HostKey::new("shop", "storefront")
    }

    fn plugin_host() -> PluginHost {
        let object = json!({"apiVersion": GROUP, "kind": "PluginHost", "metadata": {"name": "storefront", "namespace": "shop"},
            "spec": {"framework": {"version": "1.5.0"}}});
        serde_json::from_value(object).unwrap()
    }

    fn plugin() -> Plugin {
        let object = json!({"apiVersion": GROUP, "kind": "Plugin", "metadata": {"name": "auth", "namespace": "shop"},
            "spec": {"host": "storefront", "manifest": {"name": "auth"}, "source": {"path": "/p"}}});
        serde_json::from_value(object).unwrap()
    }

    fn metadata() -> ObjectMeta {
        ObjectMeta { uid: Some("u".into()), ..ObjectMeta::default() }
    }

    fn undecoded(spec: Value) -> Undecoded {
        Undecoded { raw: json!({"spec": spec}), error: "unknown variant".into() }
    }

    #[test]
    fn a_plugin_that_cannot_be_decoded_is_neither_there_nor_gone() {
        let cache = cache();
        cache.apply(key("storefront"), plugin_host());
        cache.apply(key("auth"), plugin());
        let spec = json!({"host": "storefront", "manifest": {"name": "auth-plugin"}});
        cache.apply_undecoded::<Plugin>(key("auth"), metadata(), &undecoded(spec));
        let view = cache.view(&host()).unwrap();
        assert_eq!(view.plugins.len(), 0);
        assert_eq!((view.unreadable[0].plugin.as_deref(), view.unreadable[0].uid.as_str()), (Some("auth-plugin"), "u"));
        cache.retain::<Plugin>(Some("shop"), &[key("auth")].into());
        assert_eq!(cache.view(&host()).unwrap().unreadable.len(), 1, "it is listed");
        cache.apply(key("auth"), plugin());
        let view = cache.view(&host()).unwrap();
        assert_eq!((view.plugins.len(), view.unreadable.len()), (1, 0), "it can be decoded again");
        cache.apply_undecoded::<Plugin>(key("auth"), metadata(), &undecoded(json!({"host": 7})));
        assert_eq!(cache.view(&host()).unwrap().unreadable[0].host, None, "it is in the views of all hosts");
        cache.retain::<Plugin>(Some("shop"), &BTreeSet::new());
        assert_eq!(cache.view(&host()).unwrap().unreadable.len(), 0, "now it is deleted");
    }

    #[test]
    fn a_host_that_cannot_be_decoded_is_listed_and_its_plugins_are_no_orphans() {
        let cache = cache();
        cache.apply(key("auth"), plugin());
        assert_eq!(cache.orphans().len(), 1);
        cache.apply_undecoded::<PluginHost>(key("storefront"), metadata(), &undecoded(json!({})));
        assert_eq!((cache.orphans().len(), cache.hosts()), (0, vec![host()]));
        let view = cache.view(&host()).unwrap();
        assert_eq!((view.host.is_some(), view.host_error.as_deref()), (false, Some("unknown variant")));
        cache.apply(key("storefront"), plugin_host());
        cache.apply_undecoded::<PluginHost>(key("storefront"), metadata(), &undecoded(json!({})));
        let view = cache.view(&host()).unwrap();
        assert!(view.host.is_some() && view.host_error.is_some(), "the last version that could be decoded stays");
    }

    #[test]
    fn a_host_without_an_object_is_there_while_something_belongs_to_it() {
        let cache = cache();
        assert!(cache.view(&host()).is_none());
        cache.apply(key("auth"), plugin());
        assert_eq!(cache.hosts(), [host()]);
        assert!(cache.view(&host()).unwrap().host.is_none());
        cache.remove::<Plugin>(&key("auth"));
        assert!(cache.view(&host()).is_none() && cache.hosts().is_empty());
    }

    #[test]
    fn hosts_of_a_held_namespace_are_not_acted_on() {
        let cache = cache();
        cache.apply(key("storefront"), plugin_host());
        cache.namespaces.set_unreadable("shop", "Pod", Some("forbidden".into()));
        assert_eq!(cache.hosts(), []);
        assert!(cache.view(&host()).is_some(), "what is known of it stays");
    }
}
