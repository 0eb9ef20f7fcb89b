//! The plugin's storage.

use super::{Context, absent};
use rockstar_proto::plugin::{KeyValueReply, KeyValueRequest};
use tonic::{Response, Status};

impl Context {
    pub(super) async fn stored(&self, _: KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        absent("Storage")
    }
}
