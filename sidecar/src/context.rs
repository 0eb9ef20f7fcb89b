//! What a plugin may call while it runs: the gRPC server of `rockstar.plugin.v1.PluginContext`, one per process, on a
//! socket in that process's private directory.

mod telemetry;

use crate::{instance::Instance, registry::Registry, slot::Slot};
use futures::stream::Empty as NoStream;
use rockstar_core::manifest::HookType;
use rockstar_proto::{
    plugin::{
        BodyNeed, Config, DatabaseReply, DatabaseRequest, Event, Invocation, KeyValueReply, KeyValueRequest, Record,
        Registration, Reply, Result as Outcome,
        plugin_context_server::{PluginContext, PluginContextServer},
        registration::Kind,
    },
    types::{Empty, Failure, Map, failure::Class},
};
use std::sync::Arc;
use telemetry::Journal;
use tokio::{net::UnixListener, task::AbortHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

const DEFAULT_PRIORITY: i32 = 100;
/// A plugin that registers more is broken.
const MAX_HOOKS: usize = 1024;

/// Serves the context of one process until aborted.
pub fn serve(listener: UnixListener, instance: Arc<Instance>, slot: Arc<Slot>, registry: Arc<Registry>) -> AbortHandle {
    let plugin = instance.plugin().to_owned();
    let journal = Journal::new(&plugin);
    let context = PluginContextServer::new(Context { instance, slot, registry, journal });
    let serving = Server::builder().add_service(context).serve_with_incoming(UnixListenerStream::new(listener));
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(plugin, "the context of plugin {plugin} is not served any more: {error}");
        }
    })
    .abort_handle()
}

#[derive(Debug)]
struct Context {
    instance: Arc<Instance>,
    slot: Arc<Slot>,
    registry: Arc<Registry>,
    journal: Journal,
}

impl Context {
    fn register_hook(&self, wanted: &Registration) -> Result<(), String> {
        let kind: HookType =
            wanted.name.parse().map_err(|e: rockstar_core::manifest::UnknownHookType| e.to_string())?;
        if self.instance.registered() >= MAX_HOOKS {
            return Err(format!("too many hooks: a plugin may register {MAX_HOOKS}"));
        }
        self.warn_undeclared(kind);
        let priority = wanted.priority.unwrap_or(DEFAULT_PRIORITY);
        if self.instance.register(kind, priority, &wanted.handler, wanted.body() != BodyNeed::None) {
            self.registry.touch();
        }
        Ok(())
    }

    /// What a plugin registers counts; its manifest is documentation, and a difference is pointed out.
    fn warn_undeclared(&self, kind: HookType) {
        let manifest = self.instance.manifest();
        if !manifest.hooks.is_empty() && !manifest.hooks.iter().any(|hook| hook.kind == kind) {
            let plugin = self.instance.plugin();
            tracing::warn!(plugin, "Plugin {plugin} registers a {kind} hook that its manifest does not declare");
        }
    }

    fn refuse(&self, stage: &str, text: String) -> Outcome {
        self.slot.record.error(&text);
        let failure =
            Failure { class: Class::Returned.into(), plugin: self.slot.name().to_owned(), stage: stage.into(), text };
        Outcome { failure: Some(failure) }
    }
}

/// The answer of methods that this version of the sidecar does not offer.
fn absent<T>(method: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("this sidecar (version {}) does not offer {method}", env!("CARGO_PKG_VERSION"))))
}

#[tonic::async_trait]
impl PluginContext for Context {
    type ServicesStream = NoStream<Result<Registration, Status>>;
    type DatabaseStream = NoStream<Result<DatabaseReply, Status>>;

    async fn register(&self, request: Request<Registration>) -> Result<Response<Outcome>, Status> {
        let wanted = request.into_inner();
        match wanted.kind() {
            Kind::Hook => {
                let registered = self.register_hook(&wanted);
                let refused = |text| self.refuse("RegisterHook", text);
                Ok(Response::new(registered.map_or_else(refused, |()| Outcome { failure: None })))
            }
            Kind::Unspecified => Err(Status::invalid_argument("a registration names its kind")),
            Kind::Middleware | Kind::Route | Kind::Subscription | Kind::Service => absent(wanted.kind().as_str_name()),
        }
    }

    async fn get_plugin_config(&self, _: Request<Empty>) -> Result<Response<Config>, Status> {
        Ok(Response::new(Config { values: Some(Map::from(&*self.instance.config())), generation: 0 }))
    }

    async fn telemetry(&self, request: Request<Streaming<Record>>) -> Result<Response<Empty>, Status> {
        let mut records = request.into_inner();
        while let Some(record) = records.message().await? {
            self.journal.take(&record);
        }
        Ok(Response::new(Empty {}))
    }

    async fn unregister(&self, _: Request<Registration>) -> Result<Response<Outcome>, Status> {
        absent("Unregister")
    }

    async fn publish(&self, _: Request<Event>) -> Result<Response<Outcome>, Status> {
        absent("Publish")
    }

    async fn import(&self, _: Request<Invocation>) -> Result<Response<Outcome>, Status> {
        absent("Import")
    }

    async fn invoke(&self, _: Request<Invocation>) -> Result<Response<Reply>, Status> {
        absent("Invoke")
    }

    async fn services(&self, _: Request<Empty>) -> Result<Response<Self::ServicesStream>, Status> {
        absent("Services")
    }

    async fn database(&self, _: Request<Streaming<DatabaseRequest>>) -> Result<Response<Self::DatabaseStream>, Status> {
        absent("Database")
    }

    async fn cache(&self, _: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        absent("Cache")
    }

    async fn storage(&self, _: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        absent("Storage")
    }

    async fn get_config(&self, _: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        absent("GetConfig")
    }

    async fn get_plugin_metrics(&self, _: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        absent("GetPluginMetrics")
    }
}
