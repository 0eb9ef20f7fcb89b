//! Events: those that the plugin publishes, and those that it listens to.

use super::{Context, register::check_room};
use crate::{
    bus::{self, PublishError},
    instance::Subscription,
};
use bytes::Bytes;
use rockstar_proto::{
    plugin::{Event, Registration, Result as Outcome},
    types::failure::Class,
};
use tonic::{Response, Status};

/// A plugin that publishes more different names is warned of no more.
const MAX_NAMES: usize = 1024;

impl Context {
    pub(super) async fn published(&self, mut event: Event) -> Result<Response<Outcome>, Status> {
        if let Err(error) = bus::check_plugin_event(&event) {
            let failure = Some(self.failed(Class::Returned, "PublishEvent", error.to_string()));
            return Ok(Response::new(Outcome { failure }));
        }
        self.warn_undeclared_event(&event.name);
        // What came with a message keeps all of the message, padding included.
        event.data = Bytes::copy_from_slice(&event.data);
        event.source = self.slot.name().to_owned();
        let name = event.name.clone();
        let failure = match self.framework.bus.publish(event).await {
            Ok(published) => {
                self.slot.traffic.published();
                self.instance.debug(&format!("Event published: {name}: {published}"));
                None
            }
            Err(error @ PublishError::NotTaken { .. }) => {
                Some(self.failure(Class::Unreachable, "PublishEvent", error.to_string()))
            }
            Err(error) => Some(self.failed(Class::Returned, "PublishEvent", error.to_string())),
        };
        Ok(Response::new(Outcome { failure }))
    }

    pub(super) fn subscribe(&self, wanted: &Registration) -> Result<bool, String> {
        if wanted.name.is_empty() {
            return Err("an event must have a name".to_owned());
        }
        let declared = &self.instance.manifest().events.subscribes;
        if !declared.contains(&wanted.name) {
            self.warn_undeclared("subscribes to event", &wanted.name);
        }
        let (event, handler) = (wanted.name.clone(), wanted.handler.clone());
        let subscription = Subscription { event, handler, order: self.instance.next_order() };
        let done = self.instance.edit(|registrations| {
            registrations.subscriptions.push(subscription);
            check_room(registrations)
        });
        self.instance.debug(&format!("Subscribed to event: {}", wanted.name));
        done
    }

    fn warn_undeclared_event(&self, name: &str) {
        let declared = &self.instance.manifest().events.publishes;
        if declared.iter().any(|d| d == name) {
            return;
        }
        let mut known = self.undeclared.lock();
        if known.len() < MAX_NAMES && known.insert(name.to_owned()) {
            self.warn_undeclared("publishes event", name);
        }
    }

    /// What a plugin does counts; its manifest is documentation, and a difference is pointed out.
    pub(super) fn warn_undeclared(&self, does: &str, name: &str) {
        let plugin = self.instance.plugin();
        tracing::warn!(plugin, "Plugin {plugin} {does} '{name}', which its manifest does not declare");
    }
}
