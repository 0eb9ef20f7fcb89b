//! Each plugin's own storage: keys and values that outlive its processes. Embedded in a file of its own, or in PostgreSQL
//! under a role of its own, so that plugins cannot reach it by the database. Does I/O.

mod embedded;
mod postgres;

use crate::bounds::MAX_VALUE_MESSAGE;
use bytes::Bytes;
use std::{path::Path, time::Duration};

/// A list of keys, in bytes: it is one message.
const MAX_KEYS: usize = MAX_VALUE_MESSAGE - 1024;
/// An operation that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    #[error("key not found: '{0}'")]
    NotFound(String),
    #[error("the storage did not answer within {}s", DEADLINE.as_secs())]
    Timeout,
    #[error("the plugin's storage is full: it may have {0} (limits.storage)")]
    Full(String),
    #[error("the keys of the plugin's storage have more than the {MAX_KEYS} bytes that fit into a list")]
    ManyKeys,
    #[error("the storage failed: {0}")]
    Failed(String),
}

/// See the module.
#[derive(Debug)]
pub enum Storage {
    Embedded(embedded::Store),
    Postgres(postgres::Store),
    /// Its address is no good.
    Unusable(String),
}

impl Storage {
    /// `host` tells the plugins of several hosts apart that share one server.
    #[must_use]
    pub fn new(address: Option<&str>, data: &Path, host: &str) -> Self {
        let Some(address) = address else { return Self::Embedded(embedded::Store::new(data)) };
        match postgres::Store::new(address, host) {
            Ok(store) => Self::Postgres(store),
            Err(error) => {
                tracing::error!("Plugins have no storage: {error}");
                Self::Unusable(error)
            }
        }
    }

    pub async fn get(&self, plugin: &str, key: &str) -> Result<Bytes, StorageError> {
        let value = match self {
            Self::Embedded(store) => store.get(plugin, key).await?,
            Self::Postgres(store) => store.get(plugin, key).await?,
            Self::Unusable(error) => return Err(StorageError::Failed(error.clone())),
        };
        value.map(Bytes::from).ok_or_else(|| StorageError::NotFound(key.to_owned()))
    }

    pub async fn set(&self, plugin: &str, key: &str, value: Bytes) -> Result<(), StorageError> {
        match self {
            Self::Embedded(store) => store.set(plugin, key, value).await,
            Self::Postgres(store) => store.set(plugin, key, &value).await,
            Self::Unusable(error) => Err(StorageError::Failed(error.clone())),
        }
    }

    /// An absent key is no error.
    pub async fn delete(&self, plugin: &str, key: &str) -> Result<(), StorageError> {
        match self {
            Self::Embedded(store) => store.delete(plugin, key).await,
            Self::Postgres(store) => store.delete(plugin, key).await,
            Self::Unusable(error) => Err(StorageError::Failed(error.clone())),
        }
    }

    /// The keys in their order.
    pub async fn list(&self, plugin: &str) -> Result<Vec<String>, StorageError> {
        match self {
            Self::Embedded(store) => store.list(plugin).await,
            Self::Postgres(store) => store.list(plugin).await,
            Self::Unusable(error) => Err(StorageError::Failed(error.clone())),
        }
    }

    pub async fn clear(&self, plugin: &str) -> Result<(), StorageError> {
        match self {
            Self::Embedded(store) => store.clear(plugin).await,
            Self::Postgres(store) => store.clear(plugin).await,
            Self::Unusable(error) => Err(StorageError::Failed(error.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plugins_do_not_see_each_others_keys_and_a_restart_keeps_them() {
        let data = tempfile::tempdir().unwrap();
        let storage = Storage::new(None, data.path(), "");
        storage.set("p", "k", Bytes::from_static(b"1")).await.unwrap();
        storage.set("q", "k", Bytes::from_static(b"2")).await.unwrap();
        storage.set("p", "a", Bytes::new()).await.unwrap();
        storage.clear("q").await.unwrap();
        drop(storage);
        let storage = Storage::new(None, data.path(), "");
        assert_eq!(storage.list("p").await.unwrap(), ["a", "k"]);
        assert_eq!(storage.get("p", "k").await.unwrap(), "1");
        assert_eq!(storage.get("q", "k").await, Err(StorageError::NotFound("k".into())));
        storage.delete("p", "k").await.unwrap();
        storage.delete("p", "k").await.unwrap();
        assert_eq!(storage.list("p").await.unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn a_plugin_fills_its_share_and_can_make_room() {
        let data = tempfile::tempdir().unwrap();
        let storage = Storage::new(None, data.path(), "");
        let each = (64 << 20) / 16;
        let value = |size: usize| Bytes::from(vec![0; size - 2 - "p".len() - 32]);
        for n in 10..26 {
            storage.set("p", &n.to_string(), value(each)).await.unwrap();
        }
        let full = storage.set("p", "99", Bytes::new()).await.unwrap_err();
        assert_eq!(full.to_string(), "the plugin's storage is full: it may have 64Mi (limits.storage)");
        storage.set("p", "10", value(each)).await.unwrap();
        assert_eq!(storage.set("p", "10", value(each + 1)).await, Err(full.clone()));
        storage.set("q", "k", Bytes::new()).await.unwrap();
        storage.delete("p", "10").await.unwrap();
        storage.set("p", "99", Bytes::new()).await.unwrap();
        drop(storage);
        let storage = Storage::new(None, data.path(), "");
        assert_eq!(storage.set("p", "10", value(each)).await, Err(full), "it is counted after a restart");
        storage.clear("p").await.unwrap();
        storage.set("p", "10", value(each)).await.unwrap();
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_said_at_each_use() {
        let data = tempfile::tempdir().unwrap();
        let storage = Storage::new(Some("ftp://x"), data.path(), "");
        let error = storage.get("p", "k").await.unwrap_err().to_string();
        assert!(error.starts_with("the storage failed: backends.storage:"), "{error}");
    }
}
