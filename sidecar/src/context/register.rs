//! Registering and unregistering: what a plugin registers in Initialize is in force once that has answered.

use super::Context;
use crate::{
    bounds::{MAX_HANDLER, MAX_NAME, MAX_PATTERN, limits},
    instance::{Hook, Registrations},
};
use rockstar_core::limits::Limit;
use rockstar_core::manifest::{HookType, UnknownHookType};
use rockstar_proto::{
    plugin::{BodyNeed, Registration, Result as Outcome, registration::Kind},
    types::failure::Class,
};
use tonic::{Response, Status};

const DEFAULT_PRIORITY: i32 = 100;

impl Context {
    pub(super) fn registered(&self, wanted: &Registration) -> Result<Response<Outcome>, Status> {
        if let Err(text) = check_sizes(wanted) {
            return Ok(self.answer("Register", Err(text)));
        }
        if let Err(text) = self.framework.routes.has_room(&self.instance, interest_bytes(wanted)) {
            return Ok(self.answer("Register", Err(text)));
        }
        match wanted.kind() {
            Kind::Hook => Ok(self.answer("RegisterHook", self.register_hook(wanted))),
            Kind::Unspecified => Err(Status::invalid_argument("a registration names its kind")),
            Kind::Middleware => Ok(self.answer("RegisterMiddleware", self.register_middleware(wanted))),
            Kind::Route => Ok(self.route_answer(wanted)),
            Kind::Subscription => Ok(self.answer("SubscribeEvent", self.subscribe(wanted))),
            Kind::Service => Ok(self.answer("ExportService", self.export(wanted))),
        }
    }

    pub(super) fn unregistered(&self, wanted: &Registration) -> Result<Response<Outcome>, Status> {
        match wanted.kind() {
            Kind::Middleware => Ok(self.answer("UnregisterMiddleware", self.unregister_middleware(&wanted.name))),
            _ => Err(Status::invalid_argument("only middleware can be unregistered; the rest goes with its plugin")),
        }
    }

    fn route_answer(&self, wanted: &Registration) -> Response<Outcome> {
        match self.register_route(wanted) {
            Ok(done) => self.answer("Router", done),
            Err(denied) => Response::new(Outcome { failure: Some(denied) }),
        }
    }

    fn answer(&self, stage: &str, done: Result<bool, String>) -> Response<Outcome> {
        if done == Ok(true) {
            self.framework.registry.touch();
        }
        Response::new(Outcome { failure: done.err().map(|text| self.failed(Class::Returned, stage, text)) })
    }

    fn register_hook(&self, wanted: &Registration) -> Result<bool, String> {
        let kind: HookType = wanted.name.parse().map_err(|e: UnknownHookType| e.to_string())?;
        self.warn_undeclared_hook(kind);
        let hook = Hook {
            kind,
            priority: wanted.priority.unwrap_or(DEFAULT_PRIORITY),
            handler: wanted.handler.clone(),
            order: self.instance.next_order(),
            body: wanted.body() != BodyNeed::None,
        };
        self.instance.edit(|registrations| {
            registrations.hooks.push(hook);
            check_room(registrations)
        })
    }

    /// What a plugin registers counts; its manifest is documentation, and a difference is pointed out.
    fn warn_undeclared_hook(&self, kind: HookType) {
        let manifest = self.instance.manifest();
        if !manifest.hooks.iter().any(|hook| hook.kind == kind) {
            let plugin = self.instance.plugin();
            tracing::warn!(plugin, "Plugin {plugin} registers a {kind} hook that its manifest does not declare");
        }
    }
}

/// Refuses registrations with one more than a plugin may have.
pub(crate) fn check_room(registrations: &Registrations) -> Result<(), String> {
    let limits = limits();
    let (count, bytes) = (limits.size(Limit::Registrations), limits.size(Limit::RegistrationBytes));
    match () {
        () if registrations.count() > count => {
            Err(format!("too many registrations: a plugin may have {count} (limits.registrations)"))
        }
        () if registrations.bytes() > bytes => {
            Err(format!("registrations are too large: a plugin's may have {bytes} bytes (limits.registrationBytes)"))
        }
        () => Ok(()),
    }
}

/// Refuses texts that no call could carry. They are not repeated in the error.
fn check_sizes(wanted: &Registration) -> Result<(), String> {
    let texts = [
        ("name", &wanted.name, MAX_NAME),
        ("method", &wanted.method, MAX_NAME),
        ("handler", &wanted.handler, MAX_HANDLER),
        ("description", &wanted.description, MAX_PATTERN),
    ];
    let patterns = wanted.routes.iter().map(|pattern| ("route pattern", pattern, MAX_PATTERN));
    match texts.into_iter().chain(patterns).find(|(_, text, max)| text.len() > *max) {
        Some((what, text, max)) => Err(format!("a {what} has {} bytes, more than the {max} it may have", text.len())),
        None => Ok(()),
    }
}

/// What applications would be told of it, in bytes.
fn interest_bytes(wanted: &Registration) -> usize {
    let pattern = |pattern: &String| pattern.len() + wanted.method.len() + 24;
    wanted.routes.iter().map(pattern).sum()
}
