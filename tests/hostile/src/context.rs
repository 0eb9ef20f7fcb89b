//! Uses of what the host offers, past the SDK: the host itself must refuse them.

use hyper_util::rt::TokioIo;
use rockstar_proto::{
    plugin::{
        DatabaseRequest, KeyValueRequest, Registration, Statement, database_reply, database_request,
        key_value_request::Operation, plugin_context_client::PluginContextClient, registration::Kind,
    },
    types::Failure,
};
use std::io;
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

type Client = PluginContextClient<Channel>;

/// One call that needs this permission.
pub(crate) fn use_without_asking(permission: &str) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failure = runtime.block_on(async {
        let connector = tower::service_fn(|_| async { UnixStream::connect("host.sock").await.map(TokioIo::new) });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        let client = PluginContextClient::new(channel);
        match permission {
            "cache" => cache(client).await,
            "config" => config(client).await,
            "router" => route(client).await,
            "database" => database(client).await,
            _ => Err(Status::invalid_argument("no such permission")),
        }
    });
    match failure.map_err(|status| io::Error::other(status.message().to_owned()))? {
        None => Ok(()),
        Some(failure) => Err(io::Error::other(failure.text)),
    }
}

type Told = Result<Option<Failure>, Status>;

fn get() -> KeyValueRequest {
    KeyValueRequest { operation: Operation::Get.into(), key: "key".into(), ..KeyValueRequest::default() }
}

async fn cache(mut client: Client) -> Told {
    Ok(client.cache(get()).await?.into_inner().failure)
}

async fn config(mut client: Client) -> Told {
    Ok(client.get_config(get()).await?.into_inner().failure)
}

async fn route(mut client: Client) -> Told {
    let routes = vec!["/r".to_owned()];
    let route = Registration {
        kind: Kind::Route.into(),
        handler: "r".into(),
        routes,
        method: "GET".into(),
        ..Registration::default()
    };
    Ok(client.register(route).await?.into_inner().failure)
}

async fn database(mut client: Client) -> Told {
    let query = Statement { sql: "SELECT 1".into(), ..Statement::default() };
    let request = DatabaseRequest { sequence: 1, request: Some(database_request::Request::Query(query)) };
    let mut replies = client.database(tokio_stream::iter([request])).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        if let Some(database_reply::Reply::Failure(failure)) = reply.reply {
            return Ok(Some(failure));
        }
    }
    Ok(None)
}
