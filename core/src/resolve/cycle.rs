//! Dependency cycles as whole closed paths, from the lexically smallest member in the direction "requires". Pure.

use super::order::Edges;
use petgraph::{algo::kosaraju_scc, graph::DiGraph};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Paths given for one knot; the rest of its members are in it all the same.
const MOST_PATHS: usize = 32;

/// Plugins that all reach each other, and the cycles that show it. Positions are in the order of the names.
#[derive(Clone, Debug)]
pub(super) struct Knot {
    pub(super) members: Vec<usize>,
    pub(super) paths: Vec<Vec<usize>>,
}

/// All knots among the given plugins, smallest member first.
pub(super) fn knots(edges: &Edges, among: &[usize]) -> Vec<Knot> {
    let mut components = components(edges, among);
    components.sort();
    components.into_iter().map(|members| Knot { paths: paths(edges, &members), members }).collect()
}

fn components(edges: &Edges, among: &[usize]) -> Vec<Vec<usize>> {
    let mut graph = DiGraph::<usize, ()>::new();
    let nodes = among.iter().map(|index| (*index, graph.add_node(*index))).collect::<BTreeMap<_, _>>();
    for (index, node) in &nodes {
        for to in targets(edges, *index).filter_map(|to| nodes.get(&to)) {
            graph.add_edge(*node, *to, ());
        }
    }
    let members = |component: Vec<_>| {
        let mut members = component.into_iter().filter_map(|n| graph.node_weight(n).copied()).collect::<Vec<_>>();
        members.sort_unstable();
        members
    };
    kosaraju_scc(&graph).into_iter().map(members).filter(|members| is_cyclic(edges, members)).collect()
}

fn is_cyclic(edges: &Edges, members: &[usize]) -> bool {
    match members {
        [alone] => targets(edges, *alone).any(|to| to == *alone),
        _ => true,
    }
}

/// Shortest cycles, until each member is in one.
fn paths(edges: &Edges, members: &[usize]) -> Vec<Vec<usize>> {
    let inside = members.iter().copied().collect::<BTreeSet<_>>();
    let mut shown = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for member in members {
        if !shown.contains(member) && paths.len() < MOST_PATHS {
            let path = turned(shortest(edges, *member, &inside));
            shown.extend(path.iter().copied());
            paths.insert(path);
        }
    }
    paths.into_iter().collect()
}

/// The shortest way from a member back to itself, not closed.
fn shortest(edges: &Edges, start: usize, inside: &BTreeSet<usize>) -> Vec<usize> {
    let mut before = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        for to in sorted_targets(edges, from).filter(|to| inside.contains(to)) {
            if to == start {
                return walk_back(&before, start, from);
            }
            before.entry(to).or_insert_with(|| {
                queue.push_back(to);
                from
            });
        }
    }
    vec![start]
}

fn walk_back(before: &BTreeMap<usize, usize>, start: usize, last: usize) -> Vec<usize> {
    let mut path = vec![last];
    let mut at = last;
    while let Some(previous) = before.get(&at).filter(|_| at != start) {
        path.push(*previous);
        at = *previous;
    }
    path.reverse();
    path
}

/// Begins with the smallest member.
fn turned(mut path: Vec<usize>) -> Vec<usize> {
    let first = path.iter().enumerate().min_by_key(|(_, member)| **member).map_or(0, |(at, _)| at);
    path.rotate_left(first);
    path
}

fn targets(edges: &Edges, from: usize) -> impl Iterator<Item = usize> {
    edges.get(from).into_iter().flatten().copied()
}

fn sorted_targets(edges: &Edges, from: usize) -> impl Iterator<Item = usize> + use<> {
    targets(edges, from).collect::<BTreeSet<_>>().into_iter()
}
