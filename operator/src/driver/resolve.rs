//! Second step: which revisions fit together. Pure.

use super::catalog::{Candidate, Catalog, nodes};
use crate::world::Revision;
use rockstar_core::{
    resolve::{self, Input, Member, Node, Resolution},
    revision::RevisionId,
    rollout::State,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What its plugin's spec asked for before is not taken away by an edit that cannot be had: it has proven itself somewhere,
/// or there is no set yet that did.
fn works_somewhere(plugin: &str, state: &State) -> bool {
    state.stable.is_none() || state.trials.get(plugin).is_some_and(|trial| trial.proof.is_some())
}

/// The target that the plugins ask for, with what is known of failures and of what is stable. Those that are `held` stay as
/// they are, and so does a stable revision whose content nobody knows.
#[must_use]
pub fn resolve(
    framework: &semver::Version,
    catalog: &Catalog,
    held: &BTreeSet<String>,
    state: &State,
    known: &BTreeMap<RevisionId, Arc<Revision>>,
) -> Resolution {
    let stable = state.stable.clone().unwrap_or_default();
    let target = state.target.clone().unwrap_or_default();
    let (stable_nodes, target_nodes) = (nodes(&stable, known), nodes(&target, known));
    let with_node = |name: &str, set: &BTreeMap<String, RevisionId>, nodes: &BTreeMap<String, Node>| {
        set.get(name).cloned().zip(nodes.get(name).cloned())
    };
    let has_failed = |name: &str, id: &RevisionId| state.failed.get(name).is_some_and(|failed| failed.revision == *id);
    let member = |name: &str, candidate: Option<(RevisionId, Node)>, priority| {
        let works = |id: &&RevisionId| !has_failed(name, id) && (held.contains(name) || works_somewhere(name, state));
        let runs = stable.get(name).or_else(|| target.get(name).filter(works));
        let node = match stable.contains_key(name) {
            true => with_node(name, &stable, &stable_nodes),
            false => with_node(name, &target, &target_nodes).filter(|(id, _)| runs == Some(id)),
        };
        Member {
            opaque: runs.filter(|id| !known.contains_key(*id)).cloned(),
            candidate: candidate.filter(|(id, _)| !has_failed(name, id)),
            stable: node,
            priority,
            place: 0,
        }
    };
    let wanted = catalog.entries.values().filter(|entry| entry.is_wanted() && !held.contains(&entry.name));
    let wanted = wanted.map(|entry| {
        let runs = |c: &&Candidate| target.get(&entry.name) == Some(&c.revision.id);
        let candidate = entry.candidate.as_ref().ok().or_else(|| entry.unconfigured.as_ref().filter(runs));
        let candidate = candidate.map(|c| (c.revision.id.clone(), c.node.clone()));
        (entry.name.clone(), member(&entry.name, candidate, entry.object.spec.priority))
    });
    let held = held.iter().map(|name| (name.clone(), member(name, with_node(name, &target, &target_nodes), 0)));
    resolve::resolve(&Input { framework: framework.clone(), plugins: wanted.chain(held).collect() })
}
