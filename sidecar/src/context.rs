//! What a plugin may call while it runs: the gRPC server of `rockstar.plugin.v1.PluginContext`, one per process, on a
//! socket in that process's private directory. One file a service; permissions are checked here, at every call.

mod cache;
mod configuration;
mod database;
mod events;
mod key_value;
mod limits;
mod metrics;
mod register;
mod requests;
mod services;
mod storage;
mod telemetry;

pub(crate) use register::check_room;

use crate::{bounds::MAX_STREAMS, framework::Framework, instance::Instance, slot::Slot};
use limits::Limited;
use parking_lot::Mutex;
use rockstar_core::permission::{self, Permission};
use rockstar_proto::{
    plugin::{
        Config, DatabaseRequest, Event, Invocation, KeyValueReply, KeyValueRequest, Record, Registration, Reply,
        Result as Outcome, plugin_context_server::PluginContext, record::Kind,
    },
    types::{Empty, Failure, Map, failure::Class},
};
use std::{collections::BTreeSet, sync::Arc};
use telemetry::Journal;
use tokio::{net::UnixStream, task::AbortHandle};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Bytes of one call, and of one connection, that nobody has read yet.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;

/// Serves the context of one process until aborted.
pub fn serve(
    connections: impl Stream<Item = std::io::Result<UnixStream>> + Send + 'static,
    instance: Arc<Instance>,
    slot: Arc<Slot>,
    framework: Arc<Framework>,
) -> AbortHandle {
    let plugin = instance.plugin().to_owned();
    let journal = Journal::new(&plugin);
    let context = Context { instance, slot, framework, journal, undeclared: Mutex::default() };
    let serving = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(Limited::new(context))
        .serve_with_incoming(limits::limited(connections, plugin.clone()));
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
    framework: Arc<Framework>,
    journal: Journal,
    /// Events that were published without being declared, each pointed out once.
    undeclared: Mutex<BTreeSet<String>>,
}

/// The plugin, and the process of it, that a context belongs to.
#[derive(Clone, Debug)]
struct Caller {
    instance: Arc<Instance>,
    slot: Arc<Slot>,
}

impl Context {
    fn caller(&self) -> Caller {
        Caller { instance: Arc::clone(&self.instance), slot: Arc::clone(&self.slot) }
    }

    fn allowed(&self, permission: Permission) -> Result<(), Failure> {
        self.caller().allowed(permission)
    }

    fn failed(&self, class: Class, stage: &str, text: String) -> Failure {
        self.caller().failed(class, stage, text)
    }

    fn failure(&self, class: Class, stage: &str, text: String) -> Failure {
        self.caller().failure(class, stage, text)
    }

    /// What the host does for the plugin is in the plugin's log too, where its level is debug.
    fn level(&self, record: &Record) {
        if record.kind() == Kind::Level {
            self.instance.set_debugs(record.level == "debug");
        }
    }
}

impl Caller {
    /// A use without permission is an error of the plugin, counted and visible.
    fn allowed(&self, permission: Permission) -> Result<(), Failure> {
        let permissions = self.slot.narrowed(&self.instance.permissions());
        let denied = permission::check_use(self.slot.name(), &permissions, permission);
        denied.map_err(|error| {
            tracing::error!(plugin = self.slot.name(), %permission, "{error}");
            self.failed(Class::Denied, permission.name(), error.to_string())
        })
    }

    /// A failure of the plugin, counted as one.
    fn failed(&self, class: Class, stage: &str, text: String) -> Failure {
        self.slot.record.error(&text);
        self.failure(class, stage, text)
    }

    fn failure(&self, class: Class, stage: &str, text: String) -> Failure {
        Failure { class: class.into(), plugin: self.slot.name().to_owned(), stage: stage.into(), text }
    }
}

#[tonic::async_trait]
impl PluginContext for Context {
    type ServicesStream = services::Listing;
    type DatabaseStream = database::Replies;

    async fn register(&self, request: Request<Registration>) -> Result<Response<Outcome>, Status> {
        self.registered(&request.into_inner())
    }

    async fn unregister(&self, request: Request<Registration>) -> Result<Response<Outcome>, Status> {
        self.unregistered(&request.into_inner())
    }

    async fn publish(&self, request: Request<Event>) -> Result<Response<Outcome>, Status> {
        self.published(request.into_inner()).await
    }

    async fn import(&self, request: Request<Invocation>) -> Result<Response<Outcome>, Status> {
        self.imported(&request.into_inner())
    }

    async fn invoke(&self, request: Request<Invocation>) -> Result<Response<Reply>, Status> {
        self.invoked(request).await
    }

    async fn services(&self, _: Request<Empty>) -> Result<Response<Self::ServicesStream>, Status> {
        self.listed()
    }

    async fn database(
        &self,
        request: Request<Streaming<DatabaseRequest>>,
    ) -> Result<Response<Self::DatabaseStream>, Status> {
        self.session(request.into_inner())
    }

    async fn cache(&self, request: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        self.cached(request.into_inner()).await
    }

    async fn storage(&self, request: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        self.stored(request.into_inner()).await
    }

    async fn get_config(&self, request: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        self.configured(&request.into_inner())
    }

    async fn get_plugin_config(&self, _: Request<Empty>) -> Result<Response<Config>, Status> {
        Ok(Response::new(Config { values: Some(Map::from(&*self.instance.config())), generation: 0 }))
    }

    async fn get_plugin_metrics(&self, request: Request<KeyValueRequest>) -> Result<Response<KeyValueReply>, Status> {
        self.measured(&request.into_inner())
    }

    async fn telemetry(&self, request: Request<Streaming<Record>>) -> Result<Response<Empty>, Status> {
        let mut records = request.into_inner();
        while let Some(record) = records.message().await? {
            self.level(&record);
            match record.kind() {
                Kind::Counter | Kind::Gauge | Kind::Histogram => self.slot.meters.take(&record),
                Kind::Log | Kind::Level | Kind::Unspecified => self.journal.take(&record),
            }
        }
        Ok(Response::new(Empty {}))
    }
}
