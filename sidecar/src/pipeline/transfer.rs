//! Bodies that are too large for a message, or of unknown length: each is one call, apart from the exchanges that it
//! belongs to. What a plugin reads goes from the application to it, what it answers the other way; nothing is kept in
//! between, and HTTP/2's windows make the sender wait for the reader. Calls plugins.

use super::FAR;
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
/// How long a client may pause in the middle of a body.
const CLIENT: Duration = Duration::from_secs(30);

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

/// A body that nobody has read yet is forgotten with its call.
#[derive(Debug)]
struct Unread {
    id: u64,
    transfers: Arc<Transfers>,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.transfers.uploads.lock().remove(&self.id);
    }
}

#[derive(Debug)]
struct Offered {
    from: Parked,
    /// The plugin's id of it.
    id: u64,
    /// In bytes, 0 where it is not known.
    size: u64,
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
        let unwanted = self.transfers.offers.lock().remove(&self.id);
        // The plugin would keep it: who asks for it and does not read it has it dropped.
        if let Some(Offered { from, id, .. }) = unwanted {
            tokio::spawn(async move { from.instance().link().transfer(id, Instant::now() + FIRST).await.map(drop) });
        }
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
        uploads.insert(id, Upload { chunks, go });
        drop(uploads);
        self.arrived.notify_waiters();
        let unread = Unread { id, transfers: Arc::clone(self) };
        // Ends with its reader, or when the application ends the call.
        Ok(ReceiverStream::new(answers).inspect(move |_| _ = &unread).boxed())
    }

    async fn send(&self, id: u64) -> Result<Chunks, Status> {
        let offered = self.offers.lock().remove(&id);
        let gone = || Status::not_found("no such body: nobody came for it in time, or its exchange is over");
        let Offered { from, id: theirs, size, way } = offered.ok_or_else(gone)?;
        way.send_replace(Way::Taken);
        let sending = Sending { id, from, way, size, bytes: 0, ended: false };
        // Some servers say nothing before the first piece, for which an event stream may take its time.
        let transfer = sending.from.instance().link().transfer(theirs, Instant::now() + FAR).await;
        let transfer = transfer.map_err(|error| Status::aborted(error.to_string()))?;
        Ok(stream::unfold(Some((transfer, sending)), Sending::next).boxed())
    }

    /// Takes what a plugin offers with its reply; the reply names it then as the application will ask for it.
    pub(super) fn adopt(self: &Arc<Self>, reply: &mut reply::Reply, pass: &Pass) -> Option<Offer> {
        let body = reply.body_mut()?;
        let theirs = body.transfer()?;
        let id = SENT_BY_SERVER | self.next.fetch_add(1, Relaxed);
        let (way, watched) = watch::channel(Way::Offered);
        self.offers.lock().insert(id, Offered { from: pass.park(), id: theirs, size: body.size, way });
        *body = rockstar_proto::types::Body::transferred(id, body.size);
        Some(Offer { id, way: watched, transfers: Arc::clone(self) })
    }

    /// A call of a plugin that may read that body. Neither side may let the other wait for longer than its patience; each
    /// piece gives it anew.
    pub(super) async fn call(
        &self,
        link: &Link,
        line: &Line,
        call: Call,
        id: u64,
        patience: Duration,
    ) -> Result<Reply, CallError> {
        let _room = link.room_for_upload().ok_or(CallError::Busy)?;
        let turn = Turn::new();
        let mut calling = pin!(link.call_for(line, call, Instant::now() + FAR));
        let mut relaying = pin!(self.relay(link, id, &turn));
        let mut relayed = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut calling => return reply,
                relay = &mut relaying, if !relayed => {
                    relay?;
                    relayed = true;
                }
                error = turn.stalled(link, patience) => return Err(error),
            }
        }
    }

    /// From the application to the plugin, once it reads, up to the end or as far as it reads.
    async fn relay(&self, link: &Link, id: u64, turn: &Turn) -> Result<(), CallError> {
        let Upload { mut chunks, go } = self.upload(id).await;
        turn.pass_to(Side::Plugin);
        let Transfer { chunks: to, mut answers } = link.transfer(id, Instant::now() + FAR).await?;
        let asked = matches!(answers.message().await, Ok(Some(_)));
        if !asked || go.send(Ok(Chunk { transfer: id, ..Chunk::default() })).await.is_err() {
            return Ok(());
        }
        let moved = async {
            loop {
                turn.pass_to(Side::Client);
                let Ok(Some(chunk)) = chunks.message().await else { return Err(CallError::Client("went away")) };
                turn.pass_to(Side::Plugin);
                let last = chunk.end;
                if to.send(chunk).await.is_err() || last {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            moved = moved => {
                moved?;
                // The plugin may still read what it has.
                while let Ok(Some(_)) = answers.message().await {}
            }
            // It reads no more.
            _ = answers.message() => turn.pass_to(Side::Plugin),
        }
        Ok(())
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

/// Who of the two sides of an upload keeps the other waiting, since when.
struct Turn(Mutex<(Side, Instant)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Plugin,
}

impl Turn {
    fn new() -> Self {
        Self(Mutex::new((Side::Client, Instant::now())))
    }

    fn pass_to(&self, side: Side) {
        *self.0.lock() = (side, Instant::now());
    }

    /// Returns once one side has had its turn for too long; a client may be slower than a plugin.
    async fn stalled(&self, link: &Link, patience: Duration) -> CallError {
        loop {
            let turn = *self.0.lock();
            let (limit, error) = match turn.0 {
                Side::Client => (patience.max(CLIENT), CallError::Client("sent nothing for too long")),
                Side::Plugin => (patience, CallError::Timeout),
            };
            link.until(turn.1 + limit).await;
            if *self.0.lock() == turn {
                return error;
            }
        }
    }
}

/// A plugin's body on its way to the application. While it is, the plugin's version is not stopped (up to the drain
/// timeout).
struct Sending {
    id: u64,
    from: Parked,
    way: watch::Sender<Way>,
    size: u64,
    bytes: u64,
    ended: bool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        // Who knows the size need not read up to the end.
        let whole = if self.size == 0 { self.ended } else { self.bytes == self.size };
        self.way.send_replace(Way::Over { bytes: self.bytes, whole });
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
        sending.ended = chunk.end;
        let last = chunk.end || chunk.failure.is_some();
        let named = Chunk { transfer: sending.id, ..chunk };
        Some((Ok(named), (!last).then_some((transfer, sending))))
    }
}
