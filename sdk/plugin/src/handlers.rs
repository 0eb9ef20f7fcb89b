//! What the plugin registered, by the id under which the host calls it. No I/O.

use crate::{HookContext, HookType, Result, Service, events::EventHandler, outcome::caught, outcome::failure};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use rockstar_proto::{
    plugin::{Call, call, reply},
    types::{Change, Failure, failure::Class},
};
use std::{collections::HashMap, sync::Arc};

pub(crate) type HookHandler = Arc<dyn Fn(HookContext) -> BoxFuture<'static, Result> + Send + Sync>;

/// One registered handler.
#[derive(Clone)]
pub(crate) enum Handler {
    Hook(HookType, HookHandler),
    Event(EventHandler),
    Service(Arc<Service>),
}

impl Handler {
    /// Runs one call to its end; an error or a panic is a failure.
    pub(crate) async fn run(&self, call: Call) -> Result<reply::Reply, Failure> {
        match (self, call.call) {
            (Self::Hook(kind, handler), inner) => {
                let hook = HookContext::new(*kind, Call { call: inner, ..call });
                // The handler itself may panic before it returns its future.
                caught(kind.as_str(), async { handler(hook.clone()).await }).await?;
                Ok(hook.take_reply())
            }
            (Self::Event(handler), Some(call::Call::Event(event))) => {
                caught("event", async { handler(event.try_into()?).await }).await?;
                Ok(reply::Reply::Change(Change::default()))
            }
            (Self::Service(service), Some(call::Call::Invoke(invocation))) => {
                service.invoke(invocation).await.map(reply::Reply::Result)
            }
            _ => Err(failure(Class::Protocol, "", "the call does not fit its handler".to_owned())),
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
