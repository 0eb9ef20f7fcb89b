//! Middleware: one async function around the handler, which the host calls in two halves. Between them the function
//! waits in a task of its own.

use crate::{
    Context, PluginContext, Result,
    behalf::Behalf,
    outcome::{caught, failure},
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rockstar_proto::{
    plugin::{Call, Leave, Next as Proceed, call, reply::Reply},
    types::{Change, ContextValue, Failure, Response, failure::Class},
};
use std::{
    borrow::Borrow,
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::JoinHandle};

/// Requests that one middleware may have in their handlers.
const MAX_PARKED: usize = 16 << 10;
/// Whoever has not come back by then, when room is short, is taken for lost.
const LOST: Duration = Duration::from_secs(600);

pub(crate) type MiddlewareHandler = Arc<dyn Fn(Context, Next) -> BoxFuture<'static, Result> + Send + Sync>;

/// The rest of the way: the next middleware, and at last the handler.
#[derive(Debug)]
pub struct Next {
    called: oneshot::Sender<()>,
    back: oneshot::Receiver<Back>,
}

/// What comes back to a middleware.
#[derive(Debug)]
struct Back {
    response: Option<Response>,
    values: Vec<ContextValue>,
    abandoned: bool,
}

/// There will be no response: the client went away, or the handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exchange ended without a response")]
pub struct Abandoned;

impl Next {
    /// Goes on with the request as it is changed so far. Returns when there is a response, which `ctx` shows and changes
    /// from then on; an error says that there will be none. A middleware that never calls this answers the request.
    pub fn run(self, ctx: impl Borrow<Context>) -> impl Future<Output = Result<(), Abandoned>> + Send {
        let ctx = ctx.borrow().clone();
        async move {
            self.called.send(()).map_err(|()| Abandoned)?;
            let back = self.back.await.map_err(|_| Abandoned)?;
            ctx.arrive(back.response, back.values);
            if back.abandoned { Err(Abandoned) } else { Ok(()) }
        }
    }
}

/// One registered middleware with the requests that are in their handlers, by exchange.
pub(crate) struct Middleware {
    pub(crate) name: String,
    handler: MiddlewareHandler,
    parked: Mutex<HashMap<String, Parked>>,
}

struct Parked {
    call: u64,
    since: Instant,
    behalf: Behalf,
    ctx: Context,
    back: oneshot::Sender<Back>,
    running: Running,
}

/// The function's task; it ends when nobody waits for it.
struct Running(JoinHandle<Result<(), Failure>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Running {
    async fn end(&mut self) -> Result<(), Failure> {
        let ended = (&mut self.0).await;
        ended.unwrap_or_else(|error| Err(failure(Class::Panic, "middleware", error.to_string())))
    }
}

impl Middleware {
    pub(crate) fn new(name: &str, handler: MiddlewareHandler) -> Self {
        Self { name: name.to_owned(), handler, parked: Mutex::default() }
    }

    pub(crate) async fn run(&self, mut call: Call, plugin: &PluginContext) -> Result<Reply, Failure> {
        match call.call.take() {
            Some(call::Call::Leave(leave)) => self.leave(&call.exchange, call.values, leave).await,
            enter => self.enter(Call { call: enter, ..call }, plugin).await,
        }
    }

    async fn enter(&self, call: Call, plugin: &PluginContext) -> Result<Reply, Failure> {
        let (id, exchange) = (call.id, call.exchange.clone());
        let ctx = Context::new(call, plugin);
        let ((called, next), (back, coming)) = (oneshot::channel(), oneshot::channel());
        let mut running = self.spawn(ctx.clone(), Next { called, back: coming });
        tokio::select! {
            biased;
            Ok(()) = next => {
                let change = ctx.take().change;
                let behalf = Behalf::current();
                self.park(exchange, Parked { call: id, since: Instant::now(), behalf, ctx, back, running })?;
                Ok(Reply::Next(Proceed { change: Some(change), want_leave: true, ..Proceed::default() }))
            }
            ended = running.end() => ended.map(|()| answered(&ctx)),
        }
    }

    fn spawn(&self, ctx: Context, next: Next) -> Running {
        let handler = Arc::clone(&self.handler);
        // The handler itself may panic before it returns its future.
        let code = caught("middleware", async move { handler(ctx, next).await });
        Running(tokio::spawn(Behalf::current().scope(code)))
    }

    fn park(&self, exchange: String, parked: Parked) -> Result<(), Failure> {
        let mut all = self.parked.lock();
        if all.len() >= MAX_PARKED {
            all.retain(|_, parked| parked.since.elapsed() < LOST);
        }
        if all.len() >= MAX_PARKED {
            let text = format!("more than {MAX_PARKED} requests are in their handlers");
            return Err(failure(Class::Protocol, "middleware", text));
        }
        all.insert(exchange, parked);
        Ok(())
    }

    async fn leave(&self, exchange: &str, values: Vec<ContextValue>, leave: Leave) -> Result<Reply, Failure> {
        let parked = self.parked.lock().remove(exchange);
        let Some(mut parked) = parked else {
            let text = format!("middleware '{}' has not seen this request before", self.name);
            return Err(failure(Class::Protocol, "middleware", text));
        };
        parked.behalf.pass_to(&Behalf::current());
        // The function may have gone on without waiting.
        let _ = parked.back.send(Back { response: leave.response, values, abandoned: leave.abandoned });
        let ended = parked.running.end().await;
        match ended {
            // Nobody asks what it makes of that.
            _ if leave.abandoned => Ok(Reply::Change(Change::default())),
            ended => ended.map(|()| parked.ctx.take_reply()),
        }
    }

    /// The host has given up that call: nothing of it will come back.
    pub(crate) fn cancel(&self, call: u64) {
        self.parked.lock().retain(|_, parked| parked.call != call);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.parked.lock().is_empty()
    }
}

/// The response of a function that did not go on: what it answered, else an empty one with what it set.
fn answered(ctx: &Context) -> Reply {
    let outcome = ctx.take();
    let empty = || Response {
        status: outcome.change.status.unwrap_or(200),
        headers: outcome.change.set.iter().chain(&outcome.change.add).cloned().collect(),
        body: outcome.change.body.clone(),
        trailers: Vec::new(),
    };
    Reply::Answer(outcome.answer.unwrap_or_else(empty))
}

/// The reply of a function without a second half.
pub(crate) fn request_only(ctx: &Context) -> Reply {
    let outcome = ctx.take();
    match outcome.answer {
        Some(answer) => Reply::Answer(answer),
        None => Reply::Next(Proceed { change: Some(outcome.change), ..Proceed::default() }),
    }
}
