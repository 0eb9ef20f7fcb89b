//! Leads a request through the plugin's handlers as a host would: hooks, middleware, routes. No I/O of its own.

use super::{
    MockPluginContext,
    message::{self, Request, Response},
    state::priority,
};
use crate::{HookType, Result};
use rockstar_proto::{
    plugin::{Call, ErrorHook, Leave, Registration, ResponseHook, call, registration::Kind, reply},
    readings::Readings,
    types::{Change, Failure, failure::Class},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The request as it was changed.
    pub request: Request,
    /// The response; in [`MockPluginContext::pre_request`] only if the plugin answered itself.
    pub response: Option<Response>,
    /// What handlers failed with, in their order.
    pub errors: Vec<String>,
}

impl Outcome {
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(Response::status)
    }

    /// The response's header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.as_ref()?.get_header(name)
    }

    /// The response's body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        self.response.as_ref().map(Response::json).unwrap_or_default()
    }

    /// The values that are set on the request.
    #[must_use]
    pub fn values(&self) -> BTreeMap<String, Value> {
        message::readable(&self.request.values)
    }
}

impl MockPluginContext {
    /// Runs the plugin's pre_request hooks on a request.
    pub async fn pre_request(&self, request: Request) -> Outcome {
        let mut exchange = Exchange::new(self, request);
        exchange.before_handler().await;
        exchange.outcome
    }

    /// Runs the plugin's hooks of that type (one that comes after the handler) on a request and its response.
    pub async fn hook(&self, kind: HookType, request: Request, response: Response) -> Outcome {
        let mut exchange = Exchange::new(self, request);
        exchange.outcome.response = Some(response);
        exchange.after_handler(kind).await;
        exchange.outcome
    }

    /// Runs the plugin's error hooks: that plugin failed in that stage, and the client gets this response.
    pub async fn error(&self, request: Request, plugin: &str, text: &str, response: Response) -> Outcome {
        let mut exchange = Exchange::new(self, request);
        let class = Class::Returned.into();
        let stage = HookType::PreRequest.to_string();
        exchange.failure = Some(Failure { class, plugin: plugin.into(), stage, text: text.into() });
        exchange.outcome.response = Some(response);
        exchange.after_handler(HookType::Error).await;
        exchange.outcome
    }

    /// Leads a request all the way through the plugin. Where no route of the plugin fits, the application answers 200.
    pub async fn request(&self, request: Request) -> Outcome {
        self.request_with(request, |_| Response::new(200)).await
    }

    /// The same with an application of the test's own.
    pub async fn request_with(&self, request: Request, application: impl FnOnce(&Request) -> Response) -> Outcome {
        let mut exchange = Exchange::new(self, request);
        exchange.before_handler().await;
        let parked = exchange.enter().await;
        exchange.handle(application).await;
        exchange.after_handler(HookType::PostRequest).await;
        exchange.leave(parked).await;
        exchange.after_handler(HookType::PreResponse).await;
        exchange.after_handler(HookType::PostResponse).await;
        exchange.outcome
    }
}

struct Exchange<'a> {
    mock: &'a MockPluginContext,
    id: String,
    outcome: Outcome,
    failure: Option<Failure>,
}

/// Middleware that waits for the response.
struct Parked {
    handler: String,
    state: bytes::Bytes,
}

impl<'a> Exchange<'a> {
    fn new(mock: &'a MockPluginContext, request: Request) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("test-{}", NEXT.fetch_add(1, Relaxed));
        Self { mock, id, outcome: Outcome { request, ..Outcome::default() }, failure: None }
    }

    async fn before_handler(&mut self) {
        for handler in self.hooks(HookType::PreRequest) {
            let reply = self.call(handler, call::Call::RequestHook(self.outcome.request.message.clone())).await;
            self.take(reply);
            if self.outcome.response.is_some() {
                return;
            }
        }
    }

    async fn after_handler(&mut self, kind: HookType) {
        for handler in self.hooks(kind) {
            let Some(response) = self.outcome.response.clone() else { return };
            let (request, response) = (Some(self.outcome.request.without_body()), Some(response.0));
            let call = match self.failure.clone() {
                Some(failure) => call::Call::ErrorHook(ErrorHook { request, response, failure: Some(failure) }),
                None => call::Call::ResponseHook(ResponseHook { request, response }),
            };
            let reply = self.call(handler, call).await;
            self.take(reply);
        }
    }

