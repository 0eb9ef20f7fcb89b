//! The gRPC service that the plugin's context talks to, over a pipe inside of the process.

use super::{
    answered,
    state::{Event, Shared, failure},
    values,
};
use crate::{dispatch, host::Host};
use futures::{StreamExt, stream, stream::BoxStream};
use hyper_util::rt::TokioIo;
use rockstar_proto::{
    plugin::{
        self as wire, Call, Config, DatabaseReply, DatabaseRequest, Invocation, KeyValueReply, KeyValueRequest, Record,
        Registration, Reply, Result as Outcome, call,
        plugin_context_server::{PluginContext, PluginContextServer},
        registration::Kind,
        reply,
    },
    types::{self, Empty, Failure, Map, failure::Class},
};
use std::io;
use tokio::{
    io::DuplexStream,
    sync::mpsc,
    task::{AbortHandle, spawn_blocking},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};

const PIPE: usize = 64 * 1024;

/// Serves the state, and gives the way to it.
pub(super) fn serve(state: Shared) -> (Host, AbortHandle) {
    let (connections, incoming) = mpsc::channel::<io::Result<DuplexStream>>(1);
    let connector = tower::service_fn(move |_| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            connections.send(Ok(theirs)).await.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
    let service = PluginContextServer::new(Service(state));
    let serving = Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming));
    (Host::over(channel), tokio::spawn(serving).abort_handle())
}

struct Service(Shared);

type Answer<T> = Result<Response<T>, Status>;

fn outcome(done: Result<(), Failure>) -> Answer<Outcome> {
    Ok(Response::new(Outcome { failure: done.err() }))
}

impl Service {
    /// A key-value request that needs a permission, if any.
    fn key_value(
        &self,
        permission: Option<&str>,
        answer: impl FnOnce(&mut super::State) -> KeyValueReply,
    ) -> Answer<KeyValueReply> {
        let mut state = self.0.lock();
        let allowed = permission.map_or(Ok(()), |permission| state.allowed(permission));
        Ok(Response::new(allowed.map_or_else(values::refused, |()| answer(&mut state))))
    }

    fn find(&self, wanted: &Invocation) -> Result<(), Failure> {
        let state = self.0.lock();
        let own = wanted.plugin == state.name && !state.handlers(Kind::Service, &wanted.service).is_empty();
        if own || state.services.contains_key(&(wanted.plugin.clone(), wanted.service.clone())) {
            return Ok(());
        }
        let (plugin, service) = (&wanted.plugin, &wanted.service);
        let text = format!("service not found: plugin '{plugin}' does not export '{service}'");
        Err(failure(Class::NotFound, text))
    }

    async fn invoked(&self, wanted: Invocation) -> Result<reply::Reply, Failure> {
        self.find(&wanted)?;
        let key = (wanted.plugin.clone(), wanted.service.clone());
        let other = self.0.lock().services.get(&key).cloned();
        let returned = |error: crate::Error| failure(Class::Returned, error.to_string());
        let Some(answer) = other else { return self.own(wanted).await.map_err(returned) };
        let arguments = types::Value::decoded(wanted.arguments).map(|v| v.to_json()).unwrap_or_default();
        // The test's closure may take its time.
        let result = spawn_blocking(move || answer(&wanted.method, arguments)).await;
        let value = result.map_err(|e| returned(e.into()))?.map_err(returned)?;
        Ok(reply::Reply::Result(types::Value::from(&value).encode()))
    }

    async fn own(&self, wanted: Invocation) -> crate::Result<reply::Reply> {
        let (ctx, handler) = {
            let state = self.0.lock();
            (state.context(), state.handlers(Kind::Service, &wanted.service).pop())
        };
        let ctx = ctx.ok_or("the plugin is gone")?;
        let handler = handler.unwrap_or_default();
        let call = Call { handler, call: Some(call::Call::Invoke(wanted)), ..Call::default() };
        answered(dispatch::answer(&ctx, call).await)
    }
}

#[tonic::async_trait]
impl PluginContext for Service {
    type ServicesStream = BoxStream<'static, Result<Registration, Status>>;
    type DatabaseStream = BoxStream<'static, Result<DatabaseReply, Status>>;

    async fn register(&self, request: Request<Registration>) -> Answer<Outcome> {
        outcome(self.0.lock().register(request.into_inner()))
    }

    async fn unregister(&self, request: Request<Registration>) -> Answer<Outcome> {
        outcome(self.0.lock().unregister(request.get_ref()))
    }

    async fn publish(&self, request: Request<wire::Event>) -> Answer<Outcome> {
        self.0.lock().events.push(Event::from(request.get_ref()));
        outcome(Ok(()))
    }

    async fn import(&self, request: Request<Invocation>) -> Answer<Outcome> {
        outcome(self.find(request.get_ref()))
    }

    async fn invoke(&self, request: Request<Invocation>) -> Answer<Reply> {
        let reply = self.invoked(request.into_inner()).await.unwrap_or_else(reply::Reply::Failure);
        Ok(Response::new(Reply { id: 0, reply: Some(reply) }))
    }

    async fn services(&self, _: Request<Empty>) -> Answer<Self::ServicesStream> {
        let state = self.0.lock();
        let own = state.registrations.iter().filter(|r| r.kind() == Kind::Service).cloned();
        let own = own.map(|service| Registration { plugin: state.name.clone(), ..service });
        let other = state.services.keys().map(|(plugin, name)| Registration {
            kind: Kind::Service.into(),
            plugin: plugin.clone(),
            name: name.clone(),
            ..Registration::default()
        });
        let all: Vec<_> = own.chain(other).map(Ok).collect();
        Ok(Response::new(stream::iter(all).boxed()))
    }

    async fn database(&self, request: Request<Streaming<DatabaseRequest>>) -> Answer<Self::DatabaseStream> {
        let shared = self.0.clone();
        let answers = request.into_inner().flat_map(move |request| {
            let mut state = shared.lock();
            let replies = match (request, state.allowed("database")) {
                (Err(status), _) => vec![Err(status)],
                (Ok(request), Ok(())) => values::answers(&mut state, request).into_iter().map(Ok).collect(),
                (Ok(request), Err(denied)) => {
                    let reply = Some(wire::database_reply::Reply::Failure(denied));
                    vec![Ok(DatabaseReply { sequence: request.sequence, reply })]
                }
            };
            stream::iter(replies)
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn cache(&self, request: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        self.key_value(Some("cache"), |state| values::operate(&mut state.cache, request.into_inner()))
    }

    async fn storage(&self, request: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        self.key_value(None, |state| values::stored(&mut state.storage, request.into_inner()))
    }

    async fn get_config(&self, request: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        self.key_value(Some("config"), |state| values::configured(&state.framework, request.get_ref()))
    }

    async fn get_plugin_config(&self, _: Request<Empty>) -> Answer<Config> {
        let values = Some(Map::from(self.0.lock().plugin_config().values()));
        Ok(Response::new(Config { values, generation: 0 }))
    }

    async fn get_plugin_metrics(&self, _: Request<KeyValueRequest>) -> Answer<KeyValueReply> {
        self.key_value(None, |state| values::measured(state))
    }

    async fn telemetry(&self, request: Request<Streaming<Record>>) -> Answer<Empty> {
        let mut records = request.into_inner();
        while let Some(record) = records.message().await? {
            self.0.lock().records.push(record);
        }
        Ok(Response::new(Empty {}))
    }
}
