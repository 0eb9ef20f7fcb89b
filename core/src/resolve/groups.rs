//! Change groups: changed plugins joined by dependencies, which move, fail and are promoted together. An optional dependency
//! joins where one of the two versions does not fit it: its plugin may be absent, but not there in another version. Pure.

use super::{Need, Set, load_order};
use petgraph::unionfind::UnionFind;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeGroup {
    /// In load order; plugins that leave stand where they would be loaded.
    pub plugins: Vec<String>,
}

/// Groups of the plugins whose revisions differ between two sets, by the dependencies of either; in load order.
#[must_use]
pub fn change_groups(old: &Set, new: &Set) -> Vec<ChangeGroup> {
    change_groups_before(old, new, &Set::new())
}

/// Groups the plugins also by the set that they may return to: where nothing runs yet, it tells which versions fit.
#[must_use]
pub fn change_groups_before(old: &Set, new: &Set, fallback: &Set) -> Vec<ChangeGroup> {
    let mut both = old.clone();
    both.extend(new.iter().map(|(name, member)| (name.clone(), member.clone())));
    let mut order = load_order(&both);
    order.retain(|name| old.get(name).map(|m| &m.revision) != new.get(name).map(|m| &m.revision));
    let joined = join(&order, [old, new, fallback]);
    gather(order, &joined)
}

fn join(changed: &[String], sets: [&Set; 3]) -> UnionFind<usize> {
    let positions = changed.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect::<BTreeMap<_, _>>();
    let mut joined = UnionFind::new(changed.len());
    for (name, at) in &positions {
        let needs = sets.iter().filter_map(|set| set.get(*name)).flat_map(|member| &member.node.dependencies);
        for other in needs.filter(|need| binds(need, sets)).filter_map(|need| positions.get(need.name.as_str())) {
            joined.union(*at, *other);
        }
    }
    joined
}

/// Tells whether the plugins may not be of different sets: always where the one requires the other.
fn binds(need: &Need, sets: [&Set; 3]) -> bool {
    let misfits = |set: &Set| set.get(&need.name).is_some_and(|member| !need.constraint.matches(&member.node.version));
    !need.optional || sets.into_iter().any(misfits)
}

fn gather(changed: Vec<String>, joined: &UnionFind<usize>) -> Vec<ChangeGroup> {
    let mut groups: Vec<ChangeGroup> = Vec::new();
    let mut places = BTreeMap::new();
    for (at, name) in changed.into_iter().enumerate() {
        let place = *places.entry(joined.find(at)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.plugins.push(name),
            None => groups.push(ChangeGroup { plugins: vec![name] }),
        }
    }
    groups
}
