//! Bodies that are too large for a message, or of unknown length: each is one call, apart from the exchanges that it
//! belongs to. What a plugin reads goes from the application to it, what it answers the other way; nothing is kept in
//! between, and HTTP/2's windows make the sender wait for the reader. Calls plugins.

use crate::{
    ancestry::Line,
    link::{CallError, Link, Transfer},
    slot::{Parked, Pass},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use rockstar_proto::{
    app::Written,
    body::SENT_BY_SERVER,
    plugin::{Call, Reply, reply},
    types::Chunk,
};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Bodies of requests that nobody reads yet.
const MAX_WAITING: usize = 4096;
/// The application opens a call with a chunk that names the body.
const FIRST: Duration = Duration::from_secs(5);
/// How long the application has to come for a body.
const PATIENCE: Duration = Duration::from_secs(30);
/// A call with a body has no deadline of its own, as long as the body moves.
const FAR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) type Chunks = BoxStream<'static, Result<Chunk, Status>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// Of requests, that no plugin reads yet.
    uploads: Mutex<HashMap<u64, Upload>>,
    arrived: Notify,
    /// Of plugins, that the application has not come for.
    offers: Mutex<HashMap<u64, Offered>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Upload {
    chunks: Streaming<Chunk>,
    go: mpsc::Sender<Result<Chunk, Status>>,
}

#[derive(Debug)]
struct Offered {
    from: Parked,
    /// The plugin's id of it.
    id: u64,
    way: watch::Sender<Way>,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug)]
enum Way {
    Offered,
    Taken,
    Over { bytes: u64, whole: bool },
}

/// A plugin's body that the application may come for, as long as this lives.
#[derive(Debug)]
pub(super) struct Offer {
    id: u64,
    way: watch::Receiver<Way>,
    transfers: Arc<Transfers>,
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.transfers.offers.lock().remove(&self.id);
    }
}

impl Offer {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the body is written, or will not be.
    pub(super) async fn written(&mut self) -> Written {
        let over = async {
            let taken = self.way.wait_for(|way| !matches!(way, Way::Offered));
            drop(timeout(PATIENCE, taken).await.ok()?.ok()?);
            self.way.wait_for(|way| matches!(way, Way::Over { .. })).await.ok().map(|way| *way)
        };
        match over.await {
            Some(Way::Over { bytes, whole }) => Written { bytes, aborted: !whole, ..Written::default() },
            _ => Written { aborted: true, ..Written::default() },
        }
    }
}

/// The request's body that goes with a call.
pub(super) fn upload_of(call: &Call) -> Option<u64> {
    use rockstar_proto::plugin::call::Call::Route;
    match call.call.as_ref()? {
        Route(request) => request.body.as_ref()?.transfer(),
        _ => None,
    }
}

impl Transfers {
    /// One call of the application's, in either direction.
    pub(super) async fn serve(self: &Arc<Self>, mut chunks: Streaming<Chunk>) -> Result<Chunks, Status> {
        let late = |_| Status::deadline_exceeded("no chunk names the body");
        let first = timeout(FIRST, chunks.message()).await.map_err(late)??;
        let unnamed = || Status::invalid_argument("a transfer begins with a chunk that names its body");
        match first.ok_or_else(unnamed)?.transfer {
            id if id >= SENT_BY_SERVER => self.send(id).await,
            id => self.receive(id, chunks),
        }
    }

    fn receive(self: &Arc<Self>, id: u64, chunks: Streaming<Chunk>) -> Result<Chunks, Status> {
        let (go, answers) = mpsc::channel(1);
        let mut uploads = self.uploads.lock();
        if uploads.len() >= MAX_WAITING {
            return Err(Status::resource_exhausted("too many bodies wait"));
        }
        if uploads.contains_key(&id) {
            return Err(Status::already_exists(format!("body {id} waits already")));
        }
        uploads.insert(id, Upload { chunks, go: go.clone() });
        drop(uploads);
        self.arrived.notify_waiters();
        let transfers = Arc::clone(self);
        // Ends when the application ends the call, whether or not a plugin has read the body.
        tokio::spawn(async move {
            go.closed().await;
            transfers.uploads.lock().remove(&id);
        });
        Ok(ReceiverStream::new(answers).boxed())
    }

