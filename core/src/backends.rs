//! Which engines stand behind what the framework offers to plugins, by their addresses. Pure.

use serde::{Deserialize, Serialize};

/// What is left out is embedded in the sidecar.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// `postgres://…`, `sqlite:PATH`; embedded: SQLite in the data directory.
    pub database: Option<String>,
    /// `redis://…`; embedded: in the sidecar's memory.
    pub cache: Option<String>,
    /// `postgres://…`; embedded: in the data directory.
    pub storage: Option<String>,
    /// `nats://…`; embedded: in the sidecar, so that only plugins of one sidecar hear of each other.
    pub events: Option<String>,
    /// What is dropped where a subscriber, or the engine, does not keep up.
    #[serde(default)]
    pub event_overflow: EventOverflow,
    /// File of the framework's configuration.
    pub config: Option<String>,
}

/// Which event goes when a queue of events is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOverflow {
    #[default]
    DropNewest,
    DropOldest,
}
