//! The event bus for the application: it publishes, and listens as long as it keeps its stream. No I/O of its own.

use crate::bus::{Bus, Names, PublishError};
use futures::stream::{self, BoxStream, StreamExt};
use rockstar_proto::{
    app::{self, SubscribeRequest, events_server::Events},
    plugin::Event,
    types::Empty,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[derive(Debug)]
pub(super) struct Service {
    bus: Arc<Bus>,
}

impl Service {
    pub(super) const fn new(bus: Arc<Bus>) -> Self {
        Self { bus }
    }
}

#[tonic::async_trait]
impl Events for Service {
    type SubscribeStream = BoxStream<'static, Result<app::Event, Status>>;

    async fn publish(&self, request: Request<app::Event>) -> Result<Response<Empty>, Status> {
        let app::Event { name, data, .. } = request.into_inner();
        let event = Event { name, data: bytes::Bytes::copy_from_slice(&data), ..Event::default() };
        let text = format!("The application published event {}", event.name);
        let published = self.bus.publish(event).await.map_err(|error| status(&error))?;
        tracing::debug!("{text}: {published}");
        Ok(Response::new(Empty {}))
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let names = request.into_inner().names;
        let names = if names.is_empty() { Names::All } else { Names::These(names.into_iter().collect()) };
        let ears = self.bus.listen(names);
        let events = stream::unfold(ears, |ears| async {
            let Event { name, data, source, sequence } = ears.next().await;
            Some((Ok(app::Event { name, data, source, sequence }), ears))
        });
        Ok(Response::new(events.boxed()))
    }
}

fn status(error: &PublishError) -> Status {
    match error {
        PublishError::NotTaken { .. } => Status::failed_precondition(error.to_string()),
        PublishError::NoName
        | PublishError::LongName(_)
        | PublishError::TooLarge { .. }
        | PublishError::OverLimit { .. } => Status::invalid_argument(error.to_string()),
    }
}
