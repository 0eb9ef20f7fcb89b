//! The plugin's handle to its host, and the handlers that it registered. Calls go to the host's socket.

use crate::{HookContext, HookType, HostError, Logger, PluginConfig, Result, host::Host, telemetry::Telemetry};
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use rockstar_proto::plugin::{BodyNeed, Registration, registration::Kind};
use std::{collections::HashMap, fmt, future::Future, sync::Arc};

pub(crate) type Handler = Arc<dyn Fn(HookContext) -> BoxFuture<'static, Result> + Send + Sync>;

/// Valid from `initialize` on, in handlers, background work and `stop` too; cheap to clone.
#[derive(Clone)]
pub struct PluginContext(Arc<Inner>);

struct Inner {
    host: Host,
    telemetry: Telemetry,
    logger: Logger,
    config: ArcSwap<PluginConfig>,
    hooks: RwLock<HashMap<String, (HookType, Handler)>>,
}

impl fmt::Debug for PluginContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginContext").field("hooks", &self.0.hooks.read().len()).finish_non_exhaustive()
    }
}

impl PluginContext {
    pub(crate) fn new(host: Host) -> Self {
        let telemetry = Telemetry::new(host.clone());
        let logger = Logger::new(telemetry.clone());
        let config = ArcSwap::default();
        Self(Arc::new(Inner { host, telemetry, logger, config, hooks: RwLock::default() }))
    }

    #[must_use]
    pub fn logger(&self) -> Logger {
        self.0.logger.clone()
    }

    /// This plugin's configuration as it is now, defaults included.
    #[must_use]
    pub fn plugin_config(&self) -> PluginConfig {
        PluginConfig::clone(&self.0.config.load())
    }

    /// Runs the handler at that point; hooks with a higher priority run earlier, 100 is the usual one.
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

    async fn register<F, R>(&self, kind: HookType, priority: i32, body: BodyNeed, handler: F) -> Result<(), HostError>
    where
        F: Fn(HookContext) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let id = self.keep(kind, Arc::new(move |hook| Box::pin(handler(hook))));
        let registered = self.0.host.register(hook_registration(kind, &id, priority, body)).await;
        if registered.is_err() {
            self.0.hooks.write().remove(&id);
        }
        registered
    }

    fn keep(&self, kind: HookType, handler: Handler) -> String {
        let mut hooks = self.0.hooks.write();
        let id = (1..).map(|n| format!("{kind}/{n}")).find(|id| !hooks.contains_key(id)).unwrap_or_default();
        hooks.insert(id.clone(), (kind, handler));
        id
    }

    pub(crate) fn hook(&self, id: &str) -> Option<(HookType, Handler)> {
        self.0.hooks.read().get(id).cloned()
    }

    pub(crate) fn set_config(&self, config: PluginConfig) {
        self.0.config.store(Arc::new(config));
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
