//! A plugin's records in the sidecar's log: filtered by the plugin's own level, bounded, with its name and fields.

use crate::process::Flood;
use parking_lot::Mutex;
use rockstar_proto::plugin::{Record, record::Kind};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tokio::time::Instant;

/// Longer texts are cut; a log is no transport.
const MAX_TEXT: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Unknown names are as loud as they may be wrong: info.
    fn named(name: &str) -> Self {
        match name {
            "debug" => Self::Debug,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => Self::Info,
        }
    }
}

/// The log of one process.
#[derive(Debug)]
pub(super) struct Journal {
    plugin: String,
    level: AtomicU8,
    flood: Mutex<Flood>,
}

impl Journal {
    pub(super) fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), level: AtomicU8::new(Level::Info as u8), flood: Mutex::new(Flood::new()) }
    }

    pub(super) fn take(&self, record: &Record) {
        let level = Level::named(&record.level);
        match record.kind() {
            Kind::Level => self.level.store(level as u8, Relaxed),
            Kind::Log if level as u8 >= self.level.load(Relaxed) && self.is_admitted() => self.write(level, record),
            _ => {}
        }
    }

    fn is_admitted(&self) -> bool {
        self.flood.lock().admits(Instant::now(), &self.plugin, "telemetry")
    }

    fn write(&self, level: Level, record: &Record) {
        let (plugin, text, fields) = (self.plugin.as_str(), cut(&record.name), fields(record));
        // Debug was asked for by the plugin itself: the sidecar's own filter must not hide it.
        match level {
            Level::Debug => tracing::info!(target: "plugin", plugin, fields, level = "debug", "{text}"),
            Level::Info => tracing::info!(target: "plugin", plugin, fields, "{text}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, fields, "{text}"),
            Level::Error => tracing::error!(target: "plugin", plugin, fields, "{text}"),
        }
    }
}

/// As JSON, cut like the text.
fn fields(record: &Record) -> Option<String> {
    let fields: Map<String, Value> = record.fields.iter().map(|(k, v)| (k.clone(), v.to_json())).collect();
    (!fields.is_empty()).then(|| cut(&Value::Object(fields).to_string()).to_owned())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, level: &str) -> Record {
        Record { kind: kind.into(), level: level.into(), name: "x".into(), ..Record::default() }
    }

    #[test]
    fn the_level_is_the_plugins_own() {
        let (p, q) = (Journal::new("p"), Journal::new("q"));
        p.take(&record(Kind::Level, "debug"));
        assert_eq!(p.level.load(Relaxed), Level::Debug as u8);
        assert_eq!(q.level.load(Relaxed), Level::Info as u8);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut(&"ä".repeat(MAX_TEXT)).len(), MAX_TEXT);
    }
}
