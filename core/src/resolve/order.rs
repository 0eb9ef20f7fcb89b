//! The load order: dependencies first, then priority descending, then place in the file, then name. Pure.

use super::Set;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

/// Each plugin's dependencies in the set, by position among its sorted names.
pub(super) type Edges = Vec<Vec<usize>>;

/// Names in load order. Members of a cycle come as if they did not depend on each other.
#[must_use]
pub fn load_order(set: &Set) -> Vec<String> {
    let names = set.keys().collect::<Vec<_>>();
    let ranks = set.values().map(|member| (Reverse(member.priority), member.place)).collect::<Vec<_>>();
    let (order, _) = sort(&edges(set), &ranks);
    order.into_iter().filter_map(|index| names.get(index).map(|name| (*name).clone())).collect()
}

/// The dependencies that are in the set.
pub(super) fn edges(set: &Set) -> Edges {
    let positions = set.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect::<HashMap<_, _>>();
    let present = |need: &super::Need| positions.get(need.name.as_str()).copied();
    set.values().map(|member| member.node.dependencies.iter().filter_map(present).collect()).collect()
}

/// A topological order by rank, and those that no such order has: the members of cycles and what depends on them.
pub(super) fn sort<R: Ord + Copy>(edges: &Edges, ranks: &[R]) -> (Vec<usize>, Vec<usize>) {
    let mut sorter = Sorter::new(edges, ranks);
    sorter.drain();
    let stuck = sorter.stuck();
    let mut by_rank = stuck.clone();
    by_rank.sort_by_key(|index| (ranks.get(*index), *index));
    for index in by_rank {
        sorter.force(index);
    }
    (sorter.order, stuck)
}

struct Sorter<'a, R> {
    ranks: &'a [R],
    dependents: Vec<Vec<usize>>,
    /// Dependencies not yet placed; none once placed itself or about to be.
    waiting: Vec<Option<usize>>,
    ready: BinaryHeap<Reverse<(Option<&'a R>, usize)>>,
    order: Vec<usize>,
}

impl<'a, R: Ord> Sorter<'a, R> {
    fn new(edges: &Edges, ranks: &'a [R]) -> Self {
        let mut sorter = Self {
            ranks,
            dependents: dependents(edges),
            waiting: edges.iter().map(|list| Some(list.len())).collect(),
            ready: BinaryHeap::new(),
            order: Vec::with_capacity(edges.len()),
        };
        for (index, list) in edges.iter().enumerate() {
            if list.is_empty() {
                sorter.release(index);
            }
        }
        sorter
    }

    fn drain(&mut self) {
        while let Some(Reverse((_, index))) = self.ready.pop() {
            self.order.push(index);
            for dependent in self.dependents.get_mut(index).map(std::mem::take).unwrap_or_default() {
                self.settle_one(dependent);
            }
        }
    }

    fn settle_one(&mut self, dependent: usize) {
        let Some(Some(count)) = self.waiting.get_mut(dependent) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.release(dependent);
        }
    }

    fn release(&mut self, index: usize) {
        if let Some(slot) = self.waiting.get_mut(index) {
            *slot = None;
        }
        self.ready.push(Reverse((self.ranks.get(index), index)));
    }

    fn stuck(&self) -> Vec<usize> {
        self.waiting.iter().enumerate().filter(|(_, count)| count.is_some()).map(|(index, _)| index).collect()
    }

    /// Places one although it waits.
    fn force(&mut self, index: usize) {
        if self.waiting.get(index).is_some_and(Option::is_some) {
            self.release(index);
            self.drain();
        }
    }
}

/// The edges turned round.
pub(super) fn dependents(edges: &Edges) -> Edges {
    let mut counts = vec![0; edges.len()];
    for to in edges.iter().flatten() {
        if let Some(count) = counts.get_mut(*to) {
            *count += 1;
        }
    }
    let mut turned = counts.into_iter().map(Vec::with_capacity).collect::<Vec<_>>();
    for (from, list) in edges.iter().enumerate() {
        for to in list {
            if let Some(list) = turned.get_mut(*to) {
                list.push(from);
            }
        }
    }
    turned
}
