//! Which requests any plugin listens to. Pure.

use http::Method;
use rockstar_proto::{
    app::{BodyNeed, Interest, InterestSet, Stage},
    path::covers,
};
use std::sync::Arc;

const AFTER: u32 = Stage::After as u32 | Stage::Written as u32;

/// What is known of the sidecar's interests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// The last set that the sidecar sent.
    pub(crate) set: Option<Arc<Set>>,
    /// Whether the stream that brought it still stands.
    pub(crate) current: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Set {
    entries: Vec<Entry>,
    /// False until the first plugin set ran: the sidecar holds the exchanges.
    ready: bool,
}

#[derive(Debug)]
struct Entry {
    methods: Vec<String>,
    glob: String,
    stages: u32,
    body: bool,
    closed: bool,
}

/// What the interests say of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// A plugin that must not be skipped listens.
    pub(crate) closed: bool,
    /// The same, for the time after the handler.
    pub(crate) closed_after: bool,
    /// A plugin wants the request's body.
    pub(crate) body: bool,
}

/// Nothing is known: all must be asked, and may want everything.
const UNKNOWN: Match = Match { closed: true, closed_after: true, body: true };

impl Knowledge {
    /// None: nobody listens to this request. Without current interests somebody may, and the last set only says
    /// whether it may be served without an answer.
    pub(crate) fn ask(&self, method: &Method, path: &str) -> Option<Match> {
        let Some(set) = &self.set else { return Some(UNKNOWN) };
        let known = set.find(method, path);
        match self.current {
            true => known,
            false => Some(Match { body: true, ..known.unwrap_or_default() }),
        }
    }
}

impl Set {
    pub(crate) fn new(message: InterestSet) -> Self {
        Self { entries: message.entries.into_iter().map(Entry::new).collect(), ready: message.ready }
    }

    fn find(&self, method: &Method, path: &str) -> Option<Match> {
        if !self.ready {
            return Some(UNKNOWN);
        }
        let matching = self.entries.iter().filter(|e| e.covers(method, path));
        matching.fold(None, |found, entry| Some(found.unwrap_or_default().join(entry)))
    }
}

impl Entry {
    fn new(interest: Interest) -> Self {
        Self {
            body: interest.body() != BodyNeed::None,
            methods: interest.methods.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect(),
            glob: interest.glob,
            stages: interest.stages,
            closed: interest.closed,
        }
    }

    fn covers(&self, method: &Method, path: &str) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|m| m == method.as_str());
        method && covers(&self.glob, path)
    }
}

impl Match {
    fn join(self, entry: &Entry) -> Self {
        Self {
            closed: self.closed || entry.closed,
            closed_after: self.closed_after || (entry.closed && entry.stages & AFTER != 0),
            body: self.body || entry.body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(glob: &str, closed: bool, stages: Stage) -> Interest {
        Interest { methods: String::new(), glob: glob.into(), stages: stages as u32, body: 0, closed, route: false }
    }

    fn knowledge(entries: Vec<Interest>, current: bool) -> Knowledge {
        let set = Set::new(InterestSet { version: 1, entries, ready: true });
        Knowledge { set: Some(Arc::new(set)), current }
    }

    #[test]
    fn nothing_known_is_closed() {
        assert_eq!(Knowledge::default().ask(&Method::GET, "/"), Some(UNKNOWN));
        let held = Set::new(InterestSet::default());
        let known = Knowledge { set: Some(Arc::new(held)), current: true };
        assert_eq!(known.ask(&Method::GET, "/"), Some(UNKNOWN));
    }

    #[test]
    fn what_nobody_listens_to_costs_nothing_while_that_is_sure() {
        let entries = || vec![interest("/admin/*", true, Stage::Before)];
        assert_eq!(knowledge(entries(), true).ask(&Method::GET, "/public"), None);
        let unsure = Match { body: true, ..Match::default() };
        assert_eq!(knowledge(entries(), false).ask(&Method::GET, "/public"), Some(unsure));
        let closed = |body| Some(Match { closed: true, body, ..Match::default() });
        assert_eq!(knowledge(entries(), true).ask(&Method::GET, "/admin/x"), closed(false));
        assert_eq!(knowledge(entries(), false).ask(&Method::GET, "/admin/x"), closed(true));
    }

    #[test]
    fn matches_add_up() {
        let after = Interest { body: BodyNeed::Whole.into(), ..interest("/a", true, Stage::After) };
        let known = knowledge(vec![interest("/*", false, Stage::Before), after], true);
        assert_eq!(known.ask(&Method::GET, "/b"), Some(Match::default()));
        assert_eq!(known.ask(&Method::GET, "/a"), Some(Match { closed: true, closed_after: true, body: true }));
    }

    #[test]
    fn methods_narrow_an_entry() {
        let put = Interest { methods: "PUT,POST".into(), ..interest("/*", false, Stage::Before) };
        let known = knowledge(vec![put], true);
        assert!(known.ask(&Method::GET, "/").is_none() && known.ask(&Method::POST, "/").is_some());
    }
}
