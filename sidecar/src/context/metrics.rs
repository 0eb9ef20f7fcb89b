//! What is measured of a plugin.

use super::{Context, absent};
use rockstar_proto::plugin::{KeyValueReply, KeyValueRequest};
use tonic::{Response, Status};

impl Context {
    pub(super) fn measured(&self, _: &KeyValueRequest) -> Result<Response<KeyValueReply>, Status> {
        absent("GetPluginMetrics")
    }
}
