//! When a deleted Plugin may go: no instance has it any more, or its deadline passed. `releasable` is pure.

use super::{
    catalog::{Catalog, Entry, Life},
    memory::is_open,
    observe::Observed,
    plan::Decision,
};
use crate::world::{Pod, PodPhase, World, WriteError};
use rockstar_core::rollout::{Instance, Presence};
use rockstar_crds::{Plugin, names};
use rockstar_proto::control::{GroupState, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Instances that do not answer hold a deleted Plugin at most so long, in milliseconds.
const DEADLINE: i64 = 120_000;

/// Lets go of the Plugins that are unloaded. Returns when to look again.
pub async fn release(
    world: &dyn World,
    observed: &Observed,
    catalog: &Catalog,
    decision: &Decision,
) -> Result<Option<i64>, WriteError> {
    let mut result = Ok(());
    let mut next: Option<i64> = None;
    for entry in catalog.entries.values().filter(|e| e.life == Life::Leaving) {
        if releasable(observed, decision, entry) {
            result = result.and(world.hold(&entry.object, false).await);
        } else {
            next = next.into_iter().chain([deadline(&entry.object)]).min();
        }
    }
    let superfluous = catalog.duplicates.iter().map(|(object, _)| object);
    for object in superfluous.filter(|o| is_held_and_deleted(o)) {
        result = result.and(world.hold(object, false).await);
    }
    result.map(|()| next)
}

/// Whether a deletion waits for us.
#[must_use]
pub fn is_held_and_deleted(object: &Arc<Plugin>) -> bool {
    let meta = &object.metadata;
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == names::UNLOAD_FINALIZER)
}

fn deadline(object: &Plugin) -> i64 {
    let deleted = object.metadata.deletion_timestamp.as_ref();
    deleted.map_or(i64::MIN, |t| t.0.as_millisecond().saturating_add(DEADLINE))
}

/// Every living instance is rid of the plugin; what one that is away does, nobody knows.
fn releasable(observed: &Observed, decision: &Decision, entry: &Entry) -> bool {
    if observed.now >= deadline(&entry.object) {
        return true;
    }
    let reports: BTreeMap<&str, &Report> = observed.attached.iter().map(|a| (a.uid.as_str(), &*a.report)).collect();
    let runs = |pod: &&Pod| pod.phase == PodPhase::Running;
    let running: BTreeSet<&str> = observed.view.pods.iter().filter(runs).map(|pod| pod.uid.as_str()).collect();
    decision.instances.iter().all(|instance| match instance.presence {
        Presence::Connected => is_rid(instance, reports.get(instance.id.as_str()).copied(), decision, &entry.name),
        Presence::Away => !running.contains(instance.id.as_str()),
        Presence::Succeeded | Presence::Failed => true,
    })
}

/// It has said, of the snapshot without the plugin or a later one, that it does not run it and is through with unloading:
/// a plugin leaves callers' sight before its process has ended.
fn is_rid(instance: &Instance, report: Option<&Report>, decision: &Decision, plugin: &str) -> bool {
    let told = decision.plan.assignments.get(&instance.id);
    let heard = told.is_some_and(|a| instance.accepted >= a.generation && !a.target.contains_key(plugin));
    let open = |group: &GroupState| is_open(group.outcome()) && group.plugins.iter().any(|name| name == plugin);
    let is_moving = report.is_some_and(|report| report.groups.iter().any(open));
    !instance.serving.contains_key(plugin) && !is_moving && (heard || instance.accepted == 0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fixtures::{attached, observed, pass, plugin, settled},
            memory::Memory,
        },
        *,
    };
    use rockstar_proto::control::group_state::Outcome;
    use serde_json::json;

    fn deleted(at: &str) -> serde_json::Value {
        plugin("a", "1.0.0", json!({"metadata": {"deletionTimestamp": at, "finalizers": [names::UNLOAD_FINALIZER]}}))
    }

    /// A running plugin is deleted; the generation is that of the snapshot without it.
    fn deleting() -> (Observed, Memory, u64) {
        let mut before = observed([plugin("a", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        settled(&mut before, &mut memory);
        let mut after = observed([deleted("1970-01-01T00:16:40Z")]);
        (after.now, after.attached) = (before.now, before.attached);
        assert!(!goes(&after, &mut memory), "the instance has not heard of it");
        let told = pass(&after, &mut memory).decision.plan.assignments;
        let generation = u64::try_from(told["web-1"].generation).unwrap();
        memory.assigned.extend(told);
        (after, memory, generation)
    }

    fn goes(observed: &Observed, memory: &mut Memory) -> bool {
        let pass = pass(observed, memory);
        releasable(observed, &pass.decision, &pass.catalog.entries["a"])
    }

    #[test]
    fn a_deleted_plugin_goes_when_no_instance_runs_it_any_more() {
        let (mut observed, mut memory, generation) = deleting();
        observed.attached = vec![attached("web-1", generation, &[])];
        assert!(goes(&observed, &mut memory));
    }

    #[test]
    fn a_deleted_plugin_stays_until_its_processes_have_ended() {
        let (mut observed, mut memory, generation) = deleting();
        let mut instance = attached("web-1", generation, &[]);
        let moving = GroupState { plugins: vec!["a".into()], outcome: Outcome::Moving.into(), ..GroupState::default() };
        Arc::make_mut(&mut instance.report).groups = vec![moving];
        observed.attached = vec![instance];
        assert!(!goes(&observed, &mut memory));
    }

    #[test]
    fn a_deleted_plugin_waits_for_pods_that_are_away_but_not_for_those_that_do_not_run_yet() {
        let (mut observed, mut memory, _) = deleting();
        observed.attached = Vec::new();
        assert!(!goes(&observed, &mut memory), "another operator: the instance has yet to come back");
        observed.view.pods[0].phase = PodPhase::Pending;
        assert!(goes(&observed, &mut memory));
    }

    #[test]
    fn instances_that_do_not_answer_hold_it_only_until_the_deadline() {
        let mut observed = observed([deleted("1970-01-01T00:16:40Z")]);
        let mut memory = Memory::default();
        observed.attached = vec![attached("web-1", 1, &[("a", "a-1")])];
        let pass = pass(&observed, &mut memory);
        let entry = &pass.catalog.entries["a"];
        assert!(!releasable(&observed, &pass.decision, entry));
        observed.now = 1_000_000 + DEADLINE;
        assert!(releasable(&observed, &pass.decision, entry));
    }
}
