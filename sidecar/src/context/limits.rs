//! What one plugin may send to its context, and have it answer, at once: connections, calls, and bytes of messages. Beyond
//! that it waits, or is refused, and nobody else notices. No I/O of its own.

use crate::bounds::{MAX_BYTES_IN_FLIGHT, MAX_CONNECTIONS, MAX_MESSAGE, MAX_VALUE_MESSAGE};
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rockstar_proto::plugin::plugin_context_server::{PluginContext, PluginContextServer};
use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_stream::{Stream, StreamExt};
use tonic::{
    body::Body,
    codegen::{Body as HttpBody, Service, http},
    server::NamedService,
    transport::server::Connected,
};

/// The methods whose messages carry values.
const WITH_VALUES: [&str; 3] = ["Cache", "Storage", "Database"];
/// Of these, those that answer with one value.
const ANSWER_VALUES: [&str; 2] = ["Cache", "Storage"];
/// The bytes before a message: a flag and its length.
const PREFIX: usize = 5;

/// The connections of one plugin, not more than it may have.
pub(super) fn limited(
    connections: impl Stream<Item = io::Result<UnixStream>> + Send + 'static,
    plugin: String,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    connections.filter_map(move |accepted| {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => return Some(Err(error)),
        };
        let permit = Arc::clone(&permits).try_acquire_owned();
        match permit {
            Ok(permit) => Some(Ok(Connection { stream, _permit: permit })),
            Err(_) => {
                tracing::warn!(
                    plugin,
                    "Refused a connection of plugin '{plugin}' to its context: it has {MAX_CONNECTIONS} already"
                );
                None
            }
        }
    })
}

/// A connection that counts as long as it lives.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The context's server with its limits.
#[derive(Debug)]
pub(super) struct Limited<C> {
    small: PluginContextServer<C>,
    large: PluginContextServer<C>,
    incoming: Arc<Semaphore>,
    outgoing: Arc<Semaphore>,
}

impl<C: PluginContext> Limited<C> {
    pub(super) fn new(context: C) -> Self {
        let context = Arc::new(context);
        let server = |limit| PluginContextServer::from_arc(Arc::clone(&context)).max_decoding_message_size(limit);
        let budget = || Arc::new(Semaphore::new(MAX_BYTES_IN_FLIGHT));
        Self { small: server(MAX_MESSAGE), large: server(MAX_VALUE_MESSAGE), incoming: budget(), outgoing: budget() }
    }
}

impl<C> Clone for Limited<C> {
    fn clone(&self) -> Self {
        Self {
            small: self.small.clone(),
            large: self.large.clone(),
            incoming: Arc::clone(&self.incoming),
            outgoing: Arc::clone(&self.outgoing),
        }
    }
}

impl<C> NamedService for Limited<C> {
    const NAME: &'static str = rockstar_proto::plugin::plugin_context_server::SERVICE_NAME;
}

impl<C: PluginContext> Service<http::Request<Body>> for Limited<C> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let answers_value = ANSWER_VALUES.contains(&method);
        let mut server = if WITH_VALUES.contains(&method) { self.large.clone() } else { self.small.clone() };
        let (incoming, outgoing) = (Arc::clone(&self.incoming), Arc::clone(&self.outgoing));
        Box::pin(async move {
            // Held until the answer is on its way: nobody reads it, nobody else's memory is taken.
            let permits = u32::try_from(MAX_VALUE_MESSAGE).unwrap_or(u32::MAX);
            let answer = if answers_value { outgoing.acquire_many_owned(permits).await.ok() } else { None };
            let held = Held::default();
            let request = request.map(|body| Body::new(Metered::new(body, incoming, held.clone())));
            let response = server.call(request).await?;
            drop(held);
            Ok(response.map(|body| Body::new(Held::attach(body, answer))))
        })
    }
}

/// Bytes that count as in flight: as long as the message that they belong to is read or worked on.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Held {
    fn attach(body: Body, permit: Option<OwnedSemaphorePermit>) -> WithPermit {
        WithPermit { body, _permit: permit }
    }
}

