//! What the operator is told of this instance. Memory only.

use super::{follow::Progress, memory::Memory};
use crate::{
    manager::{Manager, PluginInfo},
    readiness::Readiness,
    slot::Alarm,
};
use rockstar_core::{
    assignment::ThresholdAction,
    text::{MAX_FAILURE, bounded},
};
use rockstar_proto::control::{Hello, PluginState, Report};
use std::time::Instant;

/// What this version understands beyond the first one.
const CAPABILITIES: [&str; 0] = [];

pub(super) fn hello(report: Report, memory: &Memory) -> Hello {
    Hello {
        sidecar_version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        revisions: report.revisions.clone(),
        report: Some(report),
        failures: memory.records(),
    }
}

pub(super) fn report(manager: &Manager, memory: &Memory, readiness: &Readiness, progress: &Progress) -> Report {
    let snapshot = memory.snapshot();
    let host = snapshot.as_ref().map(|s| s.host.clone()).unwrap_or_default();
    let revisions = snapshot.iter().flat_map(|s| s.bodies.iter().map(|b| b.revision.clone())).collect();
    Report {
        host_uid: progress.host_uid.clone(),
        plan_generation: progress.plan_generation,
        plugins: manager.list().iter().map(|info| plugin(manager, info)).collect(),
        ready: readiness.reasons(manager, Instant::now()).is_empty(),
        revisions,
        sandbox: manager.confiner().parts().status(),
        groups: progress.groups.clone(),
        served: memory.served(),
        host,
    }
}

fn plugin(manager: &Manager, info: &PluginInfo) -> PluginState {
    let loaded = info.state.loaded_at.and_then(|_| manager.registry().get(&info.name)?.current());
    let slot = manager.registry().get(&info.name);
    let exceeded = slot.and_then(|slot| slot.record.threshold.exceeded()).filter(|alarm| is_done(alarm, info));
    let health = manager.health(&info.name).map(|(_, health)| health);
    PluginState {
        plugin: info.name.clone(),
        revision: loaded.as_ref().map(|i| i.revision().0.clone()).unwrap_or_default(),
        version: loaded.map(|i| i.manifest().version.to_string()).unwrap_or_default(),
        status: info.state.status.name().to_owned(),
        proven: info.state.proven,
        last_error: bounded(&health.and_then(|h| h.last_error).map(|(text, _)| text).unwrap_or_default(), MAX_FAILURE),
        restarts: i64::from(info.state.restarts),
        config_generation: info.state.config_generation,
        disabled_by_threshold: info.state.disabled_by_threshold,
        acknowledged: info.state.acknowledged,
        threshold_exceeded: exceeded.map(|alarm| alarm.to_string()).unwrap_or_default(),
        reason: info.state.reason.clone(),
    }
}

/// Until a plugin is disabled, this would look like an alert.
fn is_done(alarm: &Alarm, info: &PluginInfo) -> bool {
    alarm.rule.action != ThresholdAction::Disable || info.state.disabled_by_threshold
}
