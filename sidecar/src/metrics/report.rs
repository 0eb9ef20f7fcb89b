//! The reference's GetPluginMetrics: what is measured of one plugin, by dotted names, as JSON. Pure.

use super::{millis, unix};
use crate::slot::{Health, HookMetrics, Slot, Status};
use serde_json::{Map, Value, json};

/// What the framework measures of it, and what it measures itself.
#[must_use]
pub fn report(slot: &Slot) -> Map<String, Value> {
    let mut report = slot.meters.to_json();
    report.extend(measured(slot.status(), &slot.health()));
    report
}

fn measured(status: Status, health: &Health) -> Map<String, Value> {
    let (message, at) = match &health.last_error {
        Some((text, at)) => (json!(text), json!(unix(*at))),
        None => (Value::Null, Value::Null),
    };
    let by_hook = |value: fn(&HookMetrics) -> Value| -> Value {
        health.hooks.iter().map(|hook| (hook.hook.name().to_owned(), value(hook))).collect::<Map<_, _>>().into()
    };
    let load = health.load;
    let all = [
        ("plugin.status", json!(status.name())),
        ("plugin.load.duration_ms", json!(load.map(|l| millis(l.took)))),
        ("plugin.load.success", json!(load.map(|l| u8::from(l.success)))),
        ("plugin.load.timestamp", json!(load.map(|l| unix(l.at)))),
        ("plugin.start.duration_ms", json!(health.start.map(millis))),
        ("plugin.start.success", json!(u8::from(status == Status::Running))),
        ("plugin.hook.execution_count", by_hook(|h| json!(h.executions))),
        ("plugin.hook.duration_ms", by_hook(|h| json!(millis(h.last)))),
        ("plugin.hook.error_count", by_hook(|h| json!(h.errors))),
        ("plugin.hook.average_duration_ms", by_hook(|h| json!(millis(h.average())))),
        ("plugin.error.count", json!(health.errors)),
        ("plugin.error.last_timestamp", at),
        ("plugin.error.last_message", message),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_null() {
        let report = measured(Status::Unloaded, &Health::default());
        assert_eq!(report["plugin.error.count"], 0);
        assert_eq!(report["plugin.error.last_message"], Value::Null);
        assert_eq!(report["plugin.hook.execution_count"], json!({}));
    }
}
