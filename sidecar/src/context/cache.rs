//! The framework's cache.

use super::{Context, absent};
use rockstar_core::permission::Permission;
use rockstar_proto::plugin::{KeyValueReply, KeyValueRequest};
use tonic::{Response, Status};

impl Context {
    pub(super) async fn cached(&self, _: KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        match self.allowed(Permission::Cache) {
            Ok(()) => absent("Cache"),
            Err(denied) => Ok(Response::new(KeyValueReply { failure: Some(denied), ..KeyValueReply::default() })),
        }
    }
}
