//! Hooks: their types, and what their handlers are given. No I/O.

use crate::{Context, PluginContext};
use rockstar_proto::{
    plugin::{Call, call, reply},
    types,
};
use std::fmt;

/// The points of a request and of the framework's life at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookType {
    Startup,
    Shutdown,
    PreRequest,
    PostRequest,
    PreResponse,
    PostResponse,
    Error,
}

impl HookType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Shutdown => "shutdown",
            Self::PreRequest => "pre_request",
            Self::PostRequest => "post_request",
            Self::PreResponse => "pre_response",
            Self::PostResponse => "post_response",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for HookType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The plugin that failed; empty for the application.
    pub plugin: String,
    /// `pre_request`, `handler`, …
    pub stage: String,
    pub text: String,
}

/// One call of a hook. Clones are the same call; what they do after the handler returned has no effect.
#[derive(Clone, Debug)]
pub struct HookContext {
    kind: HookType,
    context: Context,
    failure: Option<Failure>,
}

impl HookContext {
    pub(crate) fn new(kind: HookType, call: Call, plugin: &PluginContext) -> Self {
        let failure = match &call.call {
            Some(call::Call::ErrorHook(hook)) => hook.failure.clone().map(Failure::from),
            _ => None,
        };
        Self { kind, context: Context::new(call, plugin), failure }
    }

    #[must_use]
    pub const fn hook_type(&self) -> HookType {
        self.kind
    }

    /// The request, and in later hooks its response.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// What went wrong; only in error hooks.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    pub(crate) fn take_reply(&self) -> reply::Reply {
        self.context.take_reply()
    }
}

impl From<types::Failure> for Failure {
    fn from(f: types::Failure) -> Self {
        Self { plugin: f.plugin, stage: f.stage, text: f.text }
    }
}
