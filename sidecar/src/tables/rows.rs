//! What the tables say of the plugins as they are now. Pure, but for reading the manager.

use crate::{manager::Manager, slot::HookMetrics};
use std::time::SystemTime;

/// Of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub(super) plugins: Vec<PluginRow>,
    pub(super) hooks: Vec<HookRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PluginRow {
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) errors: i64,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<SystemTime>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct HookRow {
    pub(super) plugin: String,
    pub(super) hook: &'static str,
    pub(super) executions: i64,
    pub(super) total_ms: f64,
    pub(super) errors: i64,
}

pub(super) fn read(manager: &Manager) -> Rows {
    let mut rows = Rows::default();
    for slot in manager.registry().slots().values() {
        let health = slot.health();
        let (last_error, last_error_at) = health.last_error.unzip();
        rows.plugins.push(PluginRow {
            name: slot.name().to_owned(),
            status: slot.status().name(),
            errors: count(health.errors),
            // PostgreSQL takes no text with a zero in it.
            last_error: last_error.map(|text| text.replace('\0', " ")),
            last_error_at,
        });
        rows.hooks.extend(health.hooks.iter().map(|metrics| hook(slot.name(), metrics)));
    }
    rows
}

fn hook(plugin: &str, metrics: &HookMetrics) -> HookRow {
    HookRow {
        plugin: plugin.to_owned(),
        hook: metrics.hook.name(),
        executions: count(metrics.executions),
        total_ms: metrics.total.as_secs_f64() * 1000.0,
        errors: count(metrics.errors),
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
