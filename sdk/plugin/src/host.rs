//! The way to the plugin's host: one lazy connection to its context socket, every call with a deadline.

use crate::behalf::OnBehalf;
use bytes::Bytes;
use futures::TryStreamExt;
use hyper_util::rt::TokioIo;
use rockstar_proto::{
    body::{CONNECTION_WINDOW, STREAM_WINDOW},
    plugin::{
        Event, Invocation, KeyValueReply, KeyValueRequest, Registration, Result as Outcome,
        plugin_context_client::PluginContextClient, reply::Reply,
    },
    types::{Empty, Failure, failure::Class},
};
use std::{future::Future, path::PathBuf, time::Duration};
use tokio::{net::UnixStream, time::timeout};
use tonic::{
    Code, Response, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

const DEADLINE: Duration = Duration::from_secs(5);
/// A service may be waited for while its plugin is reloaded; the host ends the wait before.
const SERVICE_DEADLINE: Duration = Duration::from_secs(600);

/// Why the host did not do what the plugin asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host's own text.
    #[error("{0}")]
    Refused(String),
    /// What was asked for is not there; the host's own text.
    #[error("{0}")]
    NotFound(String),
    #[error("the host does not offer this: {0}")]
    Unsupported(String),
    #[error("the host cannot be reached: {0}")]
    Unreachable(String),
    #[error("the host did not answer within {}s", DEADLINE.as_secs())]
    Timeout,
    #[error("data that cannot be understood: {0}")]
    Data(String),
    /// The value is there, but not of the type that was asked for.
    #[error("{0}")]
    Type(String),
}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> Self {
        match failure.class() {
            Class::NotFound => Self::NotFound(failure.text),
            _ => Self::Refused(failure.text),
        }
    }
}

/// The services that speak of keys and values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyValue {
    Cache,
    Storage,
    Config,
}

type Client = PluginContextClient<InterceptedService<Channel, OnBehalf>>;

#[derive(Clone, Debug)]
pub(crate) struct Host(Client);

impl Host {
    pub(crate) fn new(socket: PathBuf) -> Self {
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The authority is a plain name: other servers refuse a path in it.
        // Rows that are read slowly hold up nothing else.
        let endpoint = Endpoint::from_static("http://localhost")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Self::over(endpoint.connect_with_connector_lazy(connector))
    }

    pub(crate) fn over(channel: Channel) -> Self {
        Self(PluginContextClient::with_interceptor(channel, OnBehalf))
    }

    pub(crate) fn client(&self) -> Client {
        self.0.clone()
    }

    pub(crate) async fn register(&self, registration: Registration) -> Result<(), HostError> {
        let mut client = self.client();
        outcome(answered(client.register(registration)).await?)
    }

    pub(crate) async fn plugin_metrics(&self, request: KeyValueRequest) -> Result<KeyValueReply, HostError> {
        let mut client = self.client();
        let reply = answered(client.get_plugin_metrics(request)).await?;
        match reply.failure {
            Some(failure) => Err(HostError::Refused(failure.text)),
            None => Ok(reply),
        }
    }

    pub(crate) async fn key_value(
        &self,
        service: KeyValue,
        request: KeyValueRequest,
    ) -> Result<KeyValueReply, HostError> {
        let mut client = self.client();
        let reply = match service {
            KeyValue::Cache => answered(client.cache(request)).await?,
            KeyValue::Storage => answered(client.storage(request)).await?,
            KeyValue::Config => answered(client.get_config(request)).await?,
        };
        match reply.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(reply),
        }
    }

    pub(crate) async fn unregister(&self, registration: Registration) -> Result<(), HostError> {
        let mut client = self.client();
        outcome(answered(client.unregister(registration)).await?)
    }

    pub(crate) async fn publish(&self, event: Event) -> Result<(), HostError> {
        let mut client = self.client();
        outcome(answered(client.publish(event)).await?)
    }

    pub(crate) async fn import(&self, wanted: Invocation) -> Result<(), HostError> {
        let mut client = self.client();
        outcome(answered(client.import(wanted)).await?)
    }

    pub(crate) async fn invoke(&self, wanted: Invocation) -> Result<Bytes, HostError> {
        let mut client = self.client();
        let reply = timeout(SERVICE_DEADLINE, client.invoke(wanted)).await.map_err(|_| HostError::Timeout)?;
        match reply.map_err(|status| refusal(&status))?.into_inner().reply {
            Some(Reply::Result(result)) => Ok(result),
            Some(Reply::Failure(failure)) => Err(HostError::Refused(failure.text)),
            _ => Err(HostError::Data("no result of a service call".to_owned())),
        }
    }

    pub(crate) async fn services(&self) -> Result<Vec<Registration>, HostError> {
        let mut client = self.client();
        let listed = answered(client.services(Empty {})).await?;
        let all = timeout(DEADLINE, listed.try_collect()).await.map_err(|_| HostError::Timeout)?;
        all.map_err(|status| refusal(&status))
    }
}

fn outcome(outcome: Outcome) -> Result<(), HostError> {
    outcome.failure.map_or(Ok(()), |f: Failure| Err(HostError::Refused(f.text)))
}

pub(crate) async fn answered<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, HostError> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(HostError::Timeout),
    }
}

pub(crate) fn refusal(status: &Status) -> HostError {
    let text = status.message().to_owned();
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => HostError::Unreachable(text),
        Code::Unimplemented => HostError::Unsupported(text),
        Code::DeadlineExceeded => HostError::Timeout,
        _ => HostError::Refused(text),
    }
}
