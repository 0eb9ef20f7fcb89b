//! What goes between layer and application in a request's extensions. Pure.

use rockstar_proto::types::{ContextValue, Value};
use std::net::SocketAddr;

/// The values that plugins set on this request, for the handler.
#[derive(Clone, Debug, Default)]
pub struct ContextValues(Vec<ContextValue>);

impl ContextValues {
    pub(crate) fn new(values: Vec<ContextValue>) -> Self {
        Self(values)
    }

    /// The value, whoever set it. See [`Self::set_by`].
    #[must_use]
    pub fn get(&self, key: &str) -> Option<serde_json::Value> {
        Value::decoded(self.find(key)?.value.clone()).ok().map(|v| v.to_json())
    }

    /// The plugin that set the value last: the sidecar says so, no plugin can speak for another.
    #[must_use]
    pub fn set_by(&self, key: &str) -> Option<&str> {
        self.find(key).map(|v| v.set_by.as_str())
    }

    fn find(&self, key: &str) -> Option<&ContextValue> {
        self.0.iter().rfind(|v| v.key == key)
    }
}

/// The exchange whose handler runs, where a plugin waits for that handler: what the handler asks of its own application
/// should carry it, or it may wait, while that plugin is reloaded, for a request that waits for it.
///
/// ```
/// # fn f(request: &http::Request<()>, call: http::request::Builder) -> http::request::Builder {
/// match request.extensions().get::<rockstar_app::Cause>() {
///     Some(cause) => call.header(rockstar_app::Cause::HEADER, cause.as_str()),
///     None => call,
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

impl Cause {
    /// The header that carries it.
    pub const HEADER: &str = "rockstar-exchange";

    pub(crate) const fn new(exchange: String) -> Self {
        Self(exchange)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The client's address: put it into the request's extensions, outside of the layer, for plugins to see it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