    async fn send(&self, id: u64) -> Result<Chunks, Status> {
        let offered = self.offers.lock().remove(&id);
        let gone = || Status::not_found("no such body: nobody came for it in time, or its exchange is over");
        let Offered { from, id: theirs, way } = offered.ok_or_else(gone)?;
        way.send_replace(Way::Taken);
        let sending = Sending { id, from, way, bytes: 0, whole: false };
        let transfer = sending.from.instance().link().transfer(theirs, Instant::now() + PATIENCE).await;
        let transfer = transfer.map_err(|error| Status::aborted(error.to_string()))?;
        Ok(stream::unfold(Some((transfer, sending)), Sending::next).boxed())
    }

    /// Takes what a plugin offers with its reply; the reply names it then as the application will ask for it.
    pub(super) fn adopt(self: &Arc<Self>, reply: &mut reply::Reply, pass: &Pass) -> Option<Offer> {
        let body = reply.body_mut()?;
        let theirs = body.transfer()?;
        let id = SENT_BY_SERVER | self.next.fetch_add(1, Relaxed);
        let (way, watched) = watch::channel(Way::Offered);
        self.offers.lock().insert(id, Offered { from: pass.park(), id: theirs, way });
        *body = rockstar_proto::types::Body::transferred(id, body.size);
        Some(Offer { id, way: watched, transfers: Arc::clone(self) })
    }

    /// A call of a plugin that may read that body. It has `patience` without progress: each piece gives it anew.
    pub(super) async fn call(
        &self,
        link: &Link,
        line: &Line,
        call: Call,
        id: u64,
        patience: Duration,
    ) -> Result<Reply, CallError> {
        let progress = Mutex::new(Instant::now());
        let mut calling = pin!(link.call_for(line, call, Instant::now() + FAR));
        let mut relaying = pin!(self.relay(link, id, &progress));
        let mut relayed = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut calling => return reply,
                () = &mut relaying, if !relayed => relayed = true,
                () = stalled(link, &progress, patience) => return Err(CallError::Timeout),
            }
        }
    }

    /// From the application to the plugin, once it reads. Stays until it is dropped: the plugin may still read what it has.
    async fn relay(&self, link: &Link, id: u64, progress: &Mutex<Instant>) {
        let Upload { mut chunks, go } = self.upload(id).await;
        let Ok(mut transfer) = link.transfer(id, Instant::now() + FAR).await else { return };
        let asked = matches!(transfer.answers.message().await, Ok(Some(_)));
        if !asked || go.send(Ok(Chunk { transfer: id, ..Chunk::default() })).await.is_err() {
            return;
        }
        loop {
            // An application that goes away cancels the whole exchange.
            let Ok(Some(chunk)) = chunks.message().await else { break };
            let last = chunk.end;
            if transfer.chunks.send(chunk).await.is_err() || last {
                break;
            }
            *progress.lock() = Instant::now();
        }
        *progress.lock() = Instant::now();
        std::future::pending().await
    }

    async fn upload(&self, id: u64) -> Upload {
        loop {
            let arrived = self.arrived.notified();
            if let Some(upload) = self.uploads.lock().remove(&id) {
                return upload;
            }
            arrived.await;
        }
    }
}

/// Returns once nothing has moved for that long.
async fn stalled(link: &Link, progress: &Mutex<Instant>, patience: Duration) {
    loop {
        let last = *progress.lock();
        link.until(last + patience).await;
        if *progress.lock() == last {
            return;
        }
    }
}

/// A plugin's body on its way to the application. While it is, the plugin's version is not stopped (up to the drain
/// timeout).
struct Sending {
    id: u64,
    from: Parked,
    way: watch::Sender<Way>,
    bytes: u64,
    whole: bool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.way.send_replace(Way::Over { bytes: self.bytes, whole: self.whole });
    }
}

impl Sending {
    async fn next(rest: Option<(Transfer, Self)>) -> Option<(Result<Chunk, Status>, Option<(Transfer, Self)>)> {
        let (mut transfer, mut sending) = rest?;
        let chunk = match transfer.answers.message().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Some((Err(Status::aborted("the plugin broke the body off")), None)),
            Err(status) => return Some((Err(Status::aborted(status.message())), None)),
        };
        sending.bytes += chunk.data.len() as u64;
        sending.whole = chunk.end;
        let last = chunk.end || chunk.failure.is_some();
        let named = Chunk { transfer: sending.id, ..chunk };
        Some((Ok(named), (!last).then_some((transfer, sending))))
    }
}
