//! Calls of the plugin's handlers: one by one, or many on one stream told apart by id.

use crate::{PluginContext, behalf::Behalf, outcome::failure};
use parking_lot::Mutex;
use prost::Message;
use rockstar_proto::{
    body::{MAX_FRAME, MAX_UPLOADS},
    plugin::{Call, Reply, call, reply},
    types::failure::Class,
};
use std::{collections::HashMap, sync::Arc};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Calls that the host may have in flight.
pub(crate) const MAX_CONCURRENT: usize = 256;
/// Those that read large bodies come on top.
const MAX_RUNNING: usize = MAX_CONCURRENT + MAX_UPLOADS;

pub(crate) type Replies = ReceiverStream<Result<Reply, Status>>;

/// Runs one call's handler to its end.
pub(crate) async fn answer(ctx: &PluginContext, mut call: Call) -> Reply {
    let id = call.id;
    let Some(handler) = ctx.handler(&call.handler) else {
        return refused(id, Class::NotFound, format!("no handler '{}' is registered", call.handler));
    };
    call.handler.clear();
    let reply = Behalf::of(id).scope(handler.run(call, ctx)).await.unwrap_or_else(reply::Reply::Failure);
    Reply { id, reply: Some(reply) }
}

/// The same as it goes over the wire: bodies that are too large for a message wait for the host to come for them.
pub(crate) async fn reply(ctx: &PluginContext, call: Call) -> Reply {
    let mut reply = answer(ctx, call).await;
    let mut offered = None;
    if let Some(body) = reply.reply.as_mut().and_then(reply::Reply::body_mut) {
        ctx.bodies().fit(body);
        offered = body.transfer();
    }
    match reply.encoded_len() {
        size if size > MAX_FRAME => {
            // The host will not come back to it.
            ctx.cancel(reply.id);
            ctx.bodies().withdraw(offered);
            refused(reply.id, Class::Returned, format!("reply of {size} bytes is larger than {MAX_FRAME}"))
        }
        _ => reply,
    }
}

fn refused(id: u64, class: Class, text: String) -> Reply {
    Reply { id, reply: Some(reply::Reply::Failure(failure(class, "", text))) }
}

/// Serves one stream of calls until the host ends it; what still runs then is dropped.
pub(crate) fn stream(ctx: PluginContext, calls: Streaming<Call>) -> Replies {
    let (replies, outgoing) = mpsc::channel(MAX_CONCURRENT);
    tokio::spawn(serve(ctx, calls, replies));
    ReceiverStream::new(outgoing)
}

async fn serve(ctx: PluginContext, mut calls: Streaming<Call>, replies: mpsc::Sender<Result<Reply, Status>>) {
    let running = Running::default();
    while let Ok(Some(call)) = calls.message().await {
        match call.call {
            Some(call::Call::Cancel(id)) => {
                running.cancel(id);
                ctx.cancel(id);
            }
            _ if running.is_full() => {
                let reply = refused(call.id, Class::Protocol, format!("more than {MAX_RUNNING} calls in flight"));
                // The host that does not read its replies is the one that sent too much.
                let _ = replies.try_send(Ok(reply));
            }
            _ => running.spawn(ctx.clone(), call, replies.clone()),
        }
    }
}

/// The calls of one stream that run.
#[derive(Default)]
struct Running(Arc<Mutex<HashMap<u64, AbortHandle>>>);

impl Running {
    fn is_full(&self) -> bool {
        self.0.lock().len() >= MAX_RUNNING
    }

    fn cancel(&self, id: u64) {
        if let Some(task) = self.0.lock().remove(&id) {
            task.abort();
        }
    }

    fn spawn(&self, ctx: PluginContext, call: Call, replies: mpsc::Sender<Result<Reply, Status>>) {
        let (id, calls) = (call.id, self.0.clone());
        // Held until the task is entered, so that its end cannot come before.
        let mut running = self.0.lock();
        let task = tokio::spawn(async move {
            let reply = reply(&ctx, call).await;
            calls.lock().remove(&id);
            let _ = replies.send(Ok(reply)).await;
        });
        running.insert(id, task.abort_handle());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().drain().for_each(|(_, task)| task.abort());
    }
}
