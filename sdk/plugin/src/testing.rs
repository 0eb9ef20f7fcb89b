//! A host in memory, to test a plugin without a sidecar: what the plugin registers and does can be looked at, and its
//! handlers can be called. It speaks the real protocol with the plugin, inside of the test's process; no other I/O.
//!
//! ```
//! use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait, json};
//! use rockstar_plugin::testing::{MockPluginContext, Request};
//!
//! struct Greeter;
//!
//! #[async_trait]
//! impl Plugin for Greeter {
//!     async fn initialize(&mut self, ctx: PluginContext) -> Result {
//!         let key = ctx.plugin_config().required("api_key")?.to_owned();
//!         ctx.register_hook(HookType::PreRequest, 100, move |hook| {
//!             let known = hook.context().get_header("x-api-key") == Some(&key);
//!             if !known {
//!                 hook.context().json(401, &json!({"error": "unauthorized"}));
//!             }
//!             async { Ok(()) }
//!         })
//!         .await?;
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result {
//! let mock = MockPluginContext::new().with_config(json!({"api_key": "test-key"}));
//! Greeter.initialize(mock.context()).await?;
//! assert_eq!(mock.hooks()[0].name, "pre_request");
//! let outcome = mock.pre_request(Request::get("/")).await;
//! assert_eq!(outcome.status(), Some(401));
//!
//! let mock = MockPluginContext::new();
//! let error = Greeter.initialize(mock.context()).await.unwrap_err();
//! assert_eq!(error.to_string(), "api_key is required");
//! # Ok(())
//! # }
//! ```

mod exchange;
mod host;
mod message;
mod state;
mod values;

pub use exchange::Outcome;
pub use message::{Request, Response};
pub use state::{Event, Log, Registered, Statement};

use crate::{Plugin, PluginConfig, PluginContext, Result, dispatch, manifest::Manifest};
use rockstar_proto::{
    plugin::{self as wire, Call, Invocation, call, record, registration::Kind, reply},
    types::{self, Empty},
};
use serde_json::{Map, Value};
use state::{Shared, State};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};
use tokio::task::AbortHandle;

/// The reference's `MockPluginContext`: grants every permission, keeps all that the plugin does. Clones are the same
/// host. Must be used inside of a tokio runtime.
#[derive(Clone, Debug, Default)]
pub struct MockPluginContext(Arc<Mock>);

#[derive(Debug, Default)]
struct Mock {
    state: Shared,
    serving: OnceLock<Serving>,
}

