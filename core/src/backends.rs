//! Which engines stand behind what the framework offers to plugins, by their addresses, and the framework's configuration
//! as a ConfigMap holds it. Pure.

use crate::document::{self, DocumentError, Format};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Begins an address that could not be had; why follows. The service is not embedded instead.
pub const MISSING: &str = "missing:";

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

impl EventOverflow {
    pub const ALL: [Self; 2] = [Self::DropNewest, Self::DropOldest];

    /// As it is written in files, and told to a sidecar.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
        }
    }

    /// What an operator tells. A word that this version does not know drops what comes last.
    #[must_use]
    pub fn told(word: &str) -> Self {
        Self::ALL.into_iter().find(|overflow| overflow.name() == word).unwrap_or_default()
    }
}

/// Entries that cannot be read as configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    #[error("{entry}: {cause}")]
    Syntax { entry: String, cause: DocumentError },
    #[error("{0}: the configuration must be a mapping")]
    NoMapping(String),
}

/// The PostgreSQL role of both database and storage: a plugin's SQL would reach the storage of all plugins.
#[must_use]
pub fn shared_role(database: Option<&str>, storage: Option<&str>) -> Option<String> {
    let (database, storage) = (role(database?)?, role(storage?)?);
    (database == storage).then_some(database.0)
}

/// With the servers where it is one: the same name elsewhere is another role.
fn role(address: &str) -> Option<(String, &str)> {
    let rest = address.strip_prefix("postgres://").or_else(|| address.strip_prefix("postgresql://"))?;
    let (place, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (credentials, servers) = place.rsplit_once('@').unwrap_or(("", place));
    let parameters = rest.split_once('?').map_or("", |(_, parameters)| parameters).split('&');
    let named = parameters.filter_map(|parameter| parameter.strip_prefix("user=")).next_back();
    let name = named.unwrap_or_else(|| credentials.split(':').next().unwrap_or_default());
    let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
    (!name.is_empty()).then_some((name, servers))
}

/// Entries named as files are documents; others are values, under dotted paths: `database.host`.
pub fn configuration(entries: &BTreeMap<String, String>) -> Result<Map<String, Value>, ConfigurationError> {
    let mut whole = Map::new();
    for (entry, text) in entries {
        match entry.rsplit_once('.').and_then(|(_, extension)| Format::from_extension(extension)) {
            Some(format) => merge(&mut whole, document(entry, text, format)?),
            None => merge(&mut whole, nested(entry, Value::String(text.clone()))),
        }
    }
    Ok(whole)
}

fn document(entry: &str, text: &str, format: Format) -> Result<Map<String, Value>, ConfigurationError> {
    let syntax = |cause| ConfigurationError::Syntax { entry: entry.to_owned(), cause };
    match document::parse_all(text, format).map_err(syntax)?.into_iter().next().map(|d| d.value) {
        None => Ok(Map::new()),
        Some(Value::Object(values)) => Ok(values),
        Some(_) => Err(ConfigurationError::NoMapping(entry.to_owned())),
    }
}

fn nested(path: &str, value: Value) -> Map<String, Value> {
    match path.split_once('.') {
        Some((first, rest)) => Map::from_iter([(first.to_owned(), Value::Object(nested(rest, value)))]),
        None => Map::from_iter([(path.to_owned(), value)]),
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(entries: &[(&str, &str)]) -> Result<Map<String, Value>, ConfigurationError> {
        configuration(&entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn documents_and_dotted_names_make_one_configuration() {
        let entries = [("app.yaml", "database: {port: 5432, host: a}"), ("database.host", "b"), ("x.toml", "y = 1")];
        let wanted = json!({"database": {"port": 5432, "host": "b"}, "y": 1});
        assert_eq!(Value::Object(read(&entries).unwrap()), wanted);
    }

    #[test]
    fn what_is_not_known_drops_what_comes_last() {
        for overflow in EventOverflow::ALL {
            assert_eq!(EventOverflow::told(overflow.name()), overflow);
        }
        assert_eq!([EventOverflow::told(""), EventOverflow::told("drop_all")], [EventOverflow::DropNewest; 2]);
    }

    #[test]
    fn a_role_is_the_same_only_on_the_same_server() {
        let shared = |database, storage| shared_role(Some(database), Some(storage));
        assert_eq!(
            shared("postgres://app:a@db/x", "postgresql://a%70p:b@db/y?sslmode=require").as_deref(),
            Some("app")
        );
        assert_eq!(shared("postgres://db/x?user=app", "postgres://app@db").as_deref(), Some("app"));
        assert_eq!(shared("postgres://app@db/x", "postgres://storage@db/x"), None);
        assert_eq!(shared("postgres://app@db/x", "postgres://app@other/x"), None);
        assert_eq!(shared("sqlite:x", "postgres://app@db/x"), None);
        assert_eq!(shared_role(None, Some("postgres://app@db/x")), None);
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named() {
        let error = read(&[("app.json", "{")]).unwrap_err().to_string();
        assert!(error.starts_with("app.json: "), "{error}");
        assert_eq!(read(&[("a.yaml", "- 1")]).unwrap_err().to_string(), "a.yaml: the configuration must be a mapping");
    }
}
