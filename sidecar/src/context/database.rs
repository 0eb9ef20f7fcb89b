//! The plugin's sessions with the database.

use super::{Context, absent};
use futures::stream::BoxStream;
use rockstar_proto::plugin::{DatabaseReply, DatabaseRequest};
use tonic::{Response, Status, Streaming};

pub(super) type Replies = BoxStream<'static, Result<DatabaseReply, Status>>;

impl Context {
    pub(super) fn session(&self, _: Streaming<DatabaseRequest>) -> Result<Response<Replies>, Status> {
        absent("Database")
    }
}
