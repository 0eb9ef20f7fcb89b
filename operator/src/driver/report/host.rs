//! The status of a PluginHost, but for the rollout, which is stored before. Pure.

use super::{
    super::{
        backends,
        catalog::{Catalog, Fault},
    },
    conditions::{Course, Outlook, Says, conditions},
    plugin::Context,
};
use rockstar_core::rollout::Verdict;
use rockstar_crds::{PluginHost, PluginHostStatus, PluginStatus, host::status::HostInstances, names::condition};
use std::collections::BTreeMap;

/// A pod of the host that has no sidecar.
const UNINJECTED: &str = "UninjectedPods";
/// An address of an engine, or the framework's configuration, is not there.
const BACKEND_MISSING: &str = "BackendMissing";
/// As a sidecar tells that nothing is missing.
const ENFORCED: &str = "enforced";
const STORAGE_EPHEMERAL: &str = "StorageEphemeral";
const STORAGE_ISOLATED: &str = "StorageIsolated";
/// A Plugin of the host is written in a way that this version does not know.
const PAUSED: &str = "Paused";
const UNREADABLE: &str = "UnreadablePlugins";
const SHOWN: usize = 5;

pub(super) fn status(
    context: &Context<'_>,
    catalog: &Catalog,
    plugins: &BTreeMap<String, PluginStatus>,
) -> PluginHostStatus {
    let Some(object) = &context.observed.view.host else { return PluginHostStatus::default() };
    let generation = object.metadata.generation;
    let faults = backends::faults(&object.spec, &context.observed.values);
    let mut says = outlook(context, plugins, &faults).says();
    says.extend(resolved(object, &faults));
    says.extend(ephemeral(object));
    says.extend(isolated(context));
    says.extend(confined(context));
    says.extend(uninjected(context));
    says.extend(unreadable(context));
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

/// Ready if all plugins are and have what they use; else what keeps them.
fn outlook(context: &Context<'_>, plugins: &BTreeMap<String, PluginStatus>, faults: &[String]) -> Outlook {
    if !faults.is_empty() {
        return Outlook::new(Course::Stuck, BACKEND_MISSING, faults.join("; "));
    }
    if let Some(unreadable) = unreadable(context) {
        return Outlook::new(Course::Stuck, UNREADABLE, unreadable.message);
    }
    // Each with its reason, so that nobody needs a second look.
    let with = |kind: &str| -> Vec<(String, String)> {
        let why = |s: &PluginStatus| {
            let found = s.conditions.iter().find(|c| c.type_ == kind && c.status == "True");
            found.map(|c| c.reason.clone())
        };
        plugins.iter().filter_map(|(name, status)| Some((name.clone(), why(status)?))).collect()
    };
    let (stalled, mut moving) = (with(condition::STALLED), with(condition::RECONCILING));
    moving.extend(removing(context));
    if !stalled.is_empty() {
        return Outlook::new(Course::Stuck, "PluginsStalled", format!("stalled: {}", named_all(&stalled)));
    }
    if !moving.is_empty() {
        let all_paused = moving.iter().all(|(_, reason)| reason == PAUSED);
        let reason = if all_paused { PAUSED } else { "Progressing" };
        return Outlook::new(Course::Moving, reason, format!("in progress: {}", named_all(&moving)));
    }
    Outlook::new(Course::Ready, "AllPluginsReady", "all plugins are ready")
}

fn resolved(object: &PluginHost, faults: &[String]) -> Option<Says> {
    object.spec.backends.as_ref()?;
    let (reason, message) = match faults {
        [] => ("Resolved", "all addresses are there".to_owned()),
        faults => (BACKEND_MISSING, faults.join("; ")),
    };
    Some(Says { kind: condition::BACKENDS_RESOLVED, holds: faults.is_empty(), reason: reason.into(), message })
}

/// The sidecar's own files are on a volume of the pod.
fn ephemeral(object: &PluginHost) -> Option<Says> {
    let is_kept = object.spec.backends.as_ref().is_some_and(|backends| backends.storage.is_some());
    let message = "what plugins store ends with their pod; spec.backends.storage keeps it".to_owned();
    (!is_kept).then(|| Says { kind: STORAGE_EPHEMERAL, holds: true, reason: "EmbeddedStorage".into(), message })
}

/// What the kernels below the pods enforce of what plugins may do; None where nobody has told yet.
fn confined(context: &Context<'_>) -> Option<Says> {
    let told = context.observed.attached.iter().filter(|a| !a.report.sandbox.is_empty());
    let by_pod: BTreeMap<_, _> = told.map(|a| (a.pod.as_str(), a.report.sandbox.as_str())).collect();
    let partial: Vec<_> = by_pod.iter().filter(|(_, sandbox)| **sandbox != ENFORCED).collect();
    let (reason, message) = match partial.first() {
        None => ("Enforced", "the kernel enforces what plugins may do".to_owned()),
        Some((_, sandbox)) => {
            let pods: Vec<_> = partial.iter().map(|(pod, _)| **pod).collect();
            ("Partial", format!("{sandbox} (in {})", named(&pods)))
        }
    };
    let says = Says { kind: condition::SANDBOX_ENFORCED, holds: partial.is_empty(), reason: reason.into(), message };
    (!by_pod.is_empty()).then_some(says)
}

/// Where both are on PostgreSQL.
fn isolated(context: &Context<'_>) -> Option<Says> {
    let spec = &context.observed.view.host.as_ref()?.spec;
    let engines = spec.backends.as_ref()?;
    engines.database.as_ref().and(engines.storage.as_ref())?;
    let shared = backends::shared_role(spec, &context.observed.values);
    let (reason, message) = match &shared {
        None => ("RolesDiffer", "database and storage have roles of their own".to_owned()),
        Some(role) => (
            "SharedRole",
            format!(
                "spec.backends.database and spec.backends.storage both use the PostgreSQL role '{role}', so that a plugin's \
                 SQL reaches the storage of all plugins; give the storage a role of its own"
            ),
        ),
    };
    Some(Says { kind: STORAGE_ISOLATED, holds: shared.is_none(), reason: reason.into(), message })
}

fn uninjected(context: &Context<'_>) -> Option<Says> {
    let pods = context.observed.view.pods.iter().filter(|p| !p.injected && !p.terminating);
    let names: Vec<_> = pods.map(|p| p.name.as_str()).collect();
    let message = format!("these pods have no sidecar; recreate them: {}", named(&names));
    (!names.is_empty()).then(|| Says { kind: UNINJECTED, holds: true, reason: "NoSidecar".into(), message })
}

/// Plugins that are gone and still run somewhere.
fn removing(context: &Context<'_>) -> Vec<(String, String)> {
    let plugins = context.decision.plan.plugins.iter().filter(|(_, summary)| summary.verdict == Verdict::Removing);
    plugins.map(|(name, _)| (name.clone(), "Unloading".to_owned())).collect()
}

fn named_all(plugins: &[(String, String)]) -> String {
    let texts: Vec<_> = plugins.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
    named(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Plugins that cannot be read keep what they run.
fn unreadable(context: &Context<'_>) -> Option<Says> {
    let objects = &context.observed.view.unreadable;
    let first = objects.first()?;
    let names: Vec<_> = objects.iter().map(|object| object.name.as_str()).collect();
    let message = format!(
        "these Plugins cannot be read by this version of the operator, so that what runs of them stays as it is: {} ({})",
        named(&names),
        first.error
    );
    Some(Says { kind: UNREADABLE, holds: true, reason: "Unreadable".into(), message })
}

pub(super) fn named(names: &[&str]) -> String {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}
