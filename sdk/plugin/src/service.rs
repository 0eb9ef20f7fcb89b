//! The plugin's gRPC service: what the host calls, handed to lifecycle and handlers.

use crate::{
    Plugin, PluginConfig, PluginContext,
    bodies::Chunks,
    dispatch,
    dispatch::{MAX_CONCURRENT, Replies},
    lifecycle::Lifecycle,
};
use rockstar_proto::{
    methods::METHODS,
    plugin::{self as wire, Call, Config, DescribeRequest, Description, Reply, plugin_server},
    types::{Chunk, Empty, Failure, Map},
};
use tonic::{Request, Response, Status, Streaming, async_trait};

const PROTOCOL: u32 = 1;

pub(crate) struct PluginService<P> {
    description: Description,
    lifecycle: Lifecycle<P>,
    ctx: PluginContext,
}

impl<P: Plugin> PluginService<P> {
    pub(crate) fn new(plugin: P, ctx: PluginContext) -> Self {
        Self { description: describe(&plugin), lifecycle: Lifecycle::new(plugin), ctx }
    }
}

fn describe(plugin: &impl Plugin) -> Description {
    let dependencies = plugin.dependencies().into_iter();
    Description {
        protocol: PROTOCOL,
        name: plugin.name(),
        version: plugin.version(),
        description: plugin.description(),
        author: plugin.author(),
        dependencies: dependencies
            .map(|d| wire::Dependency { name: d.name, version: d.version, optional: d.optional })
            .collect(),
        config_schema: Some(Map::from(&plugin.config_schema())),
        methods: METHODS.map(String::from).to_vec(),
        dispatch: plugin.multiplexed(),
        max_concurrent: u32::try_from(MAX_CONCURRENT).unwrap_or(u32::MAX),
    }
}

fn config(message: Config) -> PluginConfig {
    PluginConfig::new(message.values.unwrap_or_default().to_json())
}

type Answer = Result<Response<wire::Result>, Status>;

fn result(outcome: Result<(), Failure>) -> Answer {
    Ok(Response::new(wire::Result { failure: outcome.err() }))
}

#[async_trait]
impl<P: Plugin> plugin_server::Plugin for PluginService<P> {
    type DispatchStream = Replies;
    type TransferStream = Chunks;

    async fn describe(&self, request: Request<DescribeRequest>) -> Result<Response<Description>, Status> {
        if !request.get_ref().protocols.contains(&PROTOCOL) {
            let text = format!("the plugin speaks protocol {PROTOCOL}, the host {:?}", request.get_ref().protocols);
            return Err(Status::failed_precondition(text));
        }
        Ok(Response::new(self.description.clone()))
    }

    async fn initialize(&self, request: Request<Config>) -> Answer {
        self.ctx.set_config(config(request.into_inner()));
        result(self.lifecycle.initialize(self.ctx.clone()).await)
    }

    async fn start(&self, _: Request<Empty>) -> Answer {
        result(self.lifecycle.start().await)
    }

    async fn stop(&self, _: Request<Empty>) -> Answer {
        let outcome = self.lifecycle.stop().await;
        self.ctx.telemetry().flush().await;
        result(outcome)
    }

    async fn cleanup(&self, _: Request<Empty>) -> Answer {
        let outcome = self.lifecycle.cleanup().await;
        self.ctx.telemetry().flush().await;
        result(outcome)
    }

    async fn on_config_change(&self, request: Request<Config>) -> Answer {
        let new = config(request.into_inner());
        let outcome = self.lifecycle.on_config_change(new.clone()).await;
        if outcome.is_ok() {
            self.ctx.set_config(new);
        }
        result(outcome)
    }

    async fn ping(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }

    async fn handle(&self, request: Request<Call>) -> Result<Response<Reply>, Status> {
        Ok(Response::new(dispatch::reply(&self.ctx, request.into_inner()).await))
    }

    async fn dispatch(&self, request: Request<Streaming<Call>>) -> Result<Response<Replies>, Status> {
        Ok(Response::new(dispatch::stream(self.ctx.clone(), request.into_inner())))
    }

    async fn transfer(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Self::TransferStream>, Status> {
        self.ctx.bodies().serve(request.into_inner()).await.map(Response::new)
    }
}
