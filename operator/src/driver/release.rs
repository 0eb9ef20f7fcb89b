//! When a deleted Plugin may go: no instance has it any more, or its deadline passed. `releasable` is pure.

use super::{
    catalog::{Catalog, Entry, Life},
    observe::Observed,
    plan::Decision,
};
use crate::world::{World, WriteError};
use rockstar_core::rollout::Presence;
use rockstar_crds::{Plugin, names};
use std::sync::Arc;

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

/// Every living instance has said, of the snapshot without the plugin or a later one, that it does not run it.
fn releasable(observed: &Observed, decision: &Decision, entry: &Entry) -> bool {
    if observed.now >= deadline(&entry.object) {
        return true;
    }
    let living = decision.instances.iter().filter(|i| matches!(i.presence, Presence::Connected | Presence::Away));
    living.into_iter().all(|instance| {
        let told = decision.plan.assignments.get(&instance.id);
        let heard = told.is_some_and(|a| instance.accepted >= a.generation && !a.target.contains_key(&entry.name));
        let gone = !instance.serving.contains_key(&entry.name);
        gone && (heard || instance.accepted == 0)
    })
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
    use serde_json::json;

    fn deleted(at: &str) -> serde_json::Value {
        plugin("a", "1.0.0", json!({"metadata": {"deletionTimestamp": at, "finalizers": [names::UNLOAD_FINALIZER]}}))
    }

    #[test]
    fn a_deleted_plugin_goes_when_no_instance_runs_it_any_more() {
        let mut before = observed([plugin("a", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        settled(&mut before, &mut memory);
        let mut after = observed([deleted("1970-01-01T00:16:40Z")]);
        after.now = before.now;
        after.attached = before.attached;
        let told = pass(&after, &mut memory);
        let entry = &told.catalog.entries["a"];
        assert!(!releasable(&after, &told.decision, entry), "the instance has not heard of it");
        let generation = u64::try_from(told.decision.plan.assignments["web-1"].generation).unwrap();
        memory.assigned.extend(told.decision.plan.assignments.clone());
        after.attached = vec![attached("web-1", generation, &[])];
        let unloaded = pass(&after, &mut memory);
        assert!(releasable(&after, &unloaded.decision, entry));
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
