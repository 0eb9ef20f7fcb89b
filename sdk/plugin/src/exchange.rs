//! An exchange as a plugin's handler sees it, and what the handler does to it. No I/O.

use crate::{BodyStream, Error, Metrics, PluginContext};
use bytes::Bytes;
use futures::stream::Stream;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rockstar_proto::{
    plugin::{Call, call, reply},
    types::{self, Body, Change, ContextValue, Header, Request, Response},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, OnceLock},
};

/// One exchange. Setters change the request before the handler ran, the response after it; in a route the response.
/// Clones are the same exchange.
#[derive(Clone, Debug)]
pub struct Context(Arc<Exchange>);

#[derive(Debug)]
struct Exchange {
    plugin: PluginContext,
    id: String,
    request: Request,
    /// Comes later to middleware.
    response: OnceLock<Response>,
    values: Vec<ContextValue>,
    later_values: OnceLock<Vec<ContextValue>>,
    outcome: Mutex<Outcome>,
}

/// What a handler did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) change: Change,
    pub(crate) answer: Option<Response>,
}

fn parts(call: Option<call::Call>) -> (Option<Request>, Option<Response>) {
    match call {
        Some(call::Call::RequestHook(request) | call::Call::Enter(request) | call::Call::Route(request)) => {
            (Some(request), None)
        }
        Some(call::Call::ResponseHook(hook)) => (hook.request, hook.response),
        Some(call::Call::ErrorHook(hook)) => (hook.request, hook.response),
        Some(call::Call::Leave(leave)) => (leave.request, leave.response),
        _ => (None, None),
    }
}

impl Context {
    pub(crate) fn new(call: Call, plugin: &PluginContext) -> Self {
        let (request, response) = parts(call.call);
        Self(Arc::new(Exchange {
            plugin: plugin.clone(),
            id: call.exchange,
            request: request.unwrap_or_default(),
            response: response.map_or_else(OnceLock::new, OnceLock::from),
            values: call.values,
            later_values: OnceLock::new(),
            outcome: Mutex::default(),
        }))
    }

