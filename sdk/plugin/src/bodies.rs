//! Bodies that do not travel in messages: those of requests, read as they come, and those of responses, until the host
//! comes for them. I/O only with the host.

use crate::Error;
use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream, Stream},
};
use parking_lot::Mutex;
use rockstar_proto::{
    body::{MAX_WHOLE, SENT_BY_SERVER, pieces},
    types::{Body, Chunk, Failure, failure::Class},
};
use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// The host opens a call with a chunk that names the body.
const FIRST: Duration = Duration::from_secs(5);
/// How long the host has to bring a body that it announced.
const PATIENCE: Duration = Duration::from_secs(60);
/// And to come for one: it says so if it will not, but not of a handler that failed after all.
const OFFERED: Duration = Duration::from_secs(600);

pub(crate) type Chunks = BoxStream<'static, Result<Chunk, Status>>;

type Data = BoxStream<'static, Result<Bytes, Error>>;

/// Why a body could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body broke off: {0}")]
    Broken(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body has been read already")]
    Taken,
}

/// A body, piece by piece. The client is not asked for more than is read.
pub struct BodyStream(BoxStream<'static, Result<Bytes, BodyError>>);

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BodyStream").finish()
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl BodyStream {
    /// The next piece; none at the body's end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.0.next().await
    }

    /// All of it, if it is no larger than `max` bytes.
    pub async fn collect(mut self, max: usize) -> Result<Bytes, BodyError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await.transpose()? {
            if all.len() + piece.len() > max {
                return Err(BodyError::TooLarge(max));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// A body that nobody has read yet is forgotten with its call.
struct Unread {
    id: u64,
    bodies: Arc<Bodies>,
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.bodies.coming.lock().remove(&self.id);
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Bodies {
    /// Of requests, that nobody reads yet.
    coming: Mutex<HashMap<u64, Coming>>,
    arrived: Notify,
    /// Of responses, that the host has not come for.
    offered: Mutex<HashMap<u64, Offered>>,
    next: AtomicU64,
}

struct Coming {
    chunks: Streaming<Chunk>,
    go: mpsc::Sender<Result<Chunk, Status>>,
}

struct Offered {
    data: Data,
    since: Instant,
}

impl Bodies {
    /// One call of the host's, in either direction.
    pub(crate) async fn serve(self: &Arc<Self>, mut chunks: Streaming<Chunk>) -> Result<Chunks, Status> {
        let late = |_| Status::deadline_exceeded("no chunk names the body");
        let first = timeout(FIRST, chunks.message()).await.map_err(late)??;
        let unnamed = || Status::invalid_argument("a transfer begins with a chunk that names its body");
        match first.ok_or_else(unnamed)?.transfer {
            id if id >= SENT_BY_SERVER => self.send(id),
            id => Ok(self.receive(id, chunks)),
        }
    }

    fn receive(self: &Arc<Self>, id: u64, chunks: Streaming<Chunk>) -> Chunks {
        let (go, answers) = mpsc::channel(1);
        self.coming.lock().insert(id, Coming { chunks, go });
        self.arrived.notify_waiters();
        let unread = Unread { id, bodies: Arc::clone(self) };
        // Ends with its reader, or when the host ends the call.
        ReceiverStream::new(answers).inspect(move |_| _ = &unread).boxed()
    }

    fn send(&self, id: u64) -> Result<Chunks, Status> {
        let offered = self.offered.lock().remove(&id);
        let offered = offered.ok_or_else(|| Status::not_found("no such body: nobody came for it in time"))?;
        Ok(chunks(id, offered.data).boxed())
    }

    /// Keeps a response's body until the host comes for it. `size` in bytes, 0 where it is not known.
    pub(crate) fn offer<B, E>(&self, data: impl Stream<Item = Result<B, E>> + Send + 'static, size: u64) -> Body
    where
        B: Into<Bytes> + 'static,
        E: Into<Error> + 'static,
    {
        let id = SENT_BY_SERVER | self.next.fetch_add(1, Relaxed);
        let data = data.map_ok(Into::into).map_err(Into::into).boxed();
        let mut offered = self.offered.lock();
        // The host came for none of these: their clients are gone.
        offered.retain(|_, old| old.since.elapsed() < OFFERED);
        offered.insert(id, Offered { data, since: Instant::now() });
        Body::transferred(id, size)
    }

    /// The same for one that is whole, but too large for a message.
    pub(crate) fn fit(&self, body: &mut Body) {
        if let Some(bytes) = body.bytes().filter(|bytes| bytes.len() > MAX_WHOLE).cloned() {
            let size = bytes.len() as u64;
            *body = self.offer(stream::once(async { Ok::<_, Error>(bytes) }), size);
        }
    }

    /// Of a response that is not given.
    pub(crate) fn withdraw(&self, body: Option<u64>) {
        body.and_then(|id| self.offered.lock().remove(&id));
    }

    /// The reverse, where host and plugin are one process.
    pub(crate) async fn gather(&self, body: &mut Body) -> Result<(), Error> {
        let Some(id) = body.transfer() else { return Ok(()) };
        let offered = self.offered.lock().remove(&id);
        let pieces: Vec<_> = offered.ok_or("no such body")?.data.try_collect().await?;
        *body = Body::whole(pieces.concat());
        Ok(())
    }

    /// A body as it came with a call; once.
    pub(crate) fn read(self: &Arc<Self>, body: Option<&Body>, taken: bool) -> BodyStream {
        if taken {
            return BodyStream(stream::once(async { Err(BodyError::Taken) }).boxed());
        }
        let Some(body) = body else { return BodyStream(stream::empty().boxed()) };
        if let Some(id) = body.transfer() {
            let bodies = Arc::clone(self);
            return BodyStream(stream::once(async move { bodies.open(id).await }).try_flatten().boxed());
        }
        let bytes = body.bytes().cloned().unwrap_or_default();
        BodyStream(stream::iter(pieces(bytes).map(Ok)).boxed())
    }

    async fn open(&self, id: u64) -> Result<impl Stream<Item = Result<Bytes, BodyError>> + use<>, BodyError> {
        let coming = timeout(PATIENCE, self.coming(id)).await;
        let coming = coming.map_err(|_| BodyError::Broken("it never came".to_owned()))?;
        let asked = coming.go.send(Ok(Chunk { transfer: id, ..Chunk::default() })).await;
        asked.map_err(|_| BodyError::Broken("the client went away".to_owned()))?;
        Ok(data(coming))
    }

    async fn coming(&self, id: u64) -> Coming {
        loop {
            let arrived = self.arrived.notified();
            if let Some(coming) = self.coming.lock().remove(&id) {
                return coming;
            }
            arrived.await;
        }
    }
}

/// What the host sends, up to the chunk that says that it is all.
fn data(coming: Coming) -> impl Stream<Item = Result<Bytes, BodyError>> {
    stream::try_unfold(Some(coming), |coming| async move {
        let Some(mut coming) = coming else { return Ok(None) };
        let chunk = coming.chunks.message().await.map_err(|status| BodyError::Broken(status.message().to_owned()))?;
        let chunk = chunk.ok_or_else(|| BodyError::Broken("the client went away".to_owned()))?;
        match chunk.failure {
            Some(failure) => Err(BodyError::Broken(failure.text)),
            None => Ok(Some((chunk.data, (!chunk.end).then_some(coming)))),
        }
    })
}

/// What the plugin sends: its pieces, and how it ended.
fn chunks(id: u64, data: Data) -> impl Stream<Item = Result<Chunk, Status>> {
    let all = data.map_ok(|bytes| stream::iter(pieces(bytes).map(Ok))).try_flatten().boxed();
    stream::unfold(Some(all), move |rest| async move {
        let mut rest: Data = rest?;
        let named = Chunk { transfer: id, ..Chunk::default() };
        Some(match rest.next().await {
            Some(Ok(data)) => (Ok(Chunk { data, ..named }), Some(rest)),
            Some(Err(error)) => (Ok(Chunk { failure: Some(broken(&error)), ..named }), None),
            None => (Ok(Chunk { end: true, ..named }), None),
        })
    })
}

fn broken(error: &Error) -> Failure {
    Failure { class: Class::Returned.into(), stage: "body".to_owned(), text: error.to_string(), ..Failure::default() }
}
