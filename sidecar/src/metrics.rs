//! The reference's metrics in Prometheus form, read from the manager at each scrape. Memory only.

mod messaging;
mod own;
mod report;

pub use report::report;

use crate::{
    manager::{Manager, PluginInfo},
    slot::{Health, HookMetrics, Slot, Status},
};
use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All metrics as text.
pub fn text(manager: &Manager) -> Result<String, prometheus::Error> {
    let families = Families::new()?;
    let slots = manager.registry().slots();
    for info in manager.list() {
        if let Some(slot) = slots.get(&info.name) {
            families.plugin(&info, &slot.health());
            families.limits(slot);
        }
    }
    let (own, left_out) = own::merged(slots.iter().map(|(name, slot)| (name.as_str(), slot.meters.collect())));
    for (plugin, count) in left_out {
        families.left_out.with_label_values(&[plugin]).set(count as f64);
    }
    messaging::gather(&families.registry, &slots)?;
    let mut text = Vec::new();
    let mut gathered = families.registry.gather();
    gathered.extend(own);
    TextEncoder::new().encode(&gathered, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct Families {
    registry: Registry,
    load_duration: GaugeVec,
    load_success: GaugeVec,
    load_timestamp: GaugeVec,
    start_duration: GaugeVec,
    start_success: GaugeVec,
    executions: IntCounterVec,
    hook_duration: GaugeVec,
    hook_errors: IntCounterVec,
    hook_average: GaugeVec,
    errors: IntCounterVec,
    error_timestamp: GaugeVec,
    status: GaugeVec,
    restarts: IntCounterVec,
    info: GaugeVec,
    exceeded: GaugeVec,
    refused: IntCounterVec,
    left_out: GaugeVec,
}

impl Families {
    fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let family = GaugeVec::new(Opts::new(format!("rockstar_plugin_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(format!("rockstar_plugin_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let (plugin, hook) = (&["plugin"][..], &["plugin", "hook"][..]);
        Ok(Self {
            load_duration: gauge("load_duration_ms", "Duration of the last load in milliseconds.", plugin)?,
            load_success: gauge("load_success", "1 if the last load succeeded, else 0.", plugin)?,
            load_timestamp: gauge("load_timestamp", "Unix time of the last load.", plugin)?,
            start_duration: gauge("start_duration_ms", "Duration of the last Start in milliseconds.", plugin)?,
            start_success: gauge("start_success", "1 if the plugin has been started, else 0.", plugin)?,
            executions: counter("hook_execution_count", "Executions of hooks.", hook)?,
            hook_duration: gauge("hook_duration_ms", "Duration of the last execution in milliseconds.", hook)?,
            hook_errors: counter("hook_error_count", "Executions of hooks that failed.", hook)?,
            hook_average: gauge("hook_average_duration_ms", "Average duration of executions in milliseconds.", hook)?,
            errors: counter("error_count", "Errors of the plugin.", plugin)?,
            error_timestamp: gauge("error_last_timestamp", "Unix time of the last error.", plugin)?,
            status: gauge("status", "1 for the plugin's status, 0 for the others.", &["plugin", "status"])?,
            restarts: counter("restart_count", "Restarts after a crash.", plugin)?,
            info: gauge("info", "The version that runs.", &["plugin", "version", "revision"])?,
            exceeded: gauge(
                "error_threshold_exceeded",
                "1 if the errors within the window reached the maximum.",
                plugin,
            )?,
            refused: counter("metrics_refused_count", "Values of its own metrics that were not taken.", plugin)?,
            left_out: gauge("metrics_left_out", "Its own metrics whose name has another type elsewhere.", plugin)?,
            registry,
        })
    }

    fn plugin(&self, info: &PluginInfo, health: &Health) {
        let plugin = &[info.name.as_str()];
        if let Some(load) = health.load {
            self.load_duration.with_label_values(plugin).set(millis(load.took));
            self.load_success.with_label_values(plugin).set(f64::from(u8::from(load.success)));
            self.load_timestamp.with_label_values(plugin).set(unix(load.at));
        }
        if let Some(took) = health.start {
            self.start_duration.with_label_values(plugin).set(millis(took));
        }
        self.start_success.with_label_values(plugin).set(f64::from(u8::from(info.state.status == Status::Running)));
        self.errors.with_label_values(plugin).inc_by(health.errors);
        self.restarts.with_label_values(plugin).inc_by(u64::from(info.state.restarts));
        if let Some((_, at)) = health.last_error {
            self.error_timestamp.with_label_values(plugin).set(unix(at));
        }
        for status in Status::ALL {
            let is = f64::from(u8::from(info.state.status == status));
            self.status.with_label_values(&[info.name.as_str(), status.name()]).set(is);
        }
        if let Some(target) = &info.target {
            let (version, revision) = (target.version(), target.assignment.revision.to_string());
            self.info.with_label_values(&[info.name.as_str(), &version, &revision]).set(1.0);
        }
        health.hooks.iter().for_each(|metrics| self.hook(&info.name, metrics));
    }

    /// Of what the plugin may do.
    fn limits(&self, slot: &Slot) {
        let plugin = &[slot.name()];
        self.refused.with_label_values(plugin).inc_by(slot.meters.refused());
        if let Some(exceeded) = slot.record.threshold.alert() {
            self.exceeded.with_label_values(plugin).set(f64::from(u8::from(exceeded)));
        }
    }

    fn hook(&self, plugin: &str, metrics: &HookMetrics) {
        let labels = &[plugin, metrics.hook.name()];
        self.executions.with_label_values(labels).inc_by(metrics.executions);
        self.hook_errors.with_label_values(labels).inc_by(metrics.errors);
        self.hook_duration.with_label_values(labels).set(millis(metrics.last));
        self.hook_average.with_label_values(labels).set(millis(metrics.average()));
    }
}

fn millis(d: Duration) -> f64 {
    d.as_secs_f64() * 1000.0
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
