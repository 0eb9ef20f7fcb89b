//! The plugin's storage.

use super::{Context, key_value};
use crate::storage::StorageError;
use rockstar_proto::{
    plugin::{KeyValueReply, KeyValueRequest, key_value_request::Operation},
    types::{Failure, failure::Class},
};
use tonic::{Response, Status};

impl Context {
    pub(super) async fn stored(&self, request: KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        let storage = self.framework.backends.storage();
        let (plugin, key) = (self.slot.name(), request.key.as_str());
        let done = match request.operation() {
            Operation::Get => storage.get(plugin, key).await.map(|value| key_value::found(Some(value))),
            Operation::Set => storage.set(plugin, key, request.value).await.map(key_value::done),
            Operation::Delete => storage.delete(plugin, key).await.map(key_value::done),
            Operation::List => storage.list(plugin).await.map(key_value::keys),
            Operation::Clear => storage.clear(plugin).await.map(key_value::done),
            Operation::Unspecified => return Err(key_value::unknown("Storage", Operation::Unspecified)),
        };
        Ok(done.unwrap_or_else(|error| key_value::failed(self.not_stored(&error))))
    }

    fn not_stored(&self, error: &StorageError) -> Failure {
        let class = match error {
            StorageError::NotFound(_) => Class::NotFound,
            StorageError::Timeout => Class::Timeout,
            StorageError::Failed(_) => Class::Unreachable,
            StorageError::Full(_) | StorageError::ManyKeys => Class::Returned,
        };
        self.failure(class, "storage", error.to_string())
    }
}
