//! The plugin's end of the raw chain: answers each call with the same change. Serves a Unix socket.

use crate::{message, socket};
use anyhow::Result;
use futures::{Stream, StreamExt as _};
use rockstar_proto::{
    plugin::{
        Call, Config, DescribeRequest, Description, Reply, Result as Outcome,
        plugin_server::{Plugin, PluginServer},
        reply,
    },
    types::{Chunk, Empty},
};
use std::{path::Path, pin::Pin};
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub(crate) async fn serve(path: &Path) -> Result<()> {
    let socket = socket::listen(path)?;
    Ok(Server::builder().add_service(PluginServer::new(Leaf)).serve_with_incoming(socket).await?)
}

struct Leaf;

fn answer(id: u64) -> Reply {
    Reply { id, reply: Some(reply::Reply::Change(message::change())) }
}

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of the benchmark"))
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Plugin for Leaf {
    type DispatchStream = Replies<Reply>;
    type TransferStream = Replies<Chunk>;

    async fn handle(&self, call: Request<Call>) -> Result<Response<Reply>, Status> {
        Ok(Response::new(answer(call.get_ref().id)))
    }

    async fn dispatch(&self, calls: Request<Streaming<Call>>) -> Result<Response<Self::DispatchStream>, Status> {
        let replies = calls.into_inner().map(|call| call.map(|call| answer(call.id)));
        Ok(Response::new(replies.boxed()))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        unused()
    }

    async fn initialize(&self, _: Request<Config>) -> Result<Response<Outcome>, Status> {
        unused()
    }

    async fn start(&self, _: Request<Empty>) -> Result<Response<Outcome>, Status> {
        unused()
    }

    async fn stop(&self, _: Request<Empty>) -> Result<Response<Outcome>, Status> {
        unused()
    }

    async fn cleanup(&self, _: Request<Empty>) -> Result<Response<Outcome>, Status> {
        unused()
    }

    async fn on_config_change(&self, _: Request<Config>) -> Result<Response<Outcome>, Status> {
        unused()
    }

    async fn ping(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        unused()
    }

    async fn transfer(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Self::TransferStream>, Status> {
        unused()
    }
}
