//! The gRPC service that applications call for their exchanges.

use super::{Pipeline, stream, transfer};
use crate::interests;
use rockstar_proto::{
    app::{
        AppFrame, HostFrame, Seen,
        pipeline_server::{Pipeline as Rpc, PipelineServer},
    },
    body::MAX_FRAME,
    types::Chunk,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// Serves the pipeline; one of the services on the application's socket.
#[must_use]
pub fn service(pipeline: Arc<Pipeline>) -> PipelineServer<impl Rpc> {
    // Senders keep to the limit; a little more does not cost all the others their stream.
    PipelineServer::new(Service(pipeline)).max_decoding_message_size(4 * MAX_FRAME)
}

struct Service(Arc<Pipeline>);

type Answer<T> = Result<Response<T>, Status>;

#[async_trait]
impl Rpc for Service {
    type ExchangeStream = stream::Frames;
    type TransferStream = transfer::Chunks;
    type InterestsStream = interests::Sets;

    async fn exchange(&self, request: Request<Streaming<AppFrame>>) -> Answer<Self::ExchangeStream> {
        Ok(Response::new(stream::serve(&self.0, request.into_inner())))
    }

    async fn begin(&self, request: Request<AppFrame>) -> Answer<HostFrame> {
        self.0.begin(request.into_inner()).await.map(Response::new)
    }

    async fn finish(&self, request: Request<AppFrame>) -> Answer<HostFrame> {
        self.0.finish_exchange(request.into_inner()).await.map(Response::new)
    }

    async fn transfer(&self, request: Request<Streaming<Chunk>>) -> Answer<Self::TransferStream> {
        self.0.transfers.serve(request.into_inner()).await.map(Response::new)
    }

    async fn interests(&self, request: Request<Streaming<Seen>>) -> Answer<Self::InterestsStream> {
        Ok(Response::new(interests::serve(&self.0, request.into_inner())))
    }
}