#[derive(Debug)]
struct Serving {
    ctx: PluginContext,
    server: AbortHandle,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl MockPluginContext {
    /// A host of a plugin without configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The plugin's configuration, an object. Once the context is there: as if it had been changed.
    #[must_use]
    pub fn with_config(self, config: Value) -> Self {
        self.set_config(config);
        self
    }

    /// The text of the plugin's manifest, YAML or JSON: its name, the defaults of its configuration, and no more
    /// permissions than it declares.
    ///
    /// # Panics
    /// If it is no manifest.
    #[must_use]
    #[allow(clippy::panic, reason = "the test that gave it fails")]
    pub fn with_manifest(self, text: &str) -> Self {
        let manifest: Manifest = match serde_yaml::from_str(text) {
            Ok(manifest) => manifest,
            Err(error) => panic!("not a manifest: {error}"),
        };
        self.edit(|state| state.go_by(manifest));
        self
    }

    /// Grants these permissions and no other: `["database", "cache"]`.
    #[must_use]
    pub fn with_permissions<S: Into<String>>(self, granted: impl IntoIterator<Item = S>) -> Self {
        self.edit(|state| state.granted = Some(granted.into_iter().map(Into::into).collect()));
        self
    }

    /// The framework's configuration, an object, behind `ctx.config()`.
    #[must_use]
    pub fn with_framework_config(self, config: Value) -> Self {
        self.edit(|state| state.framework = config);
        self
    }

    /// A service of another plugin: what it answers to a method and its arguments.
    #[must_use]
    pub fn with_service(
        self,
        plugin: &str,
        service: &str,
        answer: impl Fn(&str, Value) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        let key = (plugin.to_owned(), service.to_owned());
        self.edit(|state| state.services.insert(key, Arc::new(answer)));
        self
    }

    /// What the database answers to that statement, whatever its arguments are. A query without rows given here is an
    /// error; other statements succeed and can be looked at in [`Self::statements`].
    #[must_use]
    pub fn with_rows<const N: usize>(self, sql: &str, columns: [&str; N], rows: Vec<[Value; N]>) -> Self {
        let columns = columns.map(str::to_owned).to_vec();
        let rows = rows.into_iter().map(|row| row.to_vec()).collect();
        self.edit(|state| state.rows.insert(sql.to_owned(), (columns, rows)));
        self
    }

    /// The context to give to `initialize`; the same one each time.
    #[must_use]
    pub fn context(&self) -> PluginContext {
        let serving = self.0.serving.get_or_init(|| {
            let (host, server) = host::serve(self.0.state.clone());
            let ctx = PluginContext::new(host);
            ctx.set_config(self.0.state.lock().plugin_config());
            self.0.state.lock().plugin = Some(ctx.downgrade());
            Serving { ctx, server }
        });
        serving.ctx.clone()
    }

    /// Changes the plugin's configuration; `ctx.plugin_config()` is the new one.
    pub fn set_config(&self, config: Value) {
        self.edit(|state| state.config = object(config));
        self.update();
    }

    /// Tells the plugin of a changed configuration, which it may refuse; then the old one stays.
    pub async fn change_config(&self, plugin: &mut impl Plugin, config: Value) -> Result {
        let old = Value::Object(self.0.state.lock().config.clone());
        self.edit(|state| state.config = object(config));
        let new: PluginConfig = self.0.state.lock().plugin_config();
        match plugin.on_config_change(new).await {
            Ok(()) => self.update(),
            Err(error) => {
                self.set_config(old);
                return Err(error);
            }
        }
        Ok(())
    }

    fn update(&self) {
        if let Some(serving) = self.0.serving.get() {
            serving.ctx.set_config(self.0.state.lock().plugin_config());
        }
    }

    fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) {
        change(&mut self.0.state.lock());
    }

    /// Registered hooks, in the order of registration; `name` is the hook's type.
    #[must_use]
    pub fn hooks(&self) -> Vec<Registered> {
        self.registered(Kind::Hook)
    }

    #[must_use]
    pub fn middleware(&self) -> Vec<Registered> {
        self.registered(Kind::Middleware)
    }

    /// Registered routes; `name` is the method and the pattern, `GET /status`.
    #[must_use]
    pub fn routes(&self) -> Vec<Registered> {
        self.registered(Kind::Route)
    }

