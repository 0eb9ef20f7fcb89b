//! What the plugins listen to, as applications are told: by path where middleware and routes are all there is. Pure.

use super::{
    routes,
    table::{Entry, RouteEntry, Table, Target},
};
use rockstar_core::{assignment::FailurePolicy, manifest::HookType};
use rockstar_proto::{
    app::{BodyNeed, Interest, Stage},
    plugin,
};
use std::collections::BTreeMap;

const ALL: &str = "/*";

/// Where somebody listens: failure policy Closed or not, whether it is a route, methods, pattern.
type Place = (bool, bool, String, String);

/// What is wanted there.
#[derive(Debug, Default)]
struct Want {
    stages: u32,
    body: BodyNeed,
}

impl Table {
    /// One entry for each pattern, failure policy and method.
    #[must_use]
    pub fn interests(&self) -> Vec<Interest> {
        let mut places: BTreeMap<Place, Want> = BTreeMap::new();
        for entry in self.entries() {
            let (stages, body) = wanted(&entry.target);
            for pattern in patterns(entry) {
                let place = (is_closed(entry), false, String::new(), pattern.to_owned());
                places.entry(place).or_default().add(stages, body);
            }
        }
        for RouteEntry { route, .. } in self.routes() {
            let methods = if route.method == "GET" { "GET,HEAD" } else { &route.method };
            // Without the sidecar nobody can answer.
            let place = (true, true, methods.to_owned(), routes::glob(&route.pattern));
            places.entry(place).or_default().add(Stage::Before as u32, need(route.body));
        }
        places.into_iter().filter(|(_, want)| want.stages != 0).map(interest).collect()
    }
}

fn interest(((closed, route, methods, glob), want): (Place, Want)) -> Interest {
    Interest { methods, glob, stages: want.stages, body: want.body.into(), closed, route }
}

fn is_closed(entry: &Entry) -> bool {
    entry.slot.policies().failure_policy == FailurePolicy::Closed
}

fn patterns(entry: &Entry) -> Vec<&str> {
    match &entry.target {
        Target::Middleware(middleware) if !middleware.routes.is_empty() => {
            middleware.routes.iter().map(String::as_str).collect()
        }
        _ => vec![ALL],
    }
}

/// The stages, and how it wants the request's body.
fn wanted(target: &Target) -> (u32, BodyNeed) {
    let whole = |wanted| if wanted { BodyNeed::Whole } else { BodyNeed::None };
    match target {
        Target::Hook(hook) => (stage(hook.kind) as u32, whole(hook.body && hook.kind == HookType::PreRequest)),
        Target::Middleware(middleware) => {
            let after = if middleware.request_only { Stage::None } else { Stage::After };
            (Stage::Before as u32 | after as u32, whole(middleware.body))
        }
    }
}

const fn need(body: plugin::BodyNeed) -> BodyNeed {
    match body {
        plugin::BodyNeed::None => BodyNeed::None,
        plugin::BodyNeed::Whole => BodyNeed::Whole,
        plugin::BodyNeed::Stream => BodyNeed::Stream,
    }
}

const fn stage(kind: HookType) -> Stage {
    match kind {
        HookType::Startup | HookType::Shutdown => Stage::None,
        HookType::PreRequest => Stage::Before,
        HookType::PostRequest | HookType::PreResponse => Stage::After,
        HookType::PostResponse => Stage::Written,
        HookType::Error => Stage::Failure,
    }
}

impl Want {
    fn add(&mut self, stages: u32, body: BodyNeed) {
        self.stages |= stages;
        self.body = self.body.max(body);
    }
}
