//! The framework's cache. Calls go to the host.

use crate::{
    HostError,
    host::{Host, KeyValue},
    value,
};
use rockstar_proto::plugin::{KeyValueReply, KeyValueRequest, key_value_request::Operation};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// Shared by all plugins; cheap to clone.
///
/// ```
/// # use rockstar_plugin::{PluginContext, Result, testing::MockPluginContext};
/// # use std::time::Duration;
/// # async fn user(ctx: PluginContext) -> Result<String> {
/// let cache = ctx.cache();
/// if let Some(name) = cache.get::<String>("user:123").await? {
///     return Ok(name);
/// }
/// let name = "Ada".to_owned();
/// cache.set("user:123", &name, Duration::from_secs(300)).await?;
/// # Ok(name)
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # assert_eq!((user(mock.context()).await?, &mock.cache()["user:123"]), ("Ada".into(), &"Ada".into()));
/// # mock.put_into_cache("user:123", "Eve");
/// # assert_eq!(user(mock.context()).await?, "Eve");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cache(Host);

impl Cache {
    pub(crate) const fn new(host: Host) -> Self {
        Self(host)
    }

    /// None: it was not set, or its time is over.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, HostError> {
        let reply = self.call(Operation::Get, key, None, Duration::ZERO).await?;
        reply.found.then(|| value::decoded(key, reply.value)).transpose()
    }

    /// With a time to live of zero it stays until there is no room for it.
    pub async fn set(&self, key: &str, value: impl Serialize, ttl: Duration) -> Result<(), HostError> {
        let value = value::encoded(value)?;
        self.call(Operation::Set, key, Some(value), ttl).await.map(drop)
    }

    /// An absent key is no error.
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.call(Operation::Delete, key, None, Duration::ZERO).await.map(drop)
    }

    async fn call(
        &self,
        operation: Operation,
        key: &str,
        value: Option<bytes::Bytes>,
        ttl: Duration,
    ) -> Result<KeyValueReply, HostError> {
        // Less than a millisecond is not for ever.
        let at_least = u64::from(!ttl.is_zero());
        let request = KeyValueRequest {
            operation: operation.into(),
            key: key.to_owned(),
            value: value.unwrap_or_default(),
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(at_least),
        };
        self.0.key_value(KeyValue::Cache, request).await
    }
}
