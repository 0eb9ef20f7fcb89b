//! Fourth step: what must outlive this process is stored before anyone is told. I/O: writes.

use super::{
    catalog::{self, Catalog},
    memory::Memory,
    observe::Observed,
};
use crate::{
    host::HostKey,
    world::{Revision, View, World, WriteError},
};
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::{Plugin, names};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// So many revisions of a plugin are kept, beside those in use.
const HISTORY: usize = 10;

/// The view may lag behind a write by so much, in milliseconds.
const LAG: i64 = 10_000;
/// A revision that could not be stored is tried again after so long, in milliseconds.
const RETRY: i64 = 30_000;

/// Stores the revisions that the state needs. One that cannot be stored is the fault of its plugin alone: returns whether
/// there is a new one of those, so that it must be decided anew.
pub async fn save_revisions(
    world: &dyn World,
    host: &HostKey,
    observed: &Observed,
    catalog: &Catalog,
    memory: &mut Memory,
    state: &State,
) -> bool {
    let now = observed.now;
    memory.saved.retain(|_, at| now - *at < LAG);
    let wanted = unsaved(&observed.view, state, &memory.known).into_iter();
    let wanted: Vec<_> =
        wanted.filter(|r| !memory.saved.contains_key(&r.id) && !memory.unstored.contains_key(&r.id)).cloned().collect();
    let Some(owner) = &observed.view.host else { return false };
    let mut any = false;
    for revision in wanted {
        let Some(entry) = catalog.entries.get(&revision.plugin) else { continue };
        match world.save_revision(owner, &entry.object, &revision).await {
            Ok(()) => drop(memory.saved.insert(revision.id.clone(), now)),
            // A revision that runs already stays, and is tried again.
            Err(error) if in_use(&memory.state).any(|id| *id == revision.id) => {
                tracing::warn!(%host, plugin = revision.plugin, %error, "a revision that runs cannot be stored");
                memory.saved.insert(revision.id.clone(), now);
            }
            Err(error) => {
                tracing::warn!(%host, plugin = revision.plugin, %error, "a revision cannot be stored");
                memory.unstored.insert(revision.id.clone(), (error.to_string(), now + RETRY));
                any = true;
            }
        }
    }
    any
}

/// Stores the rollout, if it is another one.
pub async fn save_rollout(
    world: &dyn World,
    host: &HostKey,
    memory: &mut Memory,
    state: &State,
) -> Result<(), WriteError> {
    if *state != memory.state {
        world.save_rollout(host, &memory.state, state).await?;
        memory.state = state.clone();
    }
    Ok(())
}

/// Removes revisions beyond the history, and finalizers that an earlier version of the operator set. What fails is tried
/// again in a later pass.
pub async fn clean_up(world: &dyn World, host: &HostKey, observed: &Observed, memory: &mut Memory) {
    let view = &observed.view;
    for id in superfluous(observed, &memory.state) {
        match world.delete_revision(host, &id).await {
            Ok(()) => drop(memory.known.remove(&id)),
            Err(error) => tracing::debug!(%host, %error, "a revision is still there"),
        }
    }
    let is_held =
        |plugin: &&Arc<Plugin>| plugin.metadata.finalizers.iter().flatten().any(|f| f == names::UNLOAD_FINALIZER);
    for plugin in view.plugins.iter().filter(is_held) {
        if let Err(error) = world.remove_finalizer(plugin).await {
            tracing::debug!(%host, %error, "a finalizer is still there");
        }
    }
}

fn unsaved<'a>(view: &View, state: &State, known: &'a BTreeMap<RevisionId, Arc<Revision>>) -> Vec<&'a Revision> {
    let saved: BTreeSet<&RevisionId> = view.revisions.iter().map(|r| &r.id).collect();
    let used: BTreeSet<&RevisionId> = in_use(state).collect();
    used.difference(&saved).filter_map(|id| known.get(*id)).map(Arc::as_ref).collect()
}

fn in_use(state: &State) -> impl Iterator<Item = &RevisionId> {
    let sets = state.stable.iter().chain(&state.target);
    sets.flat_map(BTreeMap::values).chain(state.failed.values().map(|f| &f.revision))
}

/// Lists those that are too many, and those of plugins that are gone, but for what an instance still runs. What cannot be
/// read may be any plugin.
fn superfluous(observed: &Observed, state: &State) -> Vec<RevisionId> {
    let view = &observed.view;
    let reported = observed.attached.iter().flat_map(|instance| &instance.report.plugins);
    let run: BTreeSet<&str> = reported.map(|plugin| plugin.revision.as_str()).collect();
    let used: BTreeSet<&RevisionId> = in_use(state).collect();
    let (present, _) = catalog::by_name(view);
    let is_gone = |plugin: &str| view.unreadable.is_empty() && !present.contains_key(plugin);
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let newest_first = view.revisions.iter().rev();
    let too_many = newest_first.filter(|revision| {
        let count = kept.entry(&revision.plugin).or_default();
        *count += 1;
        (*count > HISTORY || is_gone(&revision.plugin))
            && !used.contains(&revision.id)
            && !run.contains(revision.id.0.as_str())
    });
    too_many.map(|revision| revision.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::fixtures::{observed, pass, plugin},
        *,
    };
    use serde_json::json;

    #[test]
    fn the_history_is_cut_but_for_what_is_in_use() {
        let mut observed = observed([plugin("a", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        let pass = pass(&observed, &mut memory);
        let made = &pass.catalog.entries["a"].candidate.as_ref().unwrap().revision;
        let numbered = |n: i64| Revision { id: RevisionId(format!("a-{n}")), number: n, ..Revision::clone(made) };
        observed.view.revisions = (0..13).map(|n| Arc::new(numbered(n))).collect();
        let stable = Some([("a".to_owned(), RevisionId("a-0".into()))].into());
        let left = Revision { id: RevisionId("b-1".into()), plugin: "b".into(), ..numbered(1) };
        observed.view.revisions.insert(0, Arc::new(left));
        let gone = superfluous(&observed, &State { stable, ..State::default() });
        assert_eq!(gone, ["a-2", "a-1", "b-1"].map(|id| RevisionId(id.into())));
    }

    #[test]
    fn what_is_decided_on_is_stored() {
        let observed = observed([plugin("a", "1.0.0", json!({}))]);
        let mut memory = Memory::default();
        let pass = pass(&observed, &mut memory);
        let id = pass.catalog.entries["a"].candidate.as_ref().unwrap().revision.id.clone();
        let target = Some([("a".to_owned(), id.clone())].into());
        let state = State { target, ..State::default() };
        let ids: Vec<_> = unsaved(&observed.view, &state, &memory.known).into_iter().map(|r| r.id.clone()).collect();
        assert_eq!(ids, [id]);
    }
}