    /// The events that the plugin listens to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Registered> {
        self.registered(Kind::Subscription)
    }

    /// The services that the plugin exports.
    #[must_use]
    pub fn services(&self) -> Vec<Registered> {
        self.registered(Kind::Service)
    }

    fn registered(&self, kind: Kind) -> Vec<Registered> {
        let state = self.0.state.lock();
        state.registrations.iter().filter(|r| r.kind() == kind).map(Registered::from).collect()
    }

    /// The events that the plugin published.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0.state.lock().events.clone()
    }

    /// What the plugin logged, after its own level.
    pub async fn logs(&self) -> Vec<Log> {
        self.flush().await;
        let state = self.0.state.lock();
        state.records.iter().filter(|r| r.kind() == record::Kind::Log).map(Log::from).collect()
    }

    /// The plugin's own metrics by name: the sum of a counter, the last value of a gauge, the sum of a histogram.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        self.flush().await;
        self.0.state.lock().metrics()
    }

    async fn flush(&self) {
        if let Some(serving) = self.0.serving.get() {
            serving.ctx.telemetry().flush().await;
        }
    }

    /// What is in the plugin's storage.
    #[must_use]
    pub fn storage(&self) -> BTreeMap<String, Value> {
        values::readable(&self.0.state.lock().storage)
    }

    /// Puts a value into the plugin's storage.
    pub fn store(&self, key: &str, value: impl Into<Value>) {
        let value = types::Value::from(&value.into()).encode();
        self.edit(|state| state.storage.insert(key.to_owned(), value));
    }

    /// What is in the cache; a time to live is kept beside, not waited for.
    #[must_use]
    pub fn cache(&self) -> BTreeMap<String, Value> {
        values::readable(&self.0.state.lock().cache)
    }

    /// Puts a value into the cache.
    pub fn put_into_cache(&self, key: &str, value: impl Into<Value>) {
        let value = types::Value::from(&value.into()).encode();
        self.edit(|state| state.cache.insert(key.to_owned(), value));
    }

    /// What the plugin asked of the database, transactions as `BEGIN`, `COMMIT` and `ROLLBACK`.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        self.0.state.lock().statements.clone()
    }

    /// Delivers an event to the plugin's handlers, and waits for them.
    pub async fn deliver(&self, name: &str, data: impl Into<Value>) -> Result {
        let event = wire::Event {
            name: name.to_owned(),
            data: types::Value::from(&data.into()).encode(),
            ..wire::Event::default()
        };
        for handler in self.handlers(Kind::Subscription, name) {
            self.call(handler, call::Call::Event(event.clone())).await?;
        }
        Ok(())
    }

    /// Calls a method of a service that the plugin exports.
    pub async fn invoke(&self, service: &str, method: &str, arguments: impl Into<Value>) -> Result<Value> {
        let handler = self.handlers(Kind::Service, service).pop();
        let handler = handler.ok_or_else(|| format!("the plugin does not export '{service}'"))?;
        let invocation = Invocation {
            service: service.to_owned(),
            method: method.to_owned(),
            arguments: types::Value::from(&arguments.into()).encode(),
            ..Invocation::default()
        };
        match self.call(handler, call::Call::Invoke(invocation)).await? {
            reply::Reply::Result(value) => Ok(types::Value::decoded(value)?.to_json()),
            other => Err(format!("a service answers with a result, not with {other:?}").into()),
        }
    }

    /// Runs the startup hooks.
    pub async fn startup(&self) -> Result {
        self.lifecycle("startup").await
    }

    /// Runs the shutdown hooks.
    pub async fn shutdown(&self) -> Result {
        self.lifecycle("shutdown").await
    }

    async fn lifecycle(&self, kind: &str) -> Result {
        for handler in self.handlers(Kind::Hook, kind) {
            self.call(handler, call::Call::LifecycleHook(Empty {})).await?;
        }
        Ok(())
    }

    fn handlers(&self, kind: Kind, name: &str) -> Vec<String> {
        self.0.state.lock().handlers(kind, name)
    }

    /// One call into the plugin.
    async fn call(&self, handler: String, call: call::Call) -> Result<reply::Reply> {
        self.answered(Call { handler, call: Some(call), ..Call::default() }).await
    }

    async fn answered(&self, call: Call) -> Result<reply::Reply> {
        let ctx = self.context();
        let mut reply = answered(dispatch::answer(&ctx, call).await)?;
        if let Some(body) = reply.body_mut() {
            ctx.bodies().gather(body).await?;
        }
        Ok(reply)
    }
}

fn answered(reply: wire::Reply) -> Result<reply::Reply> {
    match reply.reply {
        Some(reply::Reply::Failure(failure)) => Err(failure.text.into()),
        Some(reply) => Ok(reply),
        None => Err("the plugin answered with nothing".into()),
    }
}

/// The values of a JSON object; of anything else none.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}
