//! The plugin's configuration with typed getters. Pure.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};

/// This plugin's configuration, defaults included; a snapshot, cheap to clone.
///
/// ```
/// # use rockstar_plugin::{Result, json, testing::MockPluginContext};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new().with_config(json!({"api_key": "k", "timeout": "1m30s"}));
/// # let ctx = mock.context();
/// let config = ctx.plugin_config();
/// let key = config.required("api_key")?;
/// let timeout = config.duration("timeout").unwrap_or(Duration::from_secs(30));
/// let retries = config.integer("retries").unwrap_or(3);
/// # assert_eq!((key, timeout, retries), ("k", Duration::from_secs(90), 3));
/// # assert_eq!(config.required("name").unwrap_err().to_string(), "name is required");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig(Arc<Map<String, Value>>);

/// A key that is absent or of another type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} is required")]
    Missing(String),
    #[error("configuration does not have the expected form: {0}")]
    Form(String),
}

impl PluginConfig {
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self(Arc::new(values))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    #[must_use]
    pub fn string(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The string of a key that the plugin cannot do without.
    pub fn required(&self, key: &str) -> Result<&str, ConfigError> {
        self.string(key).filter(|s| !s.is_empty()).ok_or_else(|| ConfigError::Missing(key.into()))
    }

    #[must_use]
    pub fn integer(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    #[must_use]
    pub fn float(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    #[must_use]
    pub fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// A duration as the reference writes it: `24h`, `1h30m`, `100ms`.
    #[must_use]
    pub fn duration(&self, key: &str) -> Option<Duration> {
        parse_duration(self.string(key)?)
    }

    #[must_use]
    pub fn array(&self, key: &str) -> Option<&[Value]> {
        self.get(key)?.as_array().map(Vec::as_slice)
    }

    #[must_use]
    pub fn object(&self, key: &str) -> Option<&Map<String, Value>> {
        self.get(key)?.as_object()
    }

    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The whole configuration as the plugin's own type.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        T::deserialize(Value::Object((*self.0).clone())).map_err(|e| ConfigError::Form(e.to_string()))
    }
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        seconds += number * unit_seconds(&after[..end])?;
        rest = &after[end..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" | "μs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(values: Value) -> PluginConfig {
        PluginConfig::new(values.as_object().unwrap().clone())
    }

    #[test]
    fn durations_are_gos() {
        let millis = |t| parse_duration(t).map(|d| d.as_millis());
        assert_eq!(millis("24h"), Some(86_400_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("100ms"), Some(100));
        assert_eq!(millis("0"), Some(0));
        for wrong in ["", "30", "1d", "abc", "h", "5 m", "-1s"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn getters_know_their_type() {
        let c = config(json!({"s": "x", "i": 3, "f": 1.5, "b": true, "d": "30s", "a": [1], "o": {"k": 1}}));
        assert_eq!((c.string("s"), c.integer("i"), c.float("f")), (Some("x"), Some(3), Some(1.5)));
        assert_eq!((c.boolean("b"), c.duration("d")), (Some(true), Some(Duration::from_secs(30))));
        assert_eq!((c.array("a").unwrap().len(), c.object("o").unwrap().len()), (1, 1));
        assert_eq!((c.string("i"), c.integer("none")), (None, None));
        assert_eq!(c.required("none").unwrap_err().to_string(), "none is required");
    }
}
