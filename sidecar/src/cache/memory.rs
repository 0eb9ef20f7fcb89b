//! The cache in the sidecar's memory, bounded by its size. No I/O.

use bytes::Bytes;
use moka::{Expiry, future::Cache};
use std::time::{Duration, Instant};

/// Keys and values together; the pod's memory is small.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
struct Entry {
    value: Bytes,
    ttl: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Entries(Cache<String, Entry>);

impl Entries {
    pub(super) fn new() -> Self {
        let weigh = |key: &String, entry: &Entry| u32::try_from(key.len() + entry.value.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().max_capacity(MOST_BYTES).weigher(weigh).expire_after(Ttl).build())
    }

    pub(super) async fn get(&self, key: &str) -> Option<Bytes> {
        self.0.get(key).await.map(|entry| entry.value)
    }

    pub(super) async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) {
        // What came with a message shares the message's memory.
        let value = Bytes::copy_from_slice(&value);
        self.0.insert(key.to_owned(), Entry { value, ttl }).await;
    }

    pub(super) async fn delete(&self, key: &str) {
        self.0.invalidate(key).await;
    }
}

/// Each entry has its own time to live, counted from the last time it was set.
struct Ttl;

impl Expiry<String, Entry> for Ttl {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        entry.ttl
    }

    fn expire_after_update(&self, _: &String, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        entry.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_entry_lives_as_long_as_it_was_set_to() {
        let entries = Entries::new();
        entries.set("short", Bytes::from_static(b"1"), Some(Duration::from_nanos(1))).await;
        entries.set("long", Bytes::from_static(b"1"), Some(Duration::from_secs(3600))).await;
        entries.set("ever", Bytes::from_static(b"1"), None).await;
        assert_eq!(entries.get("short").await, None);
        assert!(entries.get("long").await.is_some() && entries.get("ever").await.is_some());
        entries.set("ever", Bytes::new(), Some(Duration::from_nanos(1))).await;
        entries.delete("long").await;
        assert!(entries.get("ever").await.is_none() && entries.get("long").await.is_none());
    }
}
