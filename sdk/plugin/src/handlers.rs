//! What the plugin registered, by the id under which the host calls it. No I/O.

use crate::{
    Context, HookContext, HookType, PluginContext, Result, Service,
    events::EventHandler,
    middleware::{Middleware, request_only},
    outcome::{caught, failure},
    router,
};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rockstar_proto::{
    plugin::{Call, call, reply},
    types::{Change, Failure, failure::Class},
};
use std::{collections::HashMap, sync::Arc};

pub(crate) type HookHandler = Arc<dyn Fn(HookContext) -> BoxFuture<'static, Result> + Send + Sync>;

pub(crate) type RouteHandler = Arc<dyn Fn(Context) -> BoxFuture<'static, Result> + Send + Sync>;

/// One registered handler.
#[derive(Clone)]
pub(crate) enum Handler {
    Hook(HookType, HookHandler),
    Event(EventHandler),
    Service(Arc<Service>),
    Route(RouteHandler),
    Middleware(Arc<Middleware>),
    /// Middleware without a second half, by its name.
    RequestOnly(String, RouteHandler),
}

impl Handler {
    /// Runs one call to its end; an error or a panic is a failure.
    pub(crate) async fn run(&self, mut call: Call, plugin: &PluginContext) -> Result<reply::Reply, Failure> {
        match self {
            Self::Hook(kind, handler) => {
                let hook = HookContext::new(*kind, call, plugin);
                // The handler itself may panic before it returns its future.
                caught(kind.as_str(), async { handler(hook.clone()).await }).await?;
                Ok(hook.take_reply())
            }
            Self::Route(handler) => {
                let ctx = Context::new(call, plugin);
                caught("route", async { handler(ctx.clone()).await }).await?;
                Ok(router::reply(&ctx))
            }
            Self::Middleware(middleware) => middleware.run(call, plugin).await,
            Self::RequestOnly(_, handler) => {
                let ctx = Context::new(call, plugin);
                caught("middleware", async { handler(ctx.clone()).await }).await?;
                Ok(request_only(&ctx))
            }
            Self::Event(handler) => match call.call.take() {
                Some(call::Call::Event(event)) => {
                    caught("event", async { handler(event.try_into()?).await }).await?;
                    Ok(reply::Reply::Change(Change::default()))
                }
                _ => Err(misfit()),
            },
            Self::Service(service) => match call.call.take() {
                Some(call::Call::Invoke(invocation)) => service.invoke(invocation).await.map(reply::Reply::Result),
                _ => Err(misfit()),
            },
        }
    }
}

impl Handler {
    fn is_middleware(&self, name: &str) -> bool {
        match self {
            Self::Middleware(middleware) => middleware.name == name,
            Self::RequestOnly(own, _) => own == name,
            Self::Hook(..) | Self::Route(_) | Self::Event(_) | Self::Service(_) => false,
        }
    }

    fn is_idle(&self) -> bool {
        !matches!(self, Self::Middleware(middleware) if !middleware.is_idle())
    }
}

fn misfit() -> Failure {
    failure(Class::Protocol, "", "the call does not fit its handler".to_owned())
}

#[derive(Default)]
pub(crate) struct Handlers {
    by_id: RwLock<HashMap<String, Handler>>,
    /// Unregistered middleware: requests that are in their handlers come back to it.
    retired: Mutex<Vec<String>>,
}

impl Handlers {
    /// Gives the id under which the host will call it.
    pub(crate) fn keep(&self, prefix: &str, handler: Handler) -> String {
        let mut handlers = self.by_id.write();
        let id = (1..).map(|n| format!("{prefix}/{n}")).find(|id| !handlers.contains_key(id)).unwrap_or_default();
        handlers.insert(id.clone(), handler);
        id
    }

    pub(crate) fn forget(&self, id: &str) {
        self.by_id.write().remove(id);
    }

    /// The host calls no middleware of that name any more, but for what is under way.
    pub(crate) fn retire_middleware(&self, name: &str) {
        let mut retired = self.retired.lock();
        let mut handlers = self.by_id.write();
        let (idle, busy): (Vec<_>, _) = retired.drain(..).partition(|id| handlers.get(id).is_none_or(Handler::is_idle));
        idle.iter().for_each(|id| drop(handlers.remove(id)));
        let named = handlers.iter().filter(|(_, handler)| handler.is_middleware(name)).map(|(id, _)| id.clone());
        *retired = named.chain(busy).collect();
    }

    /// The host has given up a call that may wait for its second half.
    pub(crate) fn cancel(&self, call: u64) {
        for handler in self.by_id.read().values() {
            if let Handler::Middleware(middleware) = handler {
                middleware.cancel(call);
            }
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Handler> {
        self.by_id.read().get(id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.read().len()
    }
}
