//! Second step: which revisions fit together. Pure.

use super::catalog::{Catalog, nodes};
use crate::world::Revision;
use rockstar_core::{
    resolve::{self, Input, Member, Node, Resolution},
    revision::RevisionId,
    rollout::State,
};
use std::{collections::BTreeMap, sync::Arc};

/// The target that the plugins ask for, with what is known of failures and of what is stable.
#[must_use]
pub fn resolve(
    framework: &semver::Version,
    catalog: &Catalog,
    state: &State,
    known: &BTreeMap<RevisionId, Arc<Revision>>,
) -> Resolution {
    let stable = state.stable.clone().unwrap_or_default();
    let stable_nodes = nodes(&stable, known);
    let wanted = catalog.entries.values().filter(|entry| entry.is_wanted());
    let member = |name: &String, candidate: Option<(RevisionId, Node)>, priority| Member {
        candidate: candidate.filter(|(id, _)| state.failed.get(name).is_none_or(|failed| failed.revision != *id)),
        stable: stable.get(name).cloned().zip(stable_nodes.get(name).cloned()),
        priority,
        place: 0,
    };
    let plugins = wanted.map(|entry| {
        let candidate = entry.candidate.as_ref().ok().map(|c| (c.revision.id.clone(), c.node.clone()));
        (entry.name.clone(), member(&entry.name, candidate, entry.object.spec.priority))
    });
    resolve::resolve(&Input { framework: framework.clone(), plugins: plugins.collect() })
}
