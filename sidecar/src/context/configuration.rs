//! The framework's configuration.

use super::{Context, absent};
use rockstar_core::permission::Permission;
use rockstar_proto::plugin::{KeyValueReply, KeyValueRequest};
use tonic::{Response, Status};

impl Context {
    pub(super) fn configured(&self, _: &KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        match self.allowed(Permission::Config) {
            Ok(()) => absent("GetConfig"),
            Err(denied) => Ok(Response::new(KeyValueReply { failure: Some(denied), ..KeyValueReply::default() })),
        }
    }
}
