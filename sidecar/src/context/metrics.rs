//! What is measured of a plugin.

use super::Context;
use crate::metrics;
use rockstar_proto::{
    plugin::{KeyValueReply, KeyValueRequest},
    types::{self, failure::Class},
};
use serde_json::Value;
use tonic::{Response, Status};

impl Context {
    /// Of any plugin of this sidecar; the key is its name, none = the caller's own.
    pub(super) fn measured(&self, wanted: &KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        let name = if wanted.key.is_empty() { self.slot.name() } else { &wanted.key };
        Ok(Response::new(match self.framework.registry.get(name) {
            Some(slot) => KeyValueReply {
                found: true,
                value: types::Value::from(&Value::Object(metrics::report(&slot))).encode(),
                ..KeyValueReply::default()
            },
            None => {
                let text = format!("plugin not found: '{name}'");
                KeyValueReply {
                    failure: Some(self.failure(Class::Returned, "GetPluginMetrics", text)),
                    ..KeyValueReply::default()
                }
            }
        }))
    }
}
