//! `[LEVEL] text`. What a plugin printed or logged begins with its name and shows its fields; our own texts say all
//! themselves. Pure.

use rockstar_core::text::{MAX_LOGGED, bounded};
use std::fmt::{self, Write};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// What a plugin printed, or recorded, in one line.
const MAX_TEXT: usize = 20 << 10;

#[derive(Debug)]
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let level = if parts.is_debug { "DEBUG" } else { level(*event.metadata().level()) };
        match event.metadata().target() {
            // One record, one line: what came from a plugin must not look like another record.
            "plugin" => {
                let (message, fields) = (bounded(&parts.message, MAX_TEXT), bounded(&parts.fields, MAX_TEXT));
                writeln!(writer, "[{level}] {}: {message}{fields}", parts.plugin)
            }
            _ => writeln!(writer, "[{level}] {}", bounded(&parts.message, MAX_LOGGED)),
        }
    }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE | Level::DEBUG => "DEBUG",
        Level::INFO => "INFO",
        Level::WARN => "WARN",
        Level::ERROR => "ERROR",
    }
}

#[derive(Default)]
struct Parts {
    plugin: String,
    message: String,
    fields: String,
    /// A plugin asked for these, and they pass the sidecar's own filter as something louder.
    is_debug: bool,
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "plugin" => self.plugin = value.to_owned(),
            "message" => self.message = value.to_owned(),
            "level" => self.is_debug = value == "debug",
            name => drop(write!(self.fields, " {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
