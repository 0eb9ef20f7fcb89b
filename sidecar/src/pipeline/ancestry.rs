//! Which versions of plugins an exchange is inside of, itself or through those that caused it: a handler that calls its
//! own application must not wait for a version that waits for the handler. Memory only.

use crate::instance::Generation;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

const SHARDS: usize = 16;
/// Who calls itself deeper than this has another problem.
const MAX_DEPTH: usize = 16;

/// The exchanges that are under way, by id. Sharded, since all pass here.
#[derive(Debug, Default)]
pub(super) struct Ancestry {
    shards: [Mutex<HashMap<String, Arc<Node>>>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Node {
    parent: Option<Arc<Self>>,
    depth: usize,
    inside: Mutex<Vec<Generation>>,
}

/// One exchange's entry. Dropping it forgets the exchange.
#[derive(Debug)]
pub(super) struct Lineage {
    id: String,
    node: Arc<Node>,
    ancestry: Arc<Ancestry>,
}

/// The exchange is inside that version until this is dropped.
#[derive(Debug)]
pub(super) struct Inside {
    generation: Generation,
    node: Arc<Node>,
}

impl Ancestry {
    /// Enters an exchange. A parent that is over, or never was, is none.
    pub(super) fn born(self: &Arc<Self>, id: &str, parent: &str) -> Lineage {
        let parent = if parent.is_empty() { None } else { self.shard(parent).lock().get(parent).cloned() };
        let parent = parent.filter(|parent| parent.depth < MAX_DEPTH);
        let depth = parent.as_ref().map_or(0, |parent| parent.depth + 1);
        let node = Arc::new(Node { parent, depth, inside: Mutex::default() });
        self.shard(id).lock().insert(id.to_owned(), Arc::clone(&node));
        Lineage { id: id.to_owned(), node, ancestry: Arc::clone(self) }
    }

    fn shard(&self, id: &str) -> &Mutex<HashMap<String, Arc<Node>>> {
        &self.shards[usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default()]
    }
}

impl Lineage {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn enter(&self, generation: Generation) -> Inside {
        self.node.inside.lock().push(generation);
        Inside { generation, node: Arc::clone(&self.node) }
    }

    /// Whether this exchange, or one that caused it, is inside that version.
    pub(super) fn is_inside(&self, generation: Generation) -> bool {
        let mut node = Some(&self.node);
        while let Some(at) = node {
            if at.inside.lock().contains(&generation) {
                return true;
            }
            node = at.parent.as_ref();
        }
        false
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        self.ancestry.shard(&self.id).lock().remove(&self.id);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut inside = self.node.inside.lock();
        if let Some(place) = inside.iter().rposition(|generation| *generation == self.generation) {
            inside.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_inside_of_what_their_ancestors_are_inside_of() {
        let ancestry = Arc::<Ancestry>::default();
        let (p, q) = (Generation(1), Generation(2));
        let first = ancestry.born("a", "");
        let second = ancestry.born("b", "a");
        let third = ancestry.born("c", "b");
        let stranger = ancestry.born("d", "unknown");
        let inside = first.enter(p);
        assert!([&first, &second, &third].iter().all(|l| l.is_inside(p) && !l.is_inside(q)));
        assert!(!stranger.is_inside(p));
        drop(inside);
        assert!(!third.is_inside(p));
    }

    #[test]
    fn an_exchange_that_is_over_is_forgotten() {
        let ancestry = Arc::<Ancestry>::default();
        drop(ancestry.born("a", ""));
        let late = ancestry.born("b", "a");
        assert_eq!(late.node.depth, 0);
        assert_eq!(ancestry.shards.iter().map(|s| s.lock().len()).sum::<usize>(), 1);
    }

    #[test]
    fn a_call_of_itself_without_end_keeps_no_memory_without_end() {
        let ancestry = Arc::<Ancestry>::default();
        let lineages: Vec<_> =
            (0..100).map(|n: u32| ancestry.born(&n.to_string(), &n.wrapping_sub(1).to_string())).collect();
        assert!(lineages.iter().all(|l| l.node.depth <= MAX_DEPTH));
    }
}
