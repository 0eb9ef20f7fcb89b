//! The framework's configuration, by dotted paths. Calls go to the host.

use crate::{
    HostError, Value,
    config::parse_duration,
    host::{Host, KeyValue},
    value,
};
use rockstar_proto::plugin::{KeyValueRequest, key_value_request::Operation};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// As it is now, read from the host at every call; cheap to clone. An absent key is [`HostError::NotFound`].
///
/// ```
/// # use rockstar_plugin::{Result, json, testing::MockPluginContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let framework = json!({"database": {"host": "db.example", "port": 5432}});
/// # let mock = MockPluginContext::new().with_framework_config(framework);
/// # let ctx = mock.context();
/// let config = ctx.config();
/// let host = config.get_string("database.host").await?;
/// let port = config.get_int("database.port").await?;
/// # assert_eq!((host.as_str(), port), ("db.example", 5432));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FrameworkConfig(Host);

impl FrameworkConfig {
    pub(crate) const fn new(host: Host) -> Self {
        Self(host)
    }

    /// The value at a path, of any type that it can be read as.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T, HostError> {
        let request = KeyValueRequest { operation: Operation::Get.into(), key: key.into(), ..Default::default() };
        let reply = self.0.key_value(KeyValue::Config, request).await?;
        value::decoded(key, reply.value)
    }

    /// Numbers and flags are given as they are written.
    pub async fn get_string(&self, key: &str) -> Result<String, HostError> {
        self.read(key, "a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        })
        .await
    }

    /// Text that is a number is one: environment and config maps hold nothing but text.
    pub async fn get_int(&self, key: &str) -> Result<i64, HostError> {
        self.read(key, "an integer", |value| value.as_i64().or_else(|| value.as_str()?.parse().ok())).await
    }

    pub async fn get_float(&self, key: &str) -> Result<f64, HostError> {
        self.read(key, "a number", |value| value.as_f64().or_else(|| value.as_str()?.parse().ok())).await
    }

    pub async fn get_bool(&self, key: &str) -> Result<bool, HostError> {
        self.read(key, "true or false", |value| value.as_bool().or_else(|| value.as_str()?.parse().ok())).await
    }

    /// As the reference writes durations: `24h`, `1h30m`, `100ms`.
    pub async fn get_duration(&self, key: &str) -> Result<Duration, HostError> {
        self.read(key, "a duration", |value| parse_duration(value.as_str()?)).await
    }

    async fn read<T>(&self, key: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, HostError> {
        let value: Value = self.get(key).await?;
        read(&value).ok_or_else(|| HostError::Type(format!("configuration key '{key}' is not {wanted}")))
    }
}
