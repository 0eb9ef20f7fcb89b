//! The framework's cache, which all plugins share: in the sidecar's memory, or a Redis server. Does I/O.

mod memory;
mod redis;

use bytes::Bytes;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    #[error("the cache failed: {0}")]
    Failed(String),
}

/// See the module.
#[derive(Debug)]
pub enum Cache {
    Memory(memory::Entries),
    Redis(redis::Server),
    /// Its address is no good.
    Unusable(String),
}

impl Cache {
    #[must_use]
    pub fn new(address: Option<&str>) -> Self {
        let Some(address) = address else { return Self::Memory(memory::Entries::default()) };
        match redis::Server::new(address) {
            Ok(server) => Self::Redis(server),
            Err(error) => {
                tracing::error!("Plugins have no cache: {error}");
                Self::Unusable(error)
            }
        }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        match self {
            Self::Memory(entries) => Ok(entries.get(key)),
            Self::Redis(server) => server.get(key).await,
            Self::Unusable(error) => Err(CacheError::Failed(error.clone())),
        }
    }

    /// Without a time to live an entry stays until there is no room for it.
    pub async fn set(&self, plugin: &str, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<(), CacheError> {
        match self {
            Self::Memory(entries) => {
                entries.set(plugin, key, &value, ttl);
                Ok(())
            }
            Self::Redis(server) => server.set(key, value, ttl).await,
            Self::Unusable(error) => Err(CacheError::Failed(error.clone())),
        }
    }

    /// An absent key is no error.
    pub async fn delete(&self, key: &str) -> Result<(), CacheError> {
        match self {
            Self::Memory(entries) => {
                entries.delete(key);
                Ok(())
            }
            Self::Redis(server) => server.delete(key).await,
            Self::Unusable(error) => Err(CacheError::Failed(error.clone())),
        }
    }
}
