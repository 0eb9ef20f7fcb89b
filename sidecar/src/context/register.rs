//! Registering and unregistering: what a plugin registers in Initialize is in force once that has answered.

use super::Context;
use crate::instance::{Hook, Registrations};
use rockstar_core::manifest::{HookType, UnknownHookType};
use rockstar_proto::{
    plugin::{BodyNeed, Registration, Result as Outcome, registration::Kind},
    types::failure::Class,
};
use tonic::{Response, Status};

const DEFAULT_PRIORITY: i32 = 100;
/// A plugin that registers more is broken.
const MAX_REGISTRATIONS: usize = 1024;

impl Context {
    pub(super) fn registered(&self, wanted: &Registration) -> Result<Response<Outcome>, Status> {
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
            full(registrations)?;
            registrations.hooks.push(hook);
            Ok(())
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

/// No plugin may register without end.
pub(crate) fn full(registrations: &Registrations) -> Result<(), String> {
    match registrations.count() >= MAX_REGISTRATIONS {
        true => Err(format!("too many registrations: a plugin may have {MAX_REGISTRATIONS}")),
        false => Ok(()),
    }
}
