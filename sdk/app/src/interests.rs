//! Which requests any plugin listens to. Pure.

use http::Method;
use rockstar_proto::{
    app::{BodyNeed, Interest, InterestSet, Seen, Stage},
    path::{covers, normalize},
    readings::Readings,
};
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long an answer of the sidecar holds. Less than the second for which it waits for a client to follow: one that was
/// stopped meanwhile, and left behind, must not go by what it knew.
const LEASE: Duration = Duration::from_millis(800);

const AFTER: u32 = Stage::After as u32 | Stage::Written as u32;

/// What is known of the sidecar's interests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knowledge {
    /// The last set that the sidecar sent.
    pub(crate) set: Option<Arc<Set>>,
    /// Whether the stream that brought it still stands.
    pub(crate) current: bool,
    /// Until when that is sure.
    pub(crate) until: Option<Instant>,
}

/// What the sidecar was asked, and when: what it answers was so at that time or later.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Of the last set.
    pub(crate) version: u64,
    ping: u64,
    asked: Instant,
    open: bool,
    until: Instant,
}

impl Lease {
    /// Opening the stream is the first question.
    pub(crate) fn begun(now: Instant) -> Self {
        Self { version: 0, ping: 0, asked: now, open: true, until: now + LEASE }
    }

    /// Asks anew, unless an answer is under way.
    pub(crate) fn ask(&mut self, now: Instant) -> Option<Seen> {
        if self.open {
            return None;
        }
        *self = Self { ping: self.ping + 1, asked: now, open: true, ..*self };
        Some(Seen { version: self.version, ping: self.ping })
    }

    /// Gives until when what is known is sure.
    pub(crate) fn answered(&mut self, pong: u64) -> Option<Instant> {
        if self.open && pong == self.ping {
            (self.open, self.until) = (false, self.asked + LEASE);
        }
        Some(self.until)
    }
}

/// Whether a request must be led through the plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody listens to it.
    Nobody,
    Somebody(Match),
    /// What is known may be out of date: the sidecar has not confirmed it in time.
    Doubtful,
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
    body: BodyNeed,
    closed: bool,
    /// A route answers its normal path alone; a guard sees every reading of its own.
    route: bool,
}

/// The path of a request, as plugins' patterns are matched on it.
#[derive(Debug)]
pub(crate) struct RequestPath<'a> {
    normal: Cow<'a, str>,
    readings: Readings,
}

impl<'a> RequestPath<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        Self { normal: normalize(path), readings: Readings::of(path) }
    }
}

/// What the interests say of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// A plugin that must not be skipped listens.
    pub(crate) closed: bool,
    /// The same, for the time after the handler.
    pub(crate) closed_after: bool,
    /// How a plugin wants the request's body.
    pub(crate) body: BodyNeed,
}

/// Nothing is known: all must be asked, and may want everything.
const UNKNOWN: Match = Match { closed: true, closed_after: true, body: BodyNeed::Stream };

impl Knowledge {
    /// Whether the sidecar should have confirmed this by now.
    pub(crate) fn is_doubtful(&self, now: Instant) -> bool {
        self.current && self.until.is_none_or(|until| now > until)
    }

    pub(crate) fn asked(&self, method: &Method, path: &RequestPath<'_>, now: Instant) -> Asked {
        match self.is_doubtful(now) {
            true => Asked::Doubtful,
            false => self.ask(method, path).map_or(Asked::Nobody, Asked::Somebody),
        }
    }

    /// None: nobody listens to this request. Without current interests somebody may, and the last set only says
    /// whether it may be served without an answer.
    pub(crate) fn ask(&self, method: &Method, path: &RequestPath<'_>) -> Option<Match> {
        let Some(set) = &self.set else { return Some(UNKNOWN) };
        let known = set.find(method, path);
        match self.current {
            true => known,
            false => Some(Match { body: BodyNeed::Stream, ..known.unwrap_or_default() }),
        }
    }
}

impl Set {
    pub(crate) fn new(message: InterestSet) -> Self {
        Self { entries: message.entries.into_iter().map(Entry::new).collect(), ready: message.ready }
    }

