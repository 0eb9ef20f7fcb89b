//! The status of a PluginHost, but for the rollout, which is stored before. Pure.

use super::{
    super::catalog::{Catalog, Fault},
    conditions::{Course, Outlook, Says, conditions},
    plugin::Context,
};
use rockstar_crds::{PluginHost, PluginHostStatus, PluginStatus, host::status::HostInstances, names::condition};
use std::collections::BTreeMap;

/// A pod of the host that has no sidecar.
const UNINJECTED: &str = "UninjectedPods";
const SHOWN: usize = 5;

pub(super) fn status(
    context: &Context<'_>,
    catalog: &Catalog,
    plugins: &BTreeMap<String, PluginStatus>,
) -> PluginHostStatus {
    let object = &context.observed.view.host;
    let generation = object.metadata.generation;
    let mut says = outlook(plugins).says();
    says.extend(uninjected(context));
    let order = &context.decision.resolution.load_order;
    PluginHostStatus {
        observed_generation: generation,
        instances: Some(instances(context)),
        load_order: order.iter().filter(|name| catalog.entries.contains_key(*name)).cloned().collect(),
        rollout: None,
        conditions: conditions(old(object), says, generation, context.observed.now),
    }
}

pub(super) fn refused(object: &PluginHost, fault: &Fault, now: i64) -> PluginHostStatus {
    let generation = object.metadata.generation;
    let says = Outlook::new(Course::Stuck, fault.reason, &fault.message).says();
    let before = object.status.clone().unwrap_or_default();
    PluginHostStatus {
        observed_generation: generation,
        rollout: None,
        conditions: conditions(old(object), says, generation, now),
        ..before
    }
}

fn old(object: &PluginHost) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
    object.status.as_ref().map_or(&[], |s| &s.conditions)
}

fn instances(context: &Context<'_>) -> HostInstances {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let totals = context.decision.plan.totals;
    HostInstances {
        desired: number(totals.desired),
        connected: number(totals.connected),
        updated: number(totals.updated),
        ready: number(totals.ready),
        failed: number(totals.failed),
    }
}

/// Ready if all plugins are; else what keeps them.
fn outlook(plugins: &BTreeMap<String, PluginStatus>) -> Outlook {
    let with = |kind: &str| -> Vec<&str> {
        let is = |s: &PluginStatus| s.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        plugins.iter().filter(|(_, status)| is(status)).map(|(name, _)| name.as_str()).collect()
    };
    let (stalled, moving) = (with(condition::STALLED), with(condition::RECONCILING));
    if !stalled.is_empty() {
        return Outlook::new(Course::Stuck, "PluginsStalled", format!("stalled: {}", named(&stalled)));
    }
    if !moving.is_empty() {
        return Outlook::new(Course::Moving, "Progressing", format!("in progress: {}", named(&moving)));
    }
    Outlook::new(Course::Ready, "AllPluginsReady", "all plugins are ready")
}

fn uninjected(context: &Context<'_>) -> Option<Says> {
    let pods = context.observed.view.pods.iter().filter(|p| !p.injected && !p.terminating);
    let names: Vec<_> = pods.map(|p| p.name.as_str()).collect();
    let message = format!("these pods have no sidecar; recreate them: {}", named(&names));
    (!names.is_empty()).then(|| Says { kind: UNINJECTED, holds: true, reason: "NoSidecar".into(), message })
}

fn named(names: &[&str]) -> String {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}
