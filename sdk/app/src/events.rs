//! Events between plugins and the application. Calls the sidecar.

use crate::call::{CallError, answered, decode, encode};
use rockstar_proto::app::{self, SubscribeRequest, events_client::EventsClient};
use serde::Serialize;
use serde_json::Value;
use tonic::{Streaming, transport::Channel};

/// What the application publishes and hears.
#[derive(Clone, Debug)]
pub struct Events(EventsClient<Channel>);

/// An event that was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
    /// The plugin that published it; empty for an application.
    pub source: String,
    /// Grows from event to event.
    pub sequence: u64,
}

/// Events as they come, until the sidecar ends.
#[derive(Debug)]
pub struct Subscription(Streaming<app::Event>);

impl Events {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(EventsClient::new(channel))
    }

    /// Publishes an event to all plugins that listen to this name; none is waited for.
    pub async fn publish(&self, name: &str, data: impl Serialize) -> Result<(), CallError> {
        let event = app::Event { name: name.into(), data: encode(&data)?, ..app::Event::default() };
        answered(self.0.clone().publish(event)).await.map(|_| ())
    }

    /// Hears events of these names, of all names if there are none, from now on.
    pub async fn subscribe(&self, names: &[&str]) -> Result<Subscription, CallError> {
        let request = SubscribeRequest { names: names.iter().map(|name| (*name).to_owned()).collect() };
        Ok(Subscription(answered(self.0.clone().subscribe(request)).await?))
    }
}

impl Subscription {
    /// The next event; none when the sidecar has ended.
    pub async fn next(&mut self) -> Result<Option<Event>, CallError> {
        let Some(event) = self.0.message().await? else { return Ok(None) };
        let app::Event { name, data, source, sequence } = event;
        Ok(Some(Event { name, data: decode(data)?, source, sequence }))
    }
}
