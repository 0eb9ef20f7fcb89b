//! The plugin's own storage. Calls go to the host.

use crate::{
    HostError,
    host::{Host, KeyValue},
    value,
};
use bytes::Bytes;
use rockstar_proto::{
    plugin::{KeyValueReply, KeyValueRequest, key_value_request::Operation},
    types::{self, value::Kind},
};
use serde::{Serialize, de::DeserializeOwned};
use std::time::SystemTime;

/// Keys and values that outlive the plugin's processes; cheap to clone.
///
/// ```
/// # use rockstar_plugin::{HostError, Result, json, testing::MockPluginContext};
/// # use std::time::{Duration, SystemTime};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let ctx = mock.context();
/// let storage = ctx.storage();
/// storage.set("cursor", json!({"page": 7})).await?;
/// storage.set_time("last_sync", SystemTime::now()).await?;
/// let last_sync = storage.get_time("last_sync").await?;
/// let starts: u64 = match storage.get("starts").await {
///     Err(HostError::NotFound(_)) => 0,
///     found => found?,
/// };
/// # assert!(last_sync.elapsed()? < Duration::from_secs(60));
/// # assert_eq!((starts, &mock.storage()["cursor"]), (0, &json!({"page": 7})));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Storage(Host);

impl Storage {
    pub(crate) const fn new(host: Host) -> Self {
        Self(host)
    }

    /// An absent key is [`HostError::NotFound`].
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, HostError> {
        value::decoded(key, self.call(Operation::Get, key, Bytes::new()).await?.value)
    }

    pub async fn set(&self, key: &str, value: impl Serialize) -> Result<(), HostError> {
        self.call(Operation::Set, key, value::encoded(value)?).await.map(drop)
    }

    /// A moment, as plugins in every language know it.
    pub async fn get_time(&self, key: &str) -> Result<SystemTime, HostError> {
        let value = value::value(key, self.call(Operation::Get, key, Bytes::new()).await?.value)?;
        match value.kind {
            Some(Kind::TimeUnixNs(at)) => Ok(value::moment(at)),
            _ => Err(HostError::Type(format!("the value of '{key}' is of another type: it is no time"))),
        }
    }

    pub async fn set_time(&self, key: &str, at: SystemTime) -> Result<(), HostError> {
        let value = types::Value { kind: Some(value::time(at)) };
        self.call(Operation::Set, key, value.encode()).await.map(drop)
    }

    /// An absent key is no error.
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.call(Operation::Delete, key, Bytes::new()).await.map(drop)
    }

    /// All keys, in their order.
    pub async fn list(&self) -> Result<Vec<String>, HostError> {
        Ok(self.call(Operation::List, "", Bytes::new()).await?.keys)
    }

    /// Deletes everything.
    pub async fn clear(&self) -> Result<(), HostError> {
        self.call(Operation::Clear, "", Bytes::new()).await.map(drop)
    }

    async fn call(&self, operation: Operation, key: &str, value: Bytes) -> Result<KeyValueReply, HostError> {
        let request = KeyValueRequest { operation: operation.into(), key: key.to_owned(), value, ttl_ms: 0 };
        self.0.key_value(KeyValue::Storage, request).await
    }
}
