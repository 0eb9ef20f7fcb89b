//! The plugin's handle to its host, and the handlers that it registered. Calls go to the host's socket.

mod middleware;

use crate::{
    Cache, Database, FrameworkConfig, HookContext, HookType, HostError, Logger, Metrics, PluginConfig, Result, Router,
    Storage,
    bodies::Bodies,
    handlers::{Handler, Handlers},
    host::Host,
    telemetry::Telemetry,
};
use arc_swap::ArcSwap;
use rockstar_proto::plugin::{BodyNeed, Registration, registration::Kind};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Weak},
};

/// Valid from `initialize` on, in handlers, background work and `stop` too; cheap to clone.
///
/// The host knows for which of its calls a handler uses it, and lets through what would otherwise wait for itself while the
/// plugin is reloaded. In a task that the handler spawns it does not.
#[derive(Clone)]
pub struct PluginContext(Arc<Inner>);

struct Inner {
    host: Host,
    telemetry: Telemetry,
    logger: Logger,
    config: ArcSwap<PluginConfig>,
    handlers: Handlers,
    bodies: Arc<Bodies>,
}

/// A context that does not keep its handlers alive.
#[derive(Clone)]
pub(crate) struct WeakContext(Weak<Inner>);

impl WeakContext {
    pub(crate) fn upgrade(&self) -> Option<PluginContext> {
        self.0.upgrade().map(PluginContext)
    }
}

impl fmt::Debug for PluginContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginContext").field("handlers", &self.0.handlers.len()).finish_non_exhaustive()
    }
}

impl PluginContext {
    pub(crate) fn new(host: Host) -> Self {
        let telemetry = Telemetry::new(host.clone());
        let logger = Logger::new(telemetry.clone());
        let config = ArcSwap::default();
        let (handlers, bodies) = (Handlers::default(), Arc::default());
        Self(Arc::new(Inner { host, telemetry, logger, config, handlers, bodies }))
    }

    #[must_use]
    pub fn logger(&self) -> Logger {
        self.0.logger.clone()
    }

    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.0.telemetry.clone(), self.0.host.clone())
    }

    /// This plugin's configuration as it is now, defaults included.
    #[must_use]
    pub fn plugin_config(&self) -> PluginConfig {
        PluginConfig::clone(&self.0.config.load())
    }

    /// The framework's database; needs the permission `database`.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::new(self.0.host.clone())
    }

    /// The framework's cache, which all plugins share; needs the permission `cache`.
    #[must_use]
    pub fn cache(&self) -> Cache {
        Cache::new(self.0.host.clone())
    }

    /// The framework's configuration; needs the permission `config`.
    #[must_use]
    pub fn config(&self) -> FrameworkConfig {
        FrameworkConfig::new(self.0.host.clone())
    }

    /// This plugin's own storage, which outlives its processes and which no other plugin reaches.
    #[must_use]
    pub fn storage(&self) -> Storage {
        Storage::new(self.0.host.clone())
    }

    /// The same as [`storage`](Self::storage), by its name in the reference.
    #[must_use]
    pub fn plugin_storage(&self) -> Storage {
        self.storage()
    }

    /// Runs the handler at that point; hooks with a higher priority run earlier, 100 is the usual one.
    ///
    /// ```
    /// # use rockstar_plugin::{HookType, Result, json, testing::{MockPluginContext, Request}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let ctx = mock.context();
    /// ctx.register_hook(HookType::PreRequest, 200, |hook| async move {
    ///     let request = hook.context();
    ///     if request.get_header("x-api-key").is_none() {
    ///         request.json(401, &json!({"error": "unauthorized"}));
    ///     }
    ///     Ok(())
    /// }).await?;
    /// # assert_eq!(mock.request(Request::get("/")).await.status(), Some(401));
    /// # assert_eq!(mock.request(Request::get("/").header("x-api-key", "k")).await.status(), Some(200));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_hook<F, R>(&self, kind: HookType, priority: i32, handler: F) -> Result<(), HostError>
    where
        F: Fn(HookContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        self.register(kind, priority, BodyNeed::None, handler).await
    }

    /// The same, and the handler sees the body (of the request in pre_request, else of the response) up to 64 KiB.
    pub async fn register_hook_with_body<F, R>(
        &self,
        kind: HookType,
        priority: i32,
        handler: F,
    ) -> Result<(), HostError>
    where
        F: Fn(HookContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        self.register(kind, priority, BodyNeed::Whole, handler).await
    }

    /// Registers the paths that this plugin answers itself. Needs the permission `router`.
    #[must_use]
    pub fn router(&self) -> Router {
        Router::new(self.clone())
    }

    /// The host has given up that call.
    pub(crate) fn cancel(&self, call: u64) {
        self.0.handlers.cancel(call);
    }

    async fn register<F, R>(&self, kind: HookType, priority: i32, body: BodyNeed, handler: F) -> Result<(), HostError>
    where
        F: Fn(HookContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = Handler::Hook(kind, Arc::new(move |hook| Box::pin(handler(hook))));
        let id = self.0.handlers.keep(kind.as_str(), handler);
        self.register_handler(hook_registration(kind, &id, priority, body)).await
    }

    /// Tells the host of a handler that is kept already; one that it refuses is forgotten.
    pub(crate) async fn register_handler(&self, registration: Registration) -> Result<(), HostError> {
        let id = registration.handler.clone();
        let registered = self.0.host.register(registration).await;
        if registered.is_err() {
            self.0.handlers.forget(&id);
        }
        registered
    }

    /// Gives the id under which the host will call it.
    pub(crate) fn keep(&self, prefix: &str, handler: Handler) -> String {
        self.0.handlers.keep(prefix, handler)
    }

    pub(crate) fn host(&self) -> &Host {
        &self.0.host
    }

    pub(crate) fn handler(&self, id: &str) -> Option<Handler> {
        self.0.handlers.get(id)
    }

    pub(crate) fn downgrade(&self) -> WeakContext {
        WeakContext(Arc::downgrade(&self.0))
    }

    pub(crate) fn set_config(&self, config: PluginConfig) {
        self.0.config.store(Arc::new(config));
    }

    pub(crate) fn bodies(&self) -> &Arc<Bodies> {
        &self.0.bodies
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }
}

fn hook_registration(kind: HookType, id: &str, priority: i32, body: BodyNeed) -> Registration {
    Registration {
        kind: Kind::Hook.into(),
        name: kind.as_str().into(),
        handler: id.into(),
        priority: Some(priority),
        body: body.into(),
        ..Registration::default()
    }
}
