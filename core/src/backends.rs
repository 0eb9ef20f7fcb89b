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
    /// File of the framework's configuration.
    pub config: Option<String>,
}
