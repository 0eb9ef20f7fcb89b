//! Many calls on one Dispatch stream, told apart by id. One task a stream reads replies and hands each to its caller;
//! no call costs a task, and the reader never waits for a caller. A reply that nobody waits for any more is dropped.

use super::{CallError, Down, broken};
use parking_lot::Mutex;
use rockstar_proto::plugin::{Call, Reply, call, plugin_client::PluginClient};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// Calls written and not yet taken by the connection.
const OUTBOX: usize = 1024;
const SHARDS: usize = 16;

#[derive(Debug)]
pub(super) struct Multiplex {
    outbox: mpsc::Sender<Call>,
    pending: Arc<Pending>,
    reader: AbortHandle,
}

/// Who waits for which reply. Sharded, since all callers of a plugin pass here.
#[derive(Debug, Default)]
struct Pending {
    shards: [Mutex<HashMap<u64, oneshot::Sender<Reply>>>; SHARDS],
    closed: AtomicBool,
    why: Mutex<String>,
}

impl Multiplex {
    pub(super) async fn open(mut client: PluginClient<Channel>, down: Arc<Down>) -> Result<Self, Status> {
        let (outbox, calls) = mpsc::channel(OUTBOX);
        let replies = client.dispatch(ReceiverStream::new(calls)).await?.into_inner();
        let pending = Arc::new(Pending::default());
        let reader = tokio::spawn(read(replies, Arc::clone(&pending), down)).abort_handle();
        Ok(Self { outbox, pending, reader })
    }

    fn is_closed(&self) -> bool {
        self.pending.closed.load(SeqCst)
    }

    /// Dropping the future cancels the call.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let mut ticket = Ticket::new(self, call.id);
        self.outbox.send(call).await.map_err(|_| self.pending.gone())?;
        // The stream may have ended before the ticket was filed.
        if self.is_closed() {
            return Err(self.pending.gone());
        }
        let reply = (&mut ticket.reply).await.map_err(|_| self.pending.gone())?;
        ticket.answered = true;
        Ok(reply)
    }
}

impl Drop for Multiplex {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut replies: Streaming<Reply>, pending: Arc<Pending>, down: Arc<Down>) {
    let why = loop {
        match replies.message().await {
            Ok(Some(reply)) => pending.answer(reply),
            Ok(None) => break "the plugin closed its stream".to_owned(),
            Err(status) => break broken(&status).to_string(),
        }
    };
    pending.close(why);
    down.set();
}

impl Pending {
    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, oneshot::Sender<Reply>>> {
        &self.shards[usize::try_from(id % SHARDS as u64).unwrap_or_default()]
    }

    fn answer(&self, reply: Reply) {
        let waiting = self.shard(reply.id).lock().remove(&reply.id);
        // Nobody waits, or no longer: a late reply.
        waiting.and_then(|w| w.send(reply).ok());
    }

    fn close(&self, why: String) {
        *self.why.lock() = why;
        self.closed.store(true, SeqCst);
        for shard in &self.shards {
            shard.lock().clear();
        }
    }

    fn gone(&self) -> CallError {
        CallError::Unreachable(self.why.lock().clone())
    }
}

/// One caller's place; leaving without an answer tells the plugin to stop.
struct Ticket<'a> {
    stream: &'a Multiplex,
    id: u64,
    reply: oneshot::Receiver<Reply>,
    answered: bool,
}

impl<'a> Ticket<'a> {
    fn new(stream: &'a Multiplex, id: u64) -> Self {
        let (sender, reply) = oneshot::channel();
        stream.pending.shard(id).lock().insert(id, sender);
        Self { stream, id, reply, answered: false }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.stream.pending.shard(self.id).lock().remove(&self.id);
        // Also if the reply has just come: a middleware that went on would wait for its second half.
        // A full outbox means that the plugin does not read; it will not miss the cancellation either.
        let cancel = Call { id: 0, call: Some(call::Call::Cancel(self.id)), ..Call::default() };
        self.stream.outbox.try_send(cancel).ok();
    }
}
