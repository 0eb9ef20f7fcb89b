//! The plugin's sessions with the database. A session is one stream; it ends when either side ends it, and with the
//! connection of a plugin that dies.

use super::{Caller, Context};
use crate::database::{DatabaseError, Gate, Session, replies};
use futures::{StreamExt, stream::BoxStream};
use rockstar_core::permission::Permission;
use rockstar_proto::{
    plugin::{DatabaseReply, DatabaseRequest},
    types::Failure,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

pub(super) type Replies = BoxStream<'static, Result<DatabaseReply, Status>>;

/// Rows on their way that the plugin has not asked the transport for.
const ROWS: usize = 64;

impl Context {
    pub(super) fn session(&self, requests: Streaming<DatabaseRequest>) -> Result<Response<Replies>, Status> {
        let (replies, outgoing) = replies(ROWS);
        let session = Session::new(self.framework.backends.database(), self.slot.name(), self.caller());
        tokio::spawn(session.serve(requests, replies));
        Ok(Response::new(ReceiverStream::new(outgoing).map(|queued| Ok(queued.into_reply())).boxed()))
    }
}

impl Gate for Caller {
    fn allowed(&self) -> Result<(), Failure> {
        Self::allowed(self, Permission::Database)
    }

    fn failure(&self, error: &DatabaseError) -> Failure {
        Self::failure(self, error.class(), "database", error.to_string())
    }
}
