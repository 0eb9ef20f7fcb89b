//! Where the rows of a statement go: one session's replies, bounded, so that a slow reader slows the statement. No I/O.

use super::{DatabaseError, Done};
use rockstar_proto::{
    plugin::{Columns, DatabaseReply, Done as Finished, database_reply::Reply},
    types::{Failure, List, Value},
};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, timeout_at},
};
use tonic::Status;

/// Replies to one request.
#[derive(Clone, Debug)]
pub struct Sink {
    pub(super) replies: Sender<Result<DatabaseReply, Status>>,
    pub(super) sequence: u32,
    /// Whether rows are asked for.
    pub(super) rows: bool,
}

impl Sink {
    pub(super) async fn columns(
        &self,
        names: Vec<String>,
        types: Vec<String>,
        until: Instant,
    ) -> Result<(), DatabaseError> {
        match self.rows {
            true => self.send(Reply::Columns(Columns { names, types }), until).await,
            false => Ok(()),
        }
    }

    pub(super) async fn row(&self, values: Vec<Value>, until: Instant) -> Result<(), DatabaseError> {
        match self.rows {
            true => self.send(Reply::Row(List { values }), until).await,
            false => Ok(()),
        }
    }

    pub(super) async fn end(&self, outcome: Result<Done, Failure>, until: Instant) -> Result<(), DatabaseError> {
        let reply = match outcome {
            Ok(done) => Reply::Done(Finished { affected: done.affected, last_id: done.last_id }),
            Err(failure) => Reply::Failure(failure),
        };
        self.send(reply, until).await
    }

    pub(super) fn is_closed(&self) -> bool {
        self.replies.is_closed()
    }

    pub(super) async fn closed(&self) {
        self.replies.closed().await;
    }

    async fn send(&self, reply: Reply, until: Instant) -> Result<(), DatabaseError> {
        let reply = DatabaseReply { sequence: self.sequence, reply: Some(reply) };
        match timeout_at(until, self.replies.send(Ok(reply))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(DatabaseError::Unheard),
            Err(_) => Err(DatabaseError::Deadline),
        }
    }
}
