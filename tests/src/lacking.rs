//! A plugin that does not implement what its arguments name: methods are left out of what it says it offers.

use rockstar_proto::{
    methods::METHODS,
    plugin::{
        Call, Config, DescribeRequest, Description, Reply, Result as Outcome,
        plugin_server::{Plugin, PluginServer},
    },
    types::{Chunk, Empty},
};
use std::{env, error::Error, fs, path::PathBuf};
use tokio::net::UnixListener;
use tokio_stream::{Empty as Nothing, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Server};

struct Lacking(Description);

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("as it says"))
}

#[async_trait]
impl Plugin for Lacking {
    type DispatchStream = Nothing<Result<Reply, Status>>;
    type TransferStream = Nothing<Result<Chunk, Status>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Answer<Description> {
        Ok(Response::new(self.0.clone()))
    }

    async fn initialize(&self, _: Request<Config>) -> Answer<Outcome> {
        absent()
    }

    async fn start(&self, _: Request<Empty>) -> Answer<Outcome> {
        absent()
    }

    async fn stop(&self, _: Request<Empty>) -> Answer<Outcome> {
        absent()
    }

    async fn cleanup(&self, _: Request<Empty>) -> Answer<Outcome> {
        absent()
    }

    async fn on_config_change(&self, _: Request<Config>) -> Answer<Outcome> {
        absent()
    }

    async fn ping(&self, _: Request<Empty>) -> Answer<Empty> {
        absent()
    }

    async fn handle(&self, _: Request<Call>) -> Answer<Reply> {
        absent()
    }

    async fn dispatch(&self, _: Request<Streaming<Call>>) -> Answer<Self::DispatchStream> {
        absent()
    }

    async fn transfer(&self, _: Request<Streaming<Chunk>>) -> Answer<Self::TransferStream> {
        absent()
    }
}

/// As the manifest declares it, but for the methods.
fn description() -> Result<Description, Box<dyn Error>> {
    let directory = PathBuf::from(env::var("ROCKSTAR_PLUGIN_DIR")?);
    let manifest: serde_json::Value = serde_json::from_str(&fs::read_to_string(directory.join("plugin.json"))?)?;
    let text = |field: &str| manifest.get(field).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let lacks: Vec<_> = env::args().skip(1).collect();
    let methods = METHODS.iter().filter(|method| !lacks.iter().any(|lacking| lacking == *method));
    Ok(Description {
        protocol: 1,
        name: text("name"),
        version: text("version"),
        description: text("description"),
        author: text("author"),
        methods: methods.map(ToString::to_string).collect(),
        ..Description::default()
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = UnixListener::bind(env::var("ROCKSTAR_PLUGIN_SOCKET")?)?;
    let service = PluginServer::new(Lacking(description()?));
    Ok(Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)).await?)
}