    fn find(&self, method: &Method, path: &RequestPath<'_>) -> Option<Match> {
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
            body: interest.body(),
            methods: interest.methods.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect(),
            glob: interest.glob,
            stages: interest.stages,
            closed: interest.closed,
            route: interest.route,
        }
    }

    fn covers(&self, method: &Method, path: &RequestPath<'_>) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|m| m == method.as_str());
        method
            && match self.route {
                true => covers(&self.glob, &path.normal),
                false => path.readings.are_covered(&self.glob),
            }
    }
}

impl Match {
    fn join(self, entry: &Entry) -> Self {
        Self {
            closed: self.closed || entry.closed,
            closed_after: self.closed_after || (entry.closed && entry.stages & AFTER != 0),
            body: self.body.max(entry.body),
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
        let set = Set::new(InterestSet { version: 1, entries, ready: true, pong: 0 });
        Knowledge { set: Some(Arc::new(set)), current, until: None }
    }

    #[test]
    fn nothing_known_is_closed() {
        assert_eq!(Knowledge::default().ask(&Method::GET, &RequestPath::new("/")), Some(UNKNOWN));
        let held = Set::new(InterestSet::default());
        let known = Knowledge { set: Some(Arc::new(held)), current: true, until: None };
        assert_eq!(known.ask(&Method::GET, &RequestPath::new("/")), Some(UNKNOWN));
    }

    #[test]
    fn what_nobody_listens_to_costs_nothing_while_that_is_sure() {
        let entries = || vec![interest("/admin/*", true, Stage::Before)];
        assert_eq!(knowledge(entries(), true).ask(&Method::GET, &RequestPath::new("/public")), None);
        let unsure = Match { body: BodyNeed::Stream, ..Match::default() };
        assert_eq!(knowledge(entries(), false).ask(&Method::GET, &RequestPath::new("/public")), Some(unsure));
        let closed = |body| Some(Match { closed: true, body, ..Match::default() });
        assert_eq!(knowledge(entries(), true).ask(&Method::GET, &RequestPath::new("/admin/x")), closed(BodyNeed::None));
        assert_eq!(
            knowledge(entries(), false).ask(&Method::GET, &RequestPath::new("/admin/x")),
            closed(BodyNeed::Stream)
        );
    }

    #[test]
    fn what_is_not_confirmed_in_time_is_doubtful() {
        let now = Instant::now();
        let mut lease = Lease::begun(now);
        assert_eq!((lease.ask(now), lease.answered(0)), (None, Some(now + LEASE)));
        let later = now + Duration::from_millis(500);
        assert_eq!(lease.ask(later), Some(Seen { version: 0, ping: 1 }));
        assert_eq!(lease.answered(0), Some(now + LEASE), "what was pushed meanwhile answers nothing");
        assert_eq!(lease.answered(1), Some(later + LEASE));
        let known = Knowledge { until: Some(now + LEASE), ..knowledge(Vec::new(), true) };
        assert_eq!(known.asked(&Method::GET, &RequestPath::new("/"), now), Asked::Nobody);
        assert_eq!(known.asked(&Method::GET, &RequestPath::new("/"), now + LEASE + LEASE), Asked::Doubtful);
    }

    #[test]
    fn matches_add_up() {
        let after = Interest { body: BodyNeed::Whole.into(), ..interest("/a", true, Stage::After) };
        let known = knowledge(vec![interest("/*", false, Stage::Before), after], true);
        assert_eq!(known.ask(&Method::GET, &RequestPath::new("/b")), Some(Match::default()));
        assert_eq!(
            known.ask(&Method::GET, &RequestPath::new("/a")),
            Some(Match { closed: true, closed_after: true, body: BodyNeed::Whole })
        );
    }

    #[test]
    fn methods_narrow_an_entry() {
        let put = Interest { methods: "PUT,POST".into(), ..interest("/*", false, Stage::Before) };
        let known = knowledge(vec![put], true);
        assert!(
            known.ask(&Method::GET, &RequestPath::new("/")).is_none()
                && known.ask(&Method::POST, &RequestPath::new("/")).is_some()
        );
    }
}