/// A body that holds a permit until it is sent.
#[derive(Debug)]
struct WithPermit {
    body: Body,
    _permit: Option<OwnedSemaphorePermit>,
}

impl HttpBody for WithPermit {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

type Acquire = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

/// A request's body that reads a message only once all of it has room.
struct Metered {
    body: Body,
    budget: Arc<Semaphore>,
    held: Held,
    lengths: Lengths,
    waiting: Option<Acquire>,
    /// What was read already, and waits for room.
    frame: Option<http_body::Frame<Bytes>>,
}

impl Metered {
    fn new(body: Body, budget: Arc<Semaphore>, held: Held) -> Self {
        Self { body, budget, held, lengths: Lengths::default(), waiting: None, frame: None }
    }

    /// Asks for room for the messages that begin in these bytes.
    fn reserve(&mut self, bytes: &Bytes) {
        let begun = self.lengths.begun(bytes).min(MAX_VALUE_MESSAGE);
        if begun == 0 {
            return;
        }
        // The message before was handed over.
        *self.held.0.lock() = None;
        let permits = u32::try_from(begun).unwrap_or(u32::MAX);
        let acquire = Arc::clone(&self.budget).acquire_many_owned(permits);
        self.waiting = Some(Box::pin(async move { acquire.await.ok() }));
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                *this.held.0.lock() = ready!(waiting.as_mut().poll(cx));
                this.waiting = None;
            }
            if let Some(frame) = this.frame.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref().cloned() {
                        this.reserve(&bytes);
                    }
                    this.frame = Some(frame);
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frame.is_none() && self.body.is_end_stream()
    }
}

/// Reads the lengths of messages out of a stream of bytes that is cut anywhere.
#[derive(Debug, Default)]
struct Lengths {
    prefix: Vec<u8>,
    /// Bytes of the current message that are still to come.
    left: usize,
}

impl Lengths {
    /// The lengths of all messages that begin in these bytes.
    fn begun(&mut self, bytes: &[u8]) -> usize {
        let (mut rest, mut sum) = (bytes, 0_usize);
        loop {
            let skipped = self.left.min(rest.len());
            self.left -= skipped;
            rest.advance(skipped);
            let wanted = (PREFIX - self.prefix.len()).min(rest.len());
            if wanted == 0 {
                return sum;
            }
            self.prefix.extend_from_slice(rest.get(..wanted).unwrap_or_default());
            rest.advance(wanted);
            if let [_, a, b, c, d] = self.prefix[..] {
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                sum = sum.saturating_add(self.left);
                self.prefix.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(size.to_be_bytes());
        bytes.resize(PREFIX + size as usize, 7);
        bytes
    }

    #[test]
    fn lengths_are_read_however_the_bytes_are_cut() {
        let all: Vec<u8> = [3, 0, 700, 1].into_iter().flat_map(message).collect();
        for cut in [1, 2, 4, 5, 6, 100, all.len()] {
            let mut lengths = Lengths::default();
            let sum: usize = all.chunks(cut).map(|chunk| lengths.begun(chunk)).sum();
            assert_eq!(sum, 704, "{cut}");
        }
    }

    #[tokio::test]
    async fn a_message_without_room_is_not_read() {
        use futures::FutureExt;
        let budget = Arc::new(Semaphore::new(1000));
        let read = |size: u32| {
            let body = Body::new(http_body_util::Full::new(Bytes::from(message(size))).map_err(|e| match e {}));
            Metered::new(body, Arc::clone(&budget), Held::default())
        };
        use http_body_util::BodyExt;
        let mut first = read(600);
        first.frame().now_or_never().unwrap().unwrap().unwrap();
        let mut second = read(401);
        assert!(second.frame().now_or_never().is_none());
        drop(first);
        second.frame().now_or_never().unwrap().unwrap().unwrap();
    }
}
