//! The framework's cache.

use super::{Context, key_value};
use crate::cache::CacheError;
use rockstar_core::permission::Permission;
use rockstar_proto::{
    plugin::{KeyValueReply, KeyValueRequest, key_value_request::Operation},
    types::failure::Class,
};
use std::time::Duration;
use tonic::{Response, Status};

impl Context {
    pub(super) async fn cached(&self, request: KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        if let Err(denied) = self.allowed(Permission::Cache) {
            return Ok(key_value::failed(denied));
        }
        let cache = self.framework.backends.cache();
        let (key, ttl) = (request.key.as_str(), request.ttl_ms);
        let done = match request.operation() {
            Operation::Get => cache.get(key).await.map(key_value::found),
            Operation::Set => {
                let ttl = (ttl > 0).then(|| Duration::from_millis(ttl));
                cache.set(self.slot.name(), key, request.value, ttl).await.map(key_value::done)
            }
            Operation::Delete => cache.delete(key).await.map(key_value::done),
            other => return Err(key_value::unknown("Cache", other)),
        };
        let failure = |error: CacheError| self.failure(Class::Unreachable, "cache", error.to_string());
        Ok(done.unwrap_or_else(|error| key_value::failed(failure(error))))
    }
}
