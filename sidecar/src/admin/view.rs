//! Plugins and their health as JSON. Pure.

use crate::{
    manager::PluginInfo,
    slot::{Health, HookMetrics, State},
};
use rockstar_core::{
    assignment::{ErrorThreshold, ThresholdAction},
    duration,
};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

pub(super) fn plugin(info: &PluginInfo, health: Option<&Health>) -> Value {
    let manifest = info.target.as_ref().map(|t| &t.body.manifest);
    let last_error = health.and_then(|h| h.last_error.as_ref());
    json!({
        "name": info.name,
        "version": manifest.map(|m| m.version.to_string()),
        "description": manifest.map(|m| &m.description),
        "author": manifest.map(|m| &m.author),
        "manifest": manifest,
        "revision": info.target.as_ref().map(|t| t.assignment.revision.to_string()),
        "loaded": info.state.loaded_at.is_some(),
        "enabled": info.state.enabled,
        "loadTime": info.state.loaded_at.map(time),
        "status": info.state.status.name(),
        "order": info.order,
        "proven": info.state.proven,
        "restarts": info.state.restarts,
        "permissions": info.target.as_ref().map(|t| &t.assignment.permissions),
        "policies": info.target.as_ref().map(|t| &t.assignment.policies),
        "queued": info.queued,
        "disabledByThreshold": info.state.disabled_by_threshold,
        "errorCount": health.map(|h| h.errors),
        "lastError": last_error.map(|(text, _)| text),
    })
}

pub(super) fn health(name: &str, state: &State, health: &Health, threshold: Option<&ErrorThreshold>) -> Value {
    let last_error = health.last_error.as_ref();
    let hooks: Map<_, _> = health.hooks.iter().map(|h| (h.hook.name().to_owned(), hook(h))).collect();
    json!({
        "name": name,
        "status": state.status.name(),
        "errorCount": health.errors,
        "lastError": last_error.map(|(text, _)| text),
        "lastErrorAt": last_error.map(|(_, at)| time(*at)),
        "loadTimeMs": health.load.map(|load| millis(load.took)),
        "hookMetrics": hooks,
        "errorThreshold": threshold.map(rule),
        "disabledByThreshold": state.disabled_by_threshold,
    })
}

fn hook(metrics: &HookMetrics) -> Value {
    json!({
        "executionCount": metrics.executions,
        "totalDurationMs": millis(metrics.total),
        "averageDurationMs": millis(metrics.average()),
        "errorCount": metrics.errors,
    })
}

fn rule(rule: &ErrorThreshold) -> Value {
    json!({
        "maxErrors": rule.max_errors,
        "timeWindow": duration::format(rule.time_window),
        "action": match rule.action {
            ThresholdAction::Disable => "disable",
            ThresholdAction::Log => "log",
            ThresholdAction::Alert => "alert",
        },
        "resetOnSuccess": rule.reset_on_success,
    })
}

fn time(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| at.to_string())
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}
