//! Change groups: plugins that differ between two sets, joined by required dependencies of either one.

use super::Set;
use crate::revision::RevisionId;
use std::collections::{BTreeMap, BTreeSet};

pub(super) type Requires = BTreeMap<RevisionId, Vec<String>>;

/// The groups of the plugins that differ, each sorted by name.
pub(super) fn change_groups(from: &Set, to: &Set, requires: &Requires) -> Vec<Vec<String>> {
    let mut left = differing(from, to);
    let neighbours = neighbours(&left, [from, to], requires);
    let mut groups = Vec::new();
    while let Some(first) = left.pop_first() {
        groups.push(group_of(first, &mut left, &neighbours));
    }
    groups
}

fn differing<'a>(from: &'a Set, to: &'a Set) -> BTreeSet<&'a str> {
    from.keys().chain(to.keys()).filter(|p| from.get(*p) != to.get(*p)).map(String::as_str).collect()
}

type Neighbours<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn neighbours<'a>(changed: &BTreeSet<&'a str>, sets: [&Set; 2], requires: &'a Requires) -> Neighbours<'a> {
    let mut joined = Neighbours::new();
    for plugin in changed {
        let required = sets.iter().filter_map(|s| requires.get(s.get(*plugin)?)).flatten();
        for other in required.filter(|p| changed.contains(p.as_str())) {
            joined.entry(plugin).or_default().push(other);
            joined.entry(other).or_default().push(plugin);
        }
    }
    joined
}

fn group_of<'a>(first: &'a str, left: &mut BTreeSet<&'a str>, neighbours: &Neighbours<'a>) -> Vec<String> {
    let mut group = vec![first];
    let mut looked_at = 0;
    while let Some(&plugin) = group.get(looked_at) {
        looked_at += 1;
        group.extend(neighbours.get(plugin).into_iter().flatten().filter(|p| left.remove(**p)));
    }
    group.sort_unstable();
    group.into_iter().map(str::to_owned).collect()
}

/// `base` with the members of `group` as they are in `goal`.
pub(super) fn replaced(base: &Set, group: &[String], goal: &Set) -> Set {
    let mut set = base.clone();
    for plugin in group {
        match goal.get(plugin) {
            Some(revision) => set.insert(plugin.clone(), revision.clone()),
            None => set.remove(plugin),
        };
    }
    set
}