    /// The plugin's own metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.0.plugin.metrics()
    }

    /// Identifies the exchange in logs.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.0.id
    }

    #[must_use]
    pub fn method(&self) -> &str {
        &self.0.request.method
    }

    /// The path as the client sent it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.request.path
    }

    /// The path decoded, without dot segments and double slashes: decide on this one.
    #[must_use]
    pub fn normal_path(&self) -> &str {
        &self.0.request.normal_path
    }

    /// The query's parameters, decoded; the first of each name.
    #[must_use]
    pub fn query(&self) -> BTreeMap<String, String> {
        let mut parameters = BTreeMap::new();
        for pair in self.query_string().split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.entry(decode(name)).or_insert_with(|| decode(value));
        }
        parameters
    }

    #[must_use]
    pub fn query_string(&self) -> &str {
        &self.0.request.query
    }

    #[must_use]
    pub fn authority(&self) -> &str {
        &self.0.request.authority
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.0.request.peer
    }

    /// The request's header of that name, if it is text.
    #[must_use]
    pub fn get_header(&self, name: &str) -> Option<&str> {
        header(&self.0.request.headers, name)
    }

    /// The request's headers in their order, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        pairs(&self.0.request.headers)
    }

    /// The request's body, where it was asked for and is at most 64 KiB; see also [`body_stream`](Self::body_stream).
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.0.request.body.as_ref()?.bytes()
    }

    /// The request's body of any size, as the client sends it: for routes that [`Router::stream`] registered. It can be
    /// read once, before the handler ends; each piece gives the client its time anew.
    ///
    /// [`Router::stream`]: crate::Router::stream
    #[must_use]
    pub fn body_stream(&self) -> BodyStream {
        self.0.plugin.bodies().read(self.0.request.body.as_ref())
    }

    /// The response's status, once there is a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        u16::try_from(self.0.response.get()?.status).ok()
    }

    #[must_use]
    pub fn get_response_header(&self, name: &str) -> Option<&str> {
        header(&self.0.response.get()?.headers, name)
    }

    pub fn response_headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        pairs(self.0.response.get().map_or(&[], |r| &r.headers))
    }

    /// The response's body, where it was asked for and is at most 64 KiB.
    #[must_use]
    pub fn response_body(&self) -> Option<&Bytes> {
        self.0.response.get()?.body.as_ref()?.bytes()
    }

    /// A parameter of the path that the plugin's route names, `:name` or `*name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.0.request.parameters.iter().find(|p| p.name == name).map(|p| p.value.as_str())
    }

    /// The value that this or an earlier stage set on this request.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        let own = self.0.outcome.lock().change.values.iter().rfind(|v| v.key == key).map(|v| v.value.clone());
        let value = own.or_else(|| self.value(key).map(|v| v.value.clone()))?;
        types::Value::decoded(value).ok().map(|v| v.to_json())
    }

    /// Who set that value before: a plugin's name, empty for the application.
    #[must_use]
    pub fn set_by(&self, key: &str) -> Option<&str> {
        self.value(key).map(|v| v.set_by.as_str())
    }

    fn value(&self, key: &str) -> Option<&ContextValue> {
        let values = self.0.later_values.get().unwrap_or(&self.0.values);
        values.iter().rfind(|v| v.key == key)
    }

    /// Sets a value that later stages, other plugins and the application see on this request.
    pub fn set(&self, key: impl Into<String>, value: impl Into<Value>) {
        let value = types::Value::from(&value.into()).encode();
        self.change(|c| c.values.push(ContextValue { key: key.into(), value, set_by: String::new() }));
    }

    /// Replaces all headers of that name.
    pub fn set_header(&self, name: &str, value: impl Into<Bytes>) {
        let header = Header { name: name.to_ascii_lowercase(), value: value.into() };
        self.change(|c| c.set.push(header));
    }

    pub fn add_header(&self, name: &str, value: impl Into<Bytes>) {
        let header = Header { name: name.to_ascii_lowercase(), value: value.into() };
        self.change(|c| c.add.push(header));
    }

    pub fn remove_header(&self, name: &str) {
        self.change(|c| c.remove.push(name.to_ascii_lowercase()));
    }

    /// Sends the request to another path of the application.
    pub fn set_path(&self, path: impl Into<String>) {
        self.change(|c| c.path = Some(path.into()));
    }

    /// Changes the response's status.
    pub fn set_status(&self, status: u16) {
        self.change(|c| c.status = Some(status.into()));
    }

    /// Replaces the body.
    pub fn set_body(&self, body: impl Into<Bytes>) {
        self.change(|c| c.body = Some(Body::whole(body)));
    }

    /// Answers the client with JSON: in routes, and in pre_request hooks and middleware instead of the handler.
    pub fn json<T: Serialize + ?Sized>(&self, status: u16, body: &T) {
        match serde_json::to_string(body) {
            Ok(text) => self.respond(status, &[("content-type", "application/json")], text),
            Err(error) => self.respond(500, &[], error.to_string()),
        }
    }

    /// Answers the client: in routes, and in pre_request hooks and middleware instead of the handler.
    pub fn respond(&self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        self.answer(status, headers, Body::whole(body));
    }

    /// The same with a body that is made while the client reads it: server-sent events, a file. `size` is its length in
    /// bytes, where it is known. An error of the stream breaks the response off.
    ///
    /// ```
    /// # use rockstar_plugin::{Plugin, PluginContext, Result, async_trait, testing::{MockPluginContext, Request}};
    /// # struct Files;
    /// # #[async_trait]
    /// # impl Plugin for Files {
    /// # async fn initialize(&mut self, ctx: PluginContext) -> Result {
    /// ctx.router().get("/count", |c| async move {
    ///     let lines = (1..=3).map(|n| Ok::<_, std::io::Error>(format!("{n}\n")));
    ///     c.respond_stream(200, &[("content-type", "text/plain")], futures::stream::iter(lines), None);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # Files.initialize(mock.context()).await?;
    /// # assert_eq!(mock.request(Request::get("/count")).await.response.unwrap().get_body(), b"1\n2\n3\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn respond_stream<B, E>(
        &self,
        status: u16,
        headers: &[(&str, &str)],
        body: impl Stream<Item = Result<B, E>> + Send + 'static,
        size: Option<u64>,
    ) where
        B: Into<Bytes> + 'static,
        E: Into<Error> + 'static,
    {
        let body = self.0.plugin.bodies().offer(body, size.unwrap_or_default());
        self.answer(status, headers, body);
    }

    fn answer(&self, status: u16, headers: &[(&str, &str)], body: Body) {
        let headers = headers.iter().map(|(name, value)| Header {
            name: name.to_ascii_lowercase(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        });
        self.0.outcome.lock().answer = Some(Response {
            status: status.into(),
            headers: headers.collect(),
            body: Some(body),
            trailers: Vec::new(),
        });
    }

    /// What the handler did; setters begin anew.
    pub(crate) fn take(&self) -> Outcome {
        mem::take(&mut *self.0.outcome.lock())
    }

    pub(crate) fn take_reply(&self) -> reply::Reply {
        let outcome = self.take();
        match outcome.answer {
            Some(answer) => reply::Reply::Answer(answer),
            None => reply::Reply::Change(outcome.change),
        }
    }

    /// The second half of a middleware's exchange has come: setters change the response from now on.
    pub(crate) fn arrive(&self, response: Option<Response>, values: Vec<ContextValue>) {
        // It comes once.
        let _ = self.0.later_values.set(values);
        let _ = response.map(|response| self.0.response.set(response));
    }

    fn change(&self, f: impl FnOnce(&mut Change)) {
        f(&mut self.0.outcome.lock().change);
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(&header.value).ok()
}

fn pairs(headers: &[Header]) -> impl Iterator<Item = (&str, &[u8])> {
    headers.iter().map(|h| (h.name.as_str(), h.value.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use serde_json::json;

    fn context(call: call::Call, values: Vec<ContextValue>) -> Context {
        let plugin = PluginContext::new(Host::new("none".into()));
        Context::new(Call { call: Some(call), values, ..Call::default() }, &plugin)
    }

    fn value(key: &str, value: Value, set_by: &str) -> ContextValue {
        ContextValue { key: key.into(), value: types::Value::from(&value).encode(), set_by: set_by.into() }
    }

    #[tokio::test]
    async fn a_request_is_readable() {
        let headers = vec![Header { name: "authorization".into(), value: "Bearer x".into() }];
        let request =
            Request { path: "/a%20b".into(), query: "id=1&name=a+b%26&id=2".into(), headers, ..Request::default() };
        let values = vec![value("user", json!("old"), "p"), value("user", json!({"id": 7}), "auth-plugin")];
        let ctx = context(call::Call::RequestHook(request), values);
        assert_eq!((ctx.path(), ctx.get_header("Authorization")), ("/a%20b", Some("Bearer x")));
        assert_eq!((ctx.query()["id"].as_str(), ctx.query()["name"].as_str()), ("1", "a b&"));
        assert_eq!((ctx.get("user"), ctx.set_by("user")), (Some(json!({"id": 7})), Some("auth-plugin")));
        assert_eq!((ctx.get("none"), ctx.status()), (None, None));
    }

    #[tokio::test]
    async fn changes_go_out_unless_there_is_an_answer() {
        let ctx = context(call::Call::RequestHook(Request::default()), Vec::new());
        ctx.set_header("X-A", "1");
        ctx.set("user", 123);
        assert_eq!(ctx.get("user"), Some(json!(123)));
        let reply::Reply::Change(change) = ctx.take_reply() else { panic!("no change") };
        assert_eq!((change.set[0].name.as_str(), change.values[0].key.as_str()), ("x-a", "user"));
        ctx.json(401, &json!({"error": "unauthorized"}));
        let reply::Reply::Answer(answer) = ctx.take_reply() else { panic!("no answer") };
        assert_eq!(answer.status, 401);
        assert_eq!(answer.body.unwrap().bytes().unwrap(), r#"{"error":"unauthorized"}"#);
    }
}
