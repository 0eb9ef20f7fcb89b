//! The cache in the sidecar's memory, bounded for each plugin and in all: what was used longest ago goes first, of the
//! plugin that has too much or most. No I/O.

use crate::bounds::{CACHE_ENTRY_OVERHEAD, limits};
use bytes::Bytes;
use parking_lot::Mutex;
use rockstar_core::limits::Limit;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

#[derive(Debug)]
struct Entry {
    value: Bytes,
    /// The plugin that set it.
    owner: String,
    expires: Option<Instant>,
    /// When it was used last, as a number.
    used: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Entries(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    shares: HashMap<String, Share>,
    bytes: usize,
    clock: u64,
}

/// What one plugin has in the cache.
#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    /// Keys by their last use.
    order: BTreeMap<u64, String>,
}

impl Entries {
    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        let mut inner = self.0.lock();
        let expires = inner.entries.get(key)?.expires;
        if expires.is_some_and(|at| at <= Instant::now()) {
            inner.remove(key);
            return None;
        }
        inner.touch(key)
    }

    /// Without a time to live an entry stays until there is no room for it.
    pub(super) fn set(&self, owner: &str, key: &str, value: &[u8], ttl: Option<Duration>) {
        let mut inner = self.0.lock();
        inner.remove(key);
        // What came with a message shares the message's memory.
        let value = Bytes::copy_from_slice(value);
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        inner.insert(key.to_owned(), Entry { value, owner: owner.to_owned(), expires, used: 0 });
        inner.shrink(owner);
    }

    pub(super) fn delete(&self, key: &str) {
        self.0.lock().remove(key);
    }
}

impl Inner {
    fn insert(&mut self, key: String, mut entry: Entry) {
        self.clock += 1;
        entry.used = self.clock;
        let size = size(&key, &entry);
        let share = self.shares.entry(entry.owner.clone()).or_default();
        share.bytes += size;
        share.order.insert(entry.used, key.clone());
        self.bytes += size;
        self.entries.insert(key, entry);
    }

    fn touch(&mut self, key: &str) -> Option<Bytes> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        let order = &mut self.shares.get_mut(&entry.owner)?.order;
        let name = order.remove(&entry.used)?;
        entry.used = self.clock;
        order.insert(entry.used, name);
        Some(entry.value.clone())
    }

    fn remove(&mut self, key: &str) {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        let size = size(&key, &entry);
        self.bytes -= size;
        if let Some(share) = self.shares.get_mut(&entry.owner) {
            share.bytes -= size;
            share.order.remove(&entry.used);
            if share.order.is_empty() {
                self.shares.remove(&entry.owner);
            }
        }
    }

    /// Removes what was used longest ago until everybody keeps to the bounds.
    fn shrink(&mut self, owner: &str) {
        let limits = limits();
        let (own, all) = (limits.size(Limit::Cache), limits.size(Limit::TotalCache));
        while self.shares.get(owner).is_some_and(|share| share.bytes > own) {
            self.remove_oldest(owner);
        }
        while self.bytes > all {
            let largest = self.shares.iter().max_by_key(|(_, share)| share.bytes);
            let Some(largest) = largest.map(|(owner, _)| owner.clone()) else { return };
            self.remove_oldest(&largest);
        }
    }

    fn remove_oldest(&mut self, owner: &str) {
        let oldest = self.shares.get(owner).and_then(|share| share.order.values().next().cloned());
        if let Some(key) = oldest {
            self.remove(&key);
        }
    }
}

/// The key is kept twice: by name, and by its last use.
fn size(key: &str, entry: &Entry) -> usize {
    CACHE_ENTRY_OVERHEAD + 2 * key.len() + entry.value.len() + entry.owner.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_CACHE_BYTES: usize = 24 << 20;
    const MAX_CACHE_BYTES_OF_PLUGIN: usize = 8 << 20;

    #[test]
    fn an_entry_lives_as_long_as_it_was_set_to() {
        let entries = Entries::default();
        let set = |key, ttl| entries.set("p", key, b"1", ttl);
        set("short", Some(Duration::from_nanos(1)));
        set("long", Some(Duration::from_secs(3600)));
        set("ever", None);
        assert_eq!(entries.get("short"), None);
        assert!(entries.get("long").is_some() && entries.get("ever").is_some());
        set("ever", Some(Duration::from_nanos(1)));
        entries.delete("long");
        assert!(entries.get("ever").is_none() && entries.get("long").is_none());
        assert_eq!(entries.0.lock().bytes, 0);
        assert!(entries.0.lock().shares.is_empty());
    }

    #[test]
    fn a_plugin_takes_its_share_and_nobody_elses() {
        let entries = Entries::default();
        entries.set("mate", "kept", b"1", None);
        let each = CACHE_ENTRY_OVERHEAD + 2 * 8 + "evil".len();
        let fitting = MAX_CACHE_BYTES_OF_PLUGIN / each;
        for n in 0..fitting {
            entries.set("evil", &format!("{n:08}"), b"", None);
        }
        assert!(entries.get("00000000").is_some(), "as many as fit");
        entries.set("evil", "99999999", b"", None);
        assert!(entries.get("00000001").is_none() && entries.get("00000000").is_some(), "the oldest use goes");
        assert!(entries.0.lock().shares["evil"].bytes <= MAX_CACHE_BYTES_OF_PLUGIN);
        assert!(entries.get("kept").is_some());
    }

    #[test]
    fn in_all_the_largest_gives_way() {
        let entries = Entries::default();
        let value = vec![0; 1 << 20];
        entries.set("small", "small", b"1", None);
        for plugin in ["a", "b", "c", "d"] {
            (0..7).for_each(|n| entries.set(plugin, &format!("{plugin}{n}"), &value, None));
        }
        let inner = entries.0.lock();
        assert!(inner.bytes <= MAX_CACHE_BYTES && inner.bytes > MAX_CACHE_BYTES - (2 << 20));
        assert!(inner.entries.contains_key("small"));
        assert!(inner.shares.values().all(|share| share.bytes <= MAX_CACHE_BYTES_OF_PLUGIN));
    }
}
