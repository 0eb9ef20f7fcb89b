//! The framework's configuration.

use super::{Context, key_value};
use crate::configuration::ConfigurationError;
use rockstar_core::permission::Permission;
use rockstar_proto::{
    plugin::{KeyValueReply, KeyValueRequest},
    types::{Value, failure::Class},
};
use tonic::{Response, Status};

impl Context {
    pub(super) fn configured(&self, request: &KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        if let Err(denied) = self.allowed(Permission::Config) {
            return Ok(key_value::failed(denied));
        }
        Ok(match self.framework.backends.configuration().get(&request.key) {
            Ok(value) => key_value::found(Some(Value::from(&value).encode())),
            Err(error) => {
                let class = match error {
                    ConfigurationError::NotFound(_) => Class::NotFound,
                    ConfigurationError::Read { .. } | ConfigurationError::Parse { .. } => Class::Unreachable,
                };
                key_value::failed(self.failure(class, "config", error.to_string()))
            }
        })
    }
}
