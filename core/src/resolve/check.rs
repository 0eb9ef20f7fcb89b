//! Whether a set fits together as it is, and its graph. Pure.

use super::{Need, ResolveError, Set, SetMember, cycle, order};
use semver::Version;
use std::collections::{BTreeMap, BTreeSet};

/// All faults of a set: framework, missing dependencies, versions, cycles. None means that it can be loaded.
#[must_use]
pub fn check(framework: &Version, set: &Set) -> Vec<ResolveError> {
    let members = set.iter().flat_map(|(name, member)| {
        let needs = member.node.dependencies.iter().filter_map(|need| unmet(name, need, set));
        wrong_framework(name, member, framework).into_iter().chain(needs)
    });
    members.chain(circular(set)).collect()
}

/// Each plugin's dependencies, also where they do not resolve; optional ones only where they are present.
#[must_use]
pub fn graph(set: &Set) -> BTreeMap<String, Vec<String>> {
    let shown = |need: &&Need| !need.optional || set.contains_key(&need.name);
    let names = |member: &SetMember| {
        let mut seen = BTreeSet::new();
        let needs = member.node.dependencies.iter().filter(shown);
        needs.filter(|need| seen.insert(&need.name)).map(|need| need.name.clone()).collect()
    };
    set.iter().map(|(name, member)| (name.clone(), names(member))).collect()
}

fn wrong_framework(name: &str, member: &SetMember, framework: &Version) -> Option<ResolveError> {
    let constraint = member.node.framework.as_ref().filter(|constraint| !constraint.matches(framework))?;
    Some(ResolveError::Framework {
        plugin: name.to_owned(),
        constraint: constraint.to_string(),
        found: framework.clone(),
    })
}

fn unmet(plugin: &str, need: &Need, set: &Set) -> Option<ResolveError> {
    need.fault(plugin, set.get(&need.name).map(|member| &member.node.version))
}

fn circular(set: &Set) -> Vec<ResolveError> {
    let edges = order::edges(set);
    let (_, stuck) = order::sort(&edges, &vec![(); edges.len()]);
    let names = set.keys().collect::<Vec<_>>();
    let knots = cycle::knots(&edges, &stuck);
    let error =
        |path: Vec<usize>| ResolveError::circular(path.iter().filter_map(|i| names.get(*i).map(|n| n.as_str())));
    knots.into_iter().flat_map(|knot| knot.paths).map(error).collect()
}

impl Need {
    /// What is wrong with the version that was found for this need of a plugin.
    pub(super) fn fault(&self, plugin: &str, found: Option<&Version>) -> Option<ResolveError> {
        if self.is_met(found) {
            return None;
        }
        let (plugin, dependency, constraint) = (plugin.to_owned(), self.name.clone(), self.constraint.to_string());
        Some(match found {
            Some(found) => ResolveError::Mismatch { plugin, dependency, constraint, found: found.clone() },
            None => ResolveError::Missing { plugin, dependency, constraint },
        })
    }

    pub(super) fn is_met(&self, found: Option<&Version>) -> bool {
        found.map_or(self.optional, |version| self.constraint.matches(version))
    }
}

impl ResolveError {
    /// Of an open path.
    pub(super) fn circular<'a>(path: impl Iterator<Item = &'a str> + Clone) -> Self {
        let closed = path.clone().chain(path.take(1));
        Self::Circular { path: closed.map(str::to_owned).collect() }
    }
}
