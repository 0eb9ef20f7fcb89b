//! The plugin's logger: structured records to the host, which adds the plugin's name. Never waits.

use crate::telemetry::Telemetry;
use rockstar_proto::{
    plugin::{Record, record},
    types,
};
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Clones share the level, not the fields.
///
/// ```
/// # use rockstar_plugin::{Result, json, testing::MockPluginContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let ctx = mock.context();
/// let logger = ctx.logger();
/// logger.info("Plugin started");
/// logger.debug("not logged: the level is Info at first");
/// let logger = logger.with_fields([("user_id", json!(123))]);
/// logger.warn("no such user");
/// # let logs = mock.logs().await;
/// # assert_eq!((logs.len(), logs[0].text.as_str()), (2, "Plugin started"));
/// # assert_eq!((logs[1].level.as_str(), &logs[1].fields["user_id"]), ("warn", &json!(123)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Logger {
    telemetry: Telemetry,
    level: Arc<AtomicU8>,
    fields: Vec<(String, types::Value)>,
}

impl Logger {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, level: Arc::new(AtomicU8::new(Level::Info as u8)), fields: Vec::new() }
    }

    pub fn debug(&self, text: impl Into<String>) {
        self.log(Level::Debug, text);
    }

    pub fn info(&self, text: impl Into<String>) {
        self.log(Level::Info, text);
    }

    pub fn warn(&self, text: impl Into<String>) {
        self.log(Level::Warn, text);
    }

    pub fn error(&self, text: impl Into<String>) {
        self.log(Level::Error, text);
    }

    /// A logger whose records carry these fields too: `with_fields([("user_id", json!(123))])`.
    #[must_use]
    pub fn with_fields<K: Into<String>, V: Into<Value>>(&self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut logger = self.clone();
        logger.fields.extend(fields.into_iter().map(|(k, v)| (k.into(), types::Value::from(&v.into()))));
        logger
    }

    /// What is logged from now on by this plugin; at first Info and above.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        let record = Record { kind: record::Kind::Level.into(), level: level.as_str().into(), ..Record::default() };
        self.telemetry.send(record);
    }

    fn log(&self, level: Level, text: impl Into<String>) {
        if (level as u8) < self.level.load(Ordering::Relaxed) {
            return;
        }
        self.telemetry.send(Record {
            kind: record::Kind::Log.into(),
            name: text.into(),
            level: level.as_str().into(),
            fields: self.fields.iter().cloned().collect(),
            ..Record::default()
        });
    }
}
