//! Which versions of plugins a call is inside of, itself or through those that caused it: a handler that calls its own
//! application, or a service that calls back, must not wait for a version that waits for it. Memory only.

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

/// Where a call comes from. Clones are the same line; the default one has no ancestors.
#[derive(Clone, Debug, Default)]
pub struct Line(Arc<Node>);

#[derive(Debug, Default)]
struct Node {
    parent: Option<Line>,
    depth: usize,
    inside: Mutex<Vec<Generation>>,
}

/// The line is inside that version until this is dropped.
#[derive(Debug)]
pub struct Inside {
    generation: Generation,
    line: Line,
}

/// The exchanges that are under way, by id. Sharded, since all pass here.
#[derive(Debug, Default)]
pub(crate) struct Ancestry {
    shards: [Mutex<HashMap<String, Line>>; SHARDS],
    hasher: RandomState,
}

/// One exchange's entry. Dropping it forgets the exchange.
#[derive(Debug)]
pub(crate) struct Lineage {
    id: String,
    line: Line,
    ancestry: Arc<Ancestry>,
}

impl Line {
    /// Of a call that comes from this line.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::below(Some(self.clone()))
    }

    fn below(parent: Option<Self>) -> Self {
        let parent = parent.filter(|parent| parent.0.depth < MAX_DEPTH);
        let depth = parent.as_ref().map_or(0, |parent| parent.0.depth + 1);
        Self(Arc::new(Node { parent, depth, inside: Mutex::default() }))
    }

    #[must_use]
    pub fn enter(&self, generation: Generation) -> Inside {
        self.0.inside.lock().push(generation);
        Inside { generation, line: self.clone() }
    }

    /// Whether this call, or one that caused it, is inside that version.
    #[must_use]
    pub fn is_inside(&self, generation: Generation) -> bool {
        let mut line = Some(self);
        while let Some(Self(node)) = line {
            if node.inside.lock().contains(&generation) {
                return true;
            }
            line = node.parent.as_ref();
        }
        false
    }
}

impl Ancestry {
    /// Enters an exchange. A parent that is over, or never was, is none.
    pub(crate) fn born(self: &Arc<Self>, id: &str, parent: &str) -> Lineage {
        let parent = if parent.is_empty() { None } else { self.shard(parent).lock().get(parent).cloned() };
        let line = Line::below(parent);
        self.shard(id).lock().insert(id.to_owned(), line.clone());
        Lineage { id: id.to_owned(), line, ancestry: Arc::clone(self) }
    }

    fn shard(&self, id: &str) -> &Mutex<HashMap<String, Line>> {
        &self.shards[usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default()]
    }
}

impl Lineage {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) const fn line(&self) -> &Line {
        &self.line
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        self.ancestry.shard(&self.id).lock().remove(&self.id);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut inside = self.line.0.inside.lock();
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
        let service = third.line().child();
        let inside = first.line().enter(p);
        let lines = [first.line(), second.line(), third.line(), &service];
        assert!(lines.iter().all(|l| l.is_inside(p) && !l.is_inside(q)));
        assert!(!stranger.line().is_inside(p));
        drop(inside);
        assert!(!service.is_inside(p));
    }

    #[test]
    fn an_exchange_that_is_over_is_forgotten() {
        let ancestry = Arc::<Ancestry>::default();
        drop(ancestry.born("a", ""));
        let late = ancestry.born("b", "a");
        assert_eq!(late.line.0.depth, 0);
        assert_eq!(ancestry.shards.iter().map(|s| s.lock().len()).sum::<usize>(), 1);
    }

    #[test]
    fn a_call_of_itself_without_end_keeps_no_memory_without_end() {
        let ancestry = Arc::<Ancestry>::default();
        let lineages: Vec<_> =
            (0..100).map(|n: u32| ancestry.born(&n.to_string(), &n.wrapping_sub(1).to_string())).collect();
        assert!(lineages.iter().all(|l| l.line.0.depth <= MAX_DEPTH));
    }
}
