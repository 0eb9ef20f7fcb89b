//! Where in an exchange a plugin is called, and what its failure there may do. Pure.

use rockstar_core::{duration, manifest::HookType};
use std::{fmt, time::Duration};

/// The place of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point<'a> {
    Hook(HookType),
    /// Middleware of that name, before the handler.
    Enter(&'a str),
    /// The same, after it.
    Leave(&'a str),
    /// A plugin's route, as method and pattern.
    Route(&'a str),
}

/// When a call comes, as far as its failure goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The handler has not run: a failure can keep it from running.
    Before,
    /// The plugin is the handler.
    Handler,
    /// There is a response that is not written yet.
    After,
    /// Nobody waits for it.
    Aside,
}

impl Point<'_> {
    pub(super) const fn moment(self) -> Moment {
        match self {
            Self::Hook(HookType::PreRequest) | Self::Enter(_) => Moment::Before,
            Self::Route(_) => Moment::Handler,
            Self::Hook(HookType::PostRequest | HookType::PreResponse) | Self::Leave(_) => Moment::After,
            Self::Hook(_) => Moment::Aside,
        }
    }

    pub(super) fn timeout(self, limit: Duration) -> String {
        let limit = duration::format(limit);
        match self {
            Self::Hook(kind) => format!("hook execution timeout: {kind} hook exceeded {limit} timeout"),
            Self::Enter(name) | Self::Leave(name) => {
                format!("middleware execution timeout: {name} middleware exceeded {limit} timeout")
            }
            Self::Route(route) => format!("handler execution timeout: {route} handler exceeded {limit} timeout"),
        }
    }
}

/// As `Failure.stage` names it.
impl fmt::Display for Point<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(kind) => f.write_str(kind.name()),
            Self::Enter(name) | Self::Leave(name) => write!(f, "middleware:{name}"),
            Self::Route(route) => write!(f, "route:{route}"),
        }
    }
}
