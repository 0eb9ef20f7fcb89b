//! All hooks and middleware in the order in which they run, and all routes. Pure, but for reading the registry.

use super::{point::Point, routes::Routes};
use crate::{
    instance::{Generation, Hook, Middleware, Registrations, Route},
    registry::Slots,
    slot::Slot,
};
use rockstar_core::manifest::HookType;
use rockstar_proto::{readings::Readings, types::PathParameter};
use std::{cmp::Reverse, sync::Arc};

/// What runs one after another at one point of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Hooks(HookType),
    /// Middleware, before the handler.
    Inward,
}

/// One thing that a plugin registered.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Hook(Hook),
    Middleware(Middleware),
}

/// One hook or middleware of the version that served when the table was made.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) slot: Arc<Slot>,
    pub(super) generation: Generation,
    pub(super) target: Target,
}

/// The same for a route.
#[derive(Clone, Debug)]
pub(super) struct RouteEntry {
    pub(super) slot: Arc<Slot>,
    pub(super) generation: Generation,
    pub(super) route: Route,
}

/// What all plugins registered, for one version of the registry.
#[derive(Debug, Default)]
pub struct Table {
    version: u64,
    hooks: [Vec<Entry>; HookType::ALL.len()],
    middleware: Vec<Entry>,
    routes: Routes<RouteEntry>,
}

impl Phase {
    /// What of a plugin runs in this phase, in its order.
    pub(super) fn of(self, registrations: &Registrations) -> Vec<Target> {
        let mut targets: Vec<_> = match self {
            Self::Hooks(kind) => {
                registrations.hooks.iter().filter(|hook| hook.kind == kind).cloned().map(Target::Hook).collect()
            }
            Self::Inward => registrations.middleware.iter().cloned().map(Target::Middleware).collect(),
        };
        // Stable: ties stay in order of registration.
        targets.sort_by_key(|target| Reverse(target.priority()));
        targets
    }
}

impl Target {
    const fn priority(&self) -> i32 {
        match self {
            Self::Hook(hook) => hook.priority,
            Self::Middleware(middleware) => middleware.priority,
        }
    }

    pub(super) fn handler(&self) -> &str {
        match self {
            Self::Hook(hook) => &hook.handler,
            Self::Middleware(middleware) => &middleware.handler,
        }
    }

    pub(super) const fn body(&self) -> bool {
        match self {
            Self::Hook(hook) => hook.body,
            Self::Middleware(middleware) => middleware.body,
        }
    }

    pub(super) fn point(&self) -> Point<'_> {
        match self {
            Self::Hook(hook) => Point::Hook(hook.kind),
            Self::Middleware(middleware) => Point::Enter(&middleware.name),
        }
    }

    pub(super) fn listens_to(&self, path: &Readings) -> bool {
        match self {
            Self::Hook(_) => true,
            Self::Middleware(Middleware { routes, .. }) => {
                routes.is_empty() || routes.iter().any(|pattern| path.are_covered(pattern))
            }
        }
    }
}

impl Table {
    pub(super) fn new(version: u64, slots: &Slots) -> Self {
        let mut table = Self { version, ..Self::default() };
        for slot in slots.values() {
            match slot.current() {
                Some(instance) => table.add(slot, instance.generation(), &instance.registrations()),
                // Nobody knows what it would listen to: everything.
                None if slot.state().missing => table.add(slot, Generation::next(), &Registrations::all_requests()),
                None => {}
            }
        }
        for entries in table.hooks.iter_mut().chain([&mut table.middleware]) {
            // Stable: ties stay in load order, then in order of registration.
            entries.sort_by_key(|entry| Reverse(entry.target.priority()));
        }
        table
    }

    fn add(&mut self, slot: &Arc<Slot>, generation: Generation, registrations: &Registrations) {
        let entry = |target| Entry { slot: Arc::clone(slot), generation, target };
        for hook in &registrations.hooks {
            self.hooks[hook.kind as usize].push(entry(Target::Hook(hook.clone())));
        }
        self.middleware.extend(registrations.middleware.iter().cloned().map(Target::Middleware).map(entry));
        for route in &registrations.routes {
            let found = RouteEntry { slot: Arc::clone(slot), generation, route: route.clone() };
            if let Err(error) = self.routes.insert(&route.method, &route.pattern, found) {
                let plugin = slot.name();
                tracing::warn!(plugin, "A route of plugin {plugin} is not served: {error}");
            }
        }
    }

    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn of(&self, phase: Phase) -> &[Entry] {
        match phase {
            Phase::Hooks(kind) => self.hooks(kind),
            Phase::Inward => &self.middleware,
        }
    }

    pub(super) fn hooks(&self, kind: HookType) -> &[Entry] {
        &self.hooks[kind as usize]
    }

    pub(super) fn wants_body(&self, kind: HookType) -> bool {
        self.hooks(kind).iter().any(|entry| entry.target.body())
    }

    /// The plugin that serves this normal path itself.
    pub(super) fn route(&self, method: &str, path: &str) -> Option<(&RouteEntry, Vec<PathParameter>)> {
        self.routes.find(method, path)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.hooks.iter().flatten().chain(&self.middleware)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = &RouteEntry> {
        self.routes.all()
    }
}
