//! Fourth step: what must outlive this process is stored before anyone is told. I/O: writes.

use super::{catalog::Catalog, memory::Memory};
use crate::{
    host::HostKey,
    world::{Revision, View, World, WriteError},
};
use rockstar_core::{revision::RevisionId, rollout::State};
use rockstar_crds::names;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// So many revisions of a plugin are kept, beside those in use.
const HISTORY: usize = 10;

/// Stores finalizers, revisions and the rollout, in this order.
pub async fn persist(
    world: &dyn World,
    host: &HostKey,
    view: &View,
    catalog: &Catalog,
    memory: &mut Memory,
    state: &State,
) -> Result<(), WriteError> {
    hold(world, catalog, memory).await?;
    for revision in unsaved(view, state, &memory.known) {
        if let Some(entry) = catalog.entries.get(&revision.plugin) {
            world.save_revision(host, &entry.object, revision).await?;
        }
    }
    if *state != memory.state {
        world.save_rollout(host, &memory.state, state).await?;
        memory.state = state.clone();
    }
    for id in superfluous(view, state) {
        world.delete_revision(host, &id).await?;
        memory.known.remove(&id);
    }
    Ok(())
}

/// Nothing is loaded that could be deleted unseen.
async fn hold(world: &dyn World, catalog: &Catalog, memory: &mut Memory) -> Result<(), WriteError> {
    for entry in catalog.entries.values().filter(|e| e.is_wanted()) {
        let meta = &entry.object.metadata;
        let held = meta.finalizers.iter().flatten().any(|f| f == names::UNLOAD_FINALIZER);
        let uid = meta.uid.clone().unwrap_or_default();
        if !held && meta.deletion_timestamp.is_none() && !memory.held.contains(&uid) {
            world.hold(&entry.object, true).await?;
            memory.held.insert(uid);
        }
    }
    Ok(())
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

fn superfluous(view: &View, state: &State) -> Vec<RevisionId> {
    let used: BTreeSet<&RevisionId> = in_use(state).collect();
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let newest_first = view.revisions.iter().rev();
    let too_many = newest_first.filter(|revision| {
        let count = kept.entry(&revision.plugin).or_default();
        *count += 1;
        *count > HISTORY && !used.contains(&revision.id)
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
        let gone = superfluous(&observed.view, &State { stable, ..State::default() });
        assert_eq!(gone, [RevisionId("a-2".into()), RevisionId("a-1".into())]);
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
