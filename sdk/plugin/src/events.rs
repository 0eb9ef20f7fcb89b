//! Events between plugins: publishing them and listening to them.

use crate::{Error, HostError, PluginContext, Result, handlers::Handler, wire};
use futures::future::BoxFuture;
use rockstar_proto::plugin::{self, Registration, registration::Kind};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::Future, sync::Arc};

pub(crate) type EventHandler = Arc<dyn Fn(Event) -> BoxFuture<'static, Result> + Send + Sync>;

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
    /// The plugin that published it; empty for the application.
    pub source: String,
    /// Grows from event to event.
    pub sequence: u64,
}

impl Event {
    /// The data as the subscriber's own type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.data)
    }
}

impl TryFrom<plugin::Event> for Event {
    type Error = Error;

    fn try_from(event: plugin::Event) -> Result<Self, Error> {
        let data = wire::decode(event.data)?;
        Ok(Self { name: event.name, data, source: event.source, sequence: event.sequence })
    }
}

impl PluginContext {
    /// Publishes an event to all plugins that listen to this name; none is waited for.
    ///
    /// ```
    /// # use rockstar_plugin::{Result, json, testing::MockPluginContext};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let ctx = mock.context();
    /// ctx.publish_event("user.created", json!({"user_id": 123, "username": "john"})).await?;
    /// # assert_eq!((mock.events()[0].name.as_str(), &mock.events()[0].data["user_id"]), ("user.created", &json!(123)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_event(&self, name: &str, data: impl Serialize) -> Result<(), HostError> {
        let event = plugin::Event { name: name.into(), data: wire::encode(&data)?, ..plugin::Event::default() };
        self.host().publish(event).await
    }

    /// Runs the handler for every event of exactly this name, one after another, while the plugin runs. An error in it is
    /// this plugin's; the publisher and other subscribers do not notice.
    ///
    /// ```
    /// # use rockstar_plugin::{Result, json, testing::MockPluginContext};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let ctx = mock.context();
    /// let logger = ctx.logger();
    /// ctx.subscribe_event("user.created", move |event| {
    ///     let logger = logger.clone();
    ///     async move {
    ///         logger.info(format!("{} has id {}", event.data["username"], event.data["user_id"]));
    ///         Ok(())
    ///     }
    /// })
    /// .await?;
    /// # mock.deliver("user.created", json!({"user_id": 123, "username": "john"})).await?;
    /// # assert_eq!(mock.logs().await[0].text, "\"john\" has id 123");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn subscribe_event<F, R>(&self, name: &str, handler: F) -> Result<(), HostError>
    where
        F: Fn(Event) -> R + Send + Sync + 'static,
        R: Future<Output = Result> + Send + 'static,
    {
        let handler = Handler::Event(Arc::new(move |event| Box::pin(handler(event))));
        let id = self.keep("event", handler);
        let kind = Kind::Subscription.into();
        self.register_handler(Registration { kind, name: name.into(), handler: id, ..Registration::default() }).await
    }
}
