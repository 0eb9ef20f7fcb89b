//! Objects of one kind in memory, by name and by the host they belong to. No I/O.

use crate::host::HostKey;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Namespace and name.
pub(super) type Key = (String, String);

/// Tells the hosts whose objects changed.
pub(super) type Touched = BTreeSet<HostKey>;

#[derive(Debug)]
pub(super) struct Index<T> {
    objects: HashMap<Key, (HostKey, Arc<T>)>,
    by_host: HashMap<HostKey, BTreeMap<String, Arc<T>>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), by_host: HashMap::new() }
    }
}

impl<T: PartialEq> Index<T> {
    /// Nothing is touched if the object is the same as before.
    pub(super) fn apply(&mut self, key: Key, host: HostKey, object: T) -> Touched {
        let same = self.objects.get(&key).is_some_and(|(old, before)| *old == host && **before == object);
        if same {
            return Touched::new();
        }
        let mut touched = self.remove(&key);
        let object = Arc::new(object);
        self.by_host.entry(host.clone()).or_default().insert(key.1.clone(), Arc::clone(&object));
        self.objects.insert(key, (host.clone(), object));
        touched.insert(host);
        touched
    }

    pub(super) fn remove(&mut self, key: &Key) -> Touched {
        let Some((host, _)) = self.objects.remove(key) else { return Touched::new() };
        if let Some(of_host) = self.by_host.get_mut(&host) {
            of_host.remove(&key.1);
            if of_host.is_empty() {
                self.by_host.remove(&host);
            }
        }
        [host].into()
    }

    /// What a complete list of a namespace (of all, if None) does not hold is gone.
    pub(super) fn retain(&mut self, namespace: Option<&str>, listed: &BTreeSet<Key>) -> Touched {
        let in_scope = |key: &&Key| namespace.is_none_or(|n| n == key.0);
        let gone: Vec<Key> = self.objects.keys().filter(in_scope).filter(|k| !listed.contains(*k)).cloned().collect();
        gone.iter().flat_map(|key| self.remove(key)).collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&(HostKey, Arc<T>)> {
        self.objects.get(key)
    }

    /// By name.
    pub(super) fn of_host(&self, host: &HostKey) -> impl Iterator<Item = &Arc<T>> {
        self.by_host.get(host).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn host_count(&self) -> usize {
        self.by_host.len()
    }

    /// Whether a host has any object.
    pub(super) fn has(&self, host: &HostKey) -> bool {
        self.by_host.contains_key(host)
    }

    /// With the names of the objects.
    pub(super) fn named_of_host(&self, host: &HostKey) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.by_host.get(host).into_iter().flatten()
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &HostKey> {
        self.by_host.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("shop".into(), name.into())
    }

    fn host(name: &str) -> HostKey {
        HostKey::new("shop", name)
    }

    #[test]
    fn both_hosts_are_touched_when_an_object_moves() {
        let mut index = Index::default();
        assert_eq!(index.apply(key("a"), host("x"), 1), [host("x")].into());
        assert_eq!(index.apply(key("a"), host("x"), 1), Touched::new());
        assert_eq!(index.apply(key("a"), host("y"), 1), [host("x"), host("y")].into());
        assert_eq!(index.of_host(&host("x")).count(), 0);
        assert_eq!(index.hosts().collect::<Vec<_>>(), [&host("y")]);
    }

    #[test]
    fn a_list_takes_away_only_in_its_own_namespace() {
        let mut index = Index::default();
        index.apply(key("a"), host("x"), 1);
        index.apply(key("b"), host("x"), 1);
        index.apply(("other".into(), "c".into()), HostKey::new("other", "x"), 1);
        assert_eq!(index.retain(Some("shop"), &[key("a")].into()), [host("x")].into());
        assert_eq!(index.hosts().count(), 2);
    }
}
