//! The sidecar's place in the raw chain: passes each exchange on and its answer back. Serves a Unix socket, calls another.

use crate::socket;
use anyhow::Result;
use futures::{Stream, StreamExt as _};
use rockstar_proto::{
    app::{
        AppFrame, HostFrame, InterestSet, Proceed, Seen, app_frame, host_frame,
        pipeline_server::{Pipeline, PipelineServer},
    },
    plugin::{Call, Reply, call, plugin_client::PluginClient, reply},
    types::Chunk,
};
use std::{future::ready, path::Path, pin::Pin};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Server},
};

pub(crate) async fn serve(path: &Path, plugin: &Path) -> Result<()> {
    let relay = Relay { plugin: PluginClient::new(socket::connect(plugin).await?) };
    let socket = socket::listen(path)?;
    Ok(Server::builder().add_service(PipelineServer::new(relay)).serve_with_incoming(socket).await?)
}

struct Relay {
    plugin: PluginClient<Channel>,
}

fn forth(frame: AppFrame) -> Call {
    let request = match frame.frame {
        Some(app_frame::Frame::Enter(enter)) => enter.request,
        _ => None,
    };
    let call = request.map(call::Call::RequestHook);
    Call { id: frame.id, timeout_ms: 5000, handler: "pre_request".into(), call, ..Call::default() }
}

fn back(reply: Reply) -> HostFrame {
    let change = match reply.reply {
        Some(reply::Reply::Change(change)) => Some(change),
        _ => None,
    };
    let proceed = host_frame::Frame::Proceed(Proceed { change, ..Proceed::default() });
    HostFrame { id: reply.id, frame: Some(proceed), ..HostFrame::default() }
}

fn unused<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of the benchmark"))
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Pipeline for Relay {
    type ExchangeStream = Frames<HostFrame>;
    type TransferStream = Frames<Chunk>;
    type InterestsStream = Frames<InterestSet>;

    async fn exchange(&self, frames: Request<Streaming<AppFrame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let calls = frames.into_inner().filter_map(|frame| ready(frame.ok().map(forth)));
        let replies = self.plugin.clone().dispatch(calls).await?.into_inner();
        Ok(Response::new(replies.map(|reply| reply.map(back)).boxed()))
    }

    async fn begin(&self, frame: Request<AppFrame>) -> Result<Response<HostFrame>, Status> {
        let reply = self.plugin.clone().handle(forth(frame.into_inner())).await?;
        Ok(Response::new(back(reply.into_inner())))
    }

    async fn finish(&self, _: Request<AppFrame>) -> Result<Response<HostFrame>, Status> {
        unused()
    }

    async fn transfer(&self, _: Request<Streaming<Chunk>>) -> Result<Response<Self::TransferStream>, Status> {
        unused()
    }

    async fn interests(&self, _: Request<Streaming<Seen>>) -> Result<Response<Self::InterestsStream>, Status> {
        unused()
    }
}
