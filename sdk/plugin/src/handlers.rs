//! What the plugin registered, by the id under which the host calls it. No I/O.

use crate::{HookContext, HookType, Result, outcome::caught};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use rockstar_proto::{
    plugin::{Call, reply},
    types::Failure,
};
use std::{collections::HashMap, sync::Arc};

pub(crate) type HookHandler = Arc<dyn Fn(HookContext) -> BoxFuture<'static, Result> + Send + Sync>;

/// One registered handler.
#[derive(Clone)]
pub(crate) enum Handler {
    Hook(HookType, HookHandler),
}

impl Handler {
    /// Runs one call to its end; an error or a panic is a failure.
    pub(crate) async fn run(&self, call: Call) -> Result<reply::Reply, Failure> {
        match self {
            Self::Hook(kind, handler) => {
                let hook = HookContext::new(*kind, call);
                // The handler itself may panic before it returns its future.
                caught(kind.as_str(), async { handler(hook.clone()).await }).await?;
                Ok(hook.take_reply())
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Handlers(RwLock<HashMap<String, Handler>>);

impl Handlers {
    /// Gives the id under which the host will call it.
    pub(crate) fn keep(&self, prefix: &str, handler: Handler) -> String {
        let mut handlers = self.0.write();
        let id = (1..).map(|n| format!("{prefix}/{n}")).find(|id| !handlers.contains_key(id)).unwrap_or_default();
        handlers.insert(id.clone(), handler);
        id
    }

    pub(crate) fn forget(&self, id: &str) {
        self.0.write().remove(id);
    }

    pub(crate) fn get(&self, id: &str) -> Option<Handler> {
        self.0.read().get(id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }
}
