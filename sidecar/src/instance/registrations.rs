//! What one process registered with its host: hooks, middleware, routes, subscriptions, services. Plain data.

use rockstar_core::manifest::{HookType, Manifest};
use rockstar_proto::plugin::BodyNeed;

/// The bytes of an interest beside its method and pattern: their tags and lengths, and five small fields.
const INTEREST_OVERHEAD: usize = 24;

/// All of one process, each list in order of registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registrations {
    pub hooks: Vec<Hook>,
    pub middleware: Vec<Middleware>,
    pub routes: Vec<Route>,
    pub subscriptions: Vec<Subscription>,
    pub services: Vec<Service>,
}

impl Registrations {
    /// What stands for a plugin that must not be skipped and of which nothing ran: a hook on all requests, before others.
    #[must_use]
    pub fn all_requests() -> Self {
        let hook =
            Hook { kind: HookType::PreRequest, priority: i32::MAX, handler: String::new(), order: 0, body: false };
        Self { hooks: vec![hook], ..Self::default() }
    }
}

/// A registered hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub kind: HookType,
    pub priority: i32,
    /// Comes back in `Call.handler`.
    pub handler: String,
    /// Place among the process's registrations of any kind; breaks ties of priority.
    pub order: u32,
    /// Whether it wants the body too.
    pub body: bool,
}

/// Registered middleware; its name is unique in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Middleware {
    pub name: String,
    pub priority: i32,
    pub handler: String,
    pub order: u32,
    /// Patterns; none = every request.
    pub routes: Vec<String>,
    /// Has no second half.
    pub request_only: bool,
    pub body: bool,
}

/// A path that the plugin answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub method: String,
    /// With `:name` for parameters and a last `*name` for the rest.
    pub pattern: String,
    pub handler: String,
    pub order: u32,
    pub body: BodyNeed,
}

/// An event that the plugin listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub event: String,
    pub handler: String,
    pub order: u32,
}

/// A service that the plugin offers to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub description: String,
    pub handler: String,
    pub order: u32,
}

impl Registrations {
    /// What its manifest declares and is not here, in words.
    #[must_use]
    pub fn lacking(&self, manifest: &Manifest) -> Vec<String> {
        let hooks = manifest.hooks.iter().map(|hook| hook.kind);
        let hooks = hooks.filter(|kind| !self.hooks.iter().any(|hook| hook.kind == *kind));
        let events = manifest.events.subscribes.iter();
        let events = events.filter(|event| !self.subscriptions.iter().any(|s| s.event == **event));
        let exports = manifest.exports.iter().map(|export| &export.name);
        let exports = exports.filter(|name| !self.services.iter().any(|service| service.name == **name));
        let words = hooks.map(|kind| format!("a {kind} hook")).chain(events.map(|e| format!("a subscription to {e}")));
        words.chain(exports.map(|name| format!("the service {name}"))).collect()
    }

    /// The bytes of all texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let hooks = self.hooks.iter().map(|hook| hook.handler.len());
        let middleware = self.middleware.iter();
        let middleware = middleware.map(|m| m.name.len() + m.handler.len() + texts(&m.routes));
        let routes = self.routes.iter().map(|r| r.method.len() + r.pattern.len() + r.handler.len());
        let subscriptions = self.subscriptions.iter().map(|s| s.event.len() + s.handler.len());
        let services = self.services.iter();
        let services = services.map(|s| s.name.len() + s.description.len() + s.handler.len());
        hooks.chain(middleware).chain(routes).chain(subscriptions).chain(services).sum()
    }

    /// The bytes of what applications are told of it, at most.
    #[must_use]
    pub fn interest_bytes(&self) -> usize {
        let middleware = self.middleware.iter().map(|m| texts(&m.routes) + m.routes.len() * INTEREST_OVERHEAD);
        let routes = self.routes.iter().map(|r| r.method.len() + r.pattern.len() + INTEREST_OVERHEAD);
        middleware.chain(routes).sum()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.hooks.len() + self.middleware.len() + self.routes.len() + self.subscriptions.len() + self.services.len()
    }
}

fn texts(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}