    /// Gives what is to be left, the last one entered first.
    async fn enter(&mut self) -> Vec<Parked> {
        let mut parked = Vec::new();
        for middleware in self.middleware() {
            if self.outcome.response.is_some() {
                break;
            }
            let handler = middleware.handler;
            let call = call::Call::Enter(self.outcome.request.message.clone());
            match self.call(handler.clone(), call).await {
                Ok(reply::Reply::Next(next)) => {
                    self.change(next.change.unwrap_or_default());
                    if next.want_leave && !middleware.request_only {
                        parked.insert(0, Parked { handler, state: next.state });
                    }
                }
                reply => self.take(reply),
            }
        }
        parked
    }

    async fn leave(&mut self, parked: Vec<Parked>) {
        for Parked { handler, state } in parked {
            let request = Some(self.outcome.request.without_body());
            let response = self.outcome.response.clone().map(|response| response.0);
            let leave = Leave { request, abandoned: response.is_none(), response, state };
            let reply = self.call(handler, call::Call::Leave(leave)).await;
            self.take(reply);
        }
    }

    async fn handle(&mut self, application: impl FnOnce(&Request) -> Response) {
        if self.outcome.response.is_some() {
            return;
        }
        let Some((handler, request)) = self.route() else {
            self.outcome.response = Some(application(&self.outcome.request));
            return;
        };
        let reply = self.call(handler, call::Call::Route(request)).await;
        if matches!(reply, Ok(reply::Reply::Change(_))) {
            // Of a route, what makes an empty response the answer.
            self.outcome.response = Some(Response::new(200));
        }
        self.take(reply);
        if self.outcome.response.is_none() {
            self.outcome.response = Some(Response::new(500));
        }
    }

    fn route(&self) -> Option<(String, rockstar_proto::types::Request)> {
        let request = &self.outcome.request;
        let state = self.mock.0.state.lock();
        let routes = state.registrations.iter().filter(|r| r.kind() == Kind::Route);
        let mut routes = routes.filter(|r| r.method == request.message.method);
        routes.find_map(|r| Some((r.handler.clone(), request.routed(r.routes.first()?)?)))
    }

    fn hooks(&self, kind: HookType) -> Vec<String> {
        self.mock.handlers(Kind::Hook, kind.as_str())
    }

    fn middleware(&self) -> Vec<Registration> {
        let readings = Readings::of(&self.outcome.request.message.path);
        let fits = |r: &Registration| r.routes.is_empty() || r.routes.iter().any(|glob| readings.are_covered(glob));
        let state = self.mock.0.state.lock();
        let all = state.registrations.iter().filter(|r| r.kind() == Kind::Middleware);
        let mut all: Vec<_> = all.filter(|r| fits(r)).cloned().collect();
        all.sort_by_key(|r| -priority(r));
        all
    }

    async fn call(&self, handler: String, call: call::Call) -> Result<reply::Reply> {
        let exchange = self.id.clone();
        let values = self.outcome.request.values.clone();
        let call = Call { handler, exchange, values, call: Some(call), ..Call::default() };
        self.mock.answered(call).await
    }

    fn take(&mut self, reply: Result<reply::Reply>) {
        match reply {
            Ok(reply::Reply::Change(change)) => self.change(change),
            Ok(reply::Reply::Answer(answer)) => self.outcome.response = Some(Response(answer)),
            Ok(other) => self.outcome.errors.push(format!("unexpected reply: {other:?}")),
            Err(error) => self.outcome.errors.push(error.to_string()),
        }
    }

    /// Of the request before there is a response, of the response after.
    fn change(&mut self, mut change: Change) {
        let name = self.mock.0.state.lock().name.clone();
        for mut value in change.values.drain(..) {
            value.set_by.clone_from(&name);
            self.outcome.request.values.push(value);
        }
        match &mut self.outcome.response {
            Some(response) => response.apply(change),
            None => self.outcome.request.apply(change),
        }
    }
}
