//! Where the rows of a statement go: one session's replies, bounded, so that a slow reader slows the statement. No I/O.

use super::{DatabaseError, Done};
use crate::bounds::{MAX_ROW_BYTES, MAX_VALUE_MESSAGE};
use prost::Message;
use rockstar_proto::{
    plugin::{Columns, DatabaseReply, Done as Finished, database_reply::Reply},
    types::{Failure, List, Value},
};
use std::sync::Arc;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, Receiver, Sender},
    },
    time::{Instant, timeout_at},
};

/// Replies that were not read yet, bounded in number and bytes.
#[derive(Clone, Debug)]
pub struct Replies {
    sender: Sender<Queued>,
    bytes: Arc<Semaphore>,
}

/// A reply with the bytes that it holds until it is taken out.
#[derive(Debug)]
pub struct Queued {
    reply: DatabaseReply,
    _held: Option<OwnedSemaphorePermit>,
}

impl Queued {
    #[must_use]
    pub fn into_reply(self) -> DatabaseReply {
        self.reply
    }
}

/// Makes the queue of one session's replies.
#[must_use]
pub fn replies(most: usize) -> (Replies, Receiver<Queued>) {
    let (sender, receiver) = mpsc::channel(most);
    (Replies { sender, bytes: Arc::new(Semaphore::new(MAX_ROW_BYTES)) }, receiver)
}

impl Replies {
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    async fn send(&self, reply: DatabaseReply) -> Result<(), DatabaseError> {
        let size = reply.encoded_len();
        if size > MAX_VALUE_MESSAGE {
            return Err(DatabaseError::LargeRow(size));
        }
        // One that is larger than the queue goes alone.
        let held = u32::try_from(size.clamp(1, MAX_ROW_BYTES)).unwrap_or(1);
        let held = Arc::clone(&self.bytes).acquire_many_owned(held);
        let held = tokio::select! {
            held = held => held.ok(),
            () = self.closed() => return Err(DatabaseError::Unheard),
        };
        self.sender.send(Queued { reply, _held: held }).await.map_err(|_| DatabaseError::Unheard)
    }
}

/// Replies to one request.
#[derive(Clone, Debug)]
pub struct Sink {
    pub(super) replies: Replies,
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
        self.replies.sender.is_closed()
    }

    pub(super) async fn closed(&self) {
        self.replies.closed().await;
    }

    async fn send(&self, reply: Reply, until: Instant) -> Result<(), DatabaseError> {
        let reply = DatabaseReply { sequence: self.sequence, reply: Some(reply) };
        timeout_at(until, self.replies.send(reply)).await.unwrap_or(Err(DatabaseError::Deadline))
    }
}
