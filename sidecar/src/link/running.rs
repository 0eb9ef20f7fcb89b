//! The calls that run in one plugin process, by the id that the process knows: what it asks for meanwhile may name the call
//! that it is for. Memory only.

use crate::ancestry::Line;
use parking_lot::Mutex;
use std::collections::HashMap;

const SHARDS: usize = 16;

/// Sharded, since all callers of a plugin pass here.
#[derive(Debug, Default)]
pub(super) struct Running([Mutex<HashMap<u64, Line>>; SHARDS]);

/// The call runs until this is dropped.
pub(super) struct Runs<'a> {
    running: &'a Running,
    id: u64,
}

impl Running {
    pub(super) fn enter(&self, id: u64, line: &Line) -> Runs<'_> {
        self.shard(id).lock().insert(id, line.clone());
        Runs { running: self, id }
    }

    pub(super) fn line(&self, id: u64) -> Option<Line> {
        self.shard(id).lock().get(&id).cloned()
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Line>> {
        &self.0[usize::try_from(id % SHARDS as u64).unwrap_or_default()]
    }
}

impl Drop for Runs<'_> {
    fn drop(&mut self) {
        self.running.shard(self.id).lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Generation;

    #[test]
    fn a_call_is_known_while_it_runs() {
        let (running, line) = (Running::default(), Line::default());
        let runs = running.enter(7, &line);
        let _inside = line.enter(Generation(1));
        assert!(running.line(7).unwrap().is_inside(Generation(1)));
        assert!(running.line(7 + 16).is_none());
        drop(runs);
        assert!(running.line(7).is_none());
    }
}
