//! A host that keeps what its plugin registers and logs, and offers nothing else.

use futures::stream::BoxStream;
use rockstar_proto::{
    plugin::{
        Config, DatabaseReply, DatabaseRequest, Event, Invocation, KeyValueReply, KeyValueRequest, Record,
        Registration, Reply, Result as Outcome,
        plugin_context_server::{PluginContext, PluginContextServer},
    },
    types::Empty,
};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

#[derive(Default)]
pub(crate) struct Host {
    registrations: Mutex<Vec<Registration>>,
    records: Mutex<Vec<Record>>,
}

impl Host {
    pub(crate) fn registrations(&self) -> Vec<Registration> {
        self.registrations.lock().unwrap().clone()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }
}

pub(crate) fn serve(socket: &Path) -> Arc<Host> {
    let host = Arc::new(Host::default());
    let listener = UnixListener::bind(socket).unwrap();
    let service = PluginContextServer::new(Service(host.clone()));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)));
    host
}

struct Service(Arc<Host>);

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("not offered"))
}

#[tonic::async_trait]
impl PluginContext for Service {
    type ServicesStream = BoxStream<'static, Result<Registration, Status>>;
    type DatabaseStream = BoxStream<'static, Result<DatabaseReply, Status>>;

    async fn register(&self, request: Request<Registration>) -> Answer<Outcome> {
        self.0.registrations.lock().unwrap().push(request.into_inner());
        Ok(Response::new(Outcome::default()))
    }

    async fn telemetry(&self, request: Request<Streaming<Record>>) -> Answer<Empty> {
        let mut records = request.into_inner();
        while let Some(record) = records.message().await? {
            self.0.records.lock().unwrap().push(record);
        }
        Ok(Response::new(Empty {}))
    }

    async fn unregister(&self, _: Request<Registration>) -> Answer<Outcome> {
        absent()
    }
    async fn publish(&self, _: Request<Event>) -> Answer<Outcome> {
        absent()
    }
    async fn import(&self, _: Request<Invocation>) -> Answer<Outcome> {
        absent()
    }
    async fn invoke(&self, _: Request<Invocation>) -> Answer<Reply> {
        absent()
    }
    async fn services(&self, _: Request<Empty>) -> Answer<Self::ServicesStream> {
        absent()
    }
    async fn database(&self, _: Request<Streaming<DatabaseRequest>>) -> Answer<Self::DatabaseStream> {
        absent()
    }
    async fn cache(&self, _: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        absent()
    }
    async fn storage(&self, _: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        absent()
    }
    async fn get_config(&self, _: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        absent()
    }
    async fn get_plugin_config(&self, _: Request<Empty>) -> Answer<Config> {
        absent()
    }
    async fn get_plugin_metrics(&self, _: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        absent()
    }
}
