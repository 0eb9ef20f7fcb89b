//! Bodies that pass the layer: the service's own, or one of a plugin's in its place. A response's body can report its end.

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// A request's or response's body behind the layer.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        kind: Kind<B>,
        report: Option<Report>,
    }
}

pin_project! {
    #[project = KindProj]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Whole { body: Full<Bytes> },
        Streamed { body: Streamed },
    }
}

impl<B> Body<B> {
    pub(crate) const fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body }, report: None }
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole { body: Full::new(bytes) }, report: None }
    }
}

impl<B> Body<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// `size` in bytes, 0 where it is not known.
    pub(crate) fn streamed(data: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static, size: u64) -> Self {
        let body = Streamed { data: Mutex::new(data.boxed()), left: (size > 0).then_some(size) };
        Self { kind: Kind::Streamed { body }, report: None }
    }

    /// Tells `done` when the body was written, or dropped before its end.
    pub(crate) fn reporting(mut self, bodiless: bool, done: impl FnOnce(Written) + Send + Sync + 'static) -> Self {
        let ended = bodiless || self.is_end_stream();
        let expected = self.size_hint().exact();
        self.report = Some(Report { done: Some(Box::new(done)), sent: 0, expected, ended });
        self
    }

    /// The body's bytes, if their number is known and small; the body itself can still be read as before.
    pub(crate) async fn small(&mut self, max: u64) -> Result<Option<Bytes>, BoxError> {
        // What is of unknown length may go on for ever, or wait for an answer.
        if self.size_hint().upper().is_none_or(|upper| upper > max) {
            return Ok(None);
        }
        let bytes = mem::replace(self, Self::whole(Bytes::new())).collect().await?.to_bytes();
        *self = Self::whole(bytes.clone());
        Ok(Some(bytes))
    }
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = ready!(match this.kind.project() {
            KindProj::Inner { body } => body.poll_frame(cx).map_err(Into::into),
            KindProj::Whole { body } => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            KindProj::Streamed { body } => body.poll_frame(cx),
        });
        if let Some(report) = this.report {
            report.count(frame.as_ref());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.kind.size_hint()
    }
}

impl<B: HttpBody> Kind<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Inner { body } => body.is_end_stream(),
            Self::Whole { body } => body.is_end_stream(),
            Self::Streamed { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Inner { body } => body.size_hint(),
            Self::Whole { body } => body.size_hint(),
            Self::Streamed { body } => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A body that comes from elsewhere, piece by piece.
struct Streamed {
    /// Never contended: for the body to be Sync.
    data: Mutex<BoxStream<'static, Result<Bytes, BoxError>>>,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streamed").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(self.data.get_mut().poll_next_unpin(cx));
        if let (Some(Ok(data)), Some(left)) = (&next, &mut self.left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(next.map(|data| data.map(Frame::data)))
    }
}

/// How the writing of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) bytes: u64,
    pub(crate) aborted: bool,
}

type Done = Box<dyn FnOnce(Written) + Send + Sync>;

struct Report {
    done: Option<Done>,
    sent: u64,
    expected: Option<u64>,
    ended: bool,
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Report {
    fn count(&mut self, frame: Option<&Result<Frame<Bytes>, BoxError>>) {
        match frame {
            Some(Ok(frame)) => self.sent += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => {}
            None => self.ended = true,
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // A server stops asking once it has as many bytes as were announced.
        let aborted = !self.ended && self.expected != Some(self.sent);
        if let Some(done) = self.done.take() {
            done(Written { bytes: self.sent, aborted });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn reported(body: Body<Full<Bytes>>) -> (Body<Full<Bytes>>, Arc<Mutex<Option<Written>>>) {
        let end = Arc::new(Mutex::new(None));
        let seen = end.clone();
        (body.reporting(false, move |written| *seen.lock().unwrap() = Some(written)), end)
    }

    #[tokio::test]
    async fn a_body_tells_how_it_ended() {
        let (body, end) = reported(Body::whole("abc".into()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(*end.lock().unwrap(), Some(Written { bytes: 3, aborted: false }));
        let (body, end) = reported(Body::inner(Full::from("abc")));
        drop(body);
        assert_eq!(*end.lock().unwrap(), Some(Written { bytes: 0, aborted: true }));
    }

    #[tokio::test]
    async fn only_small_bodies_are_read() {
        let mut body = Body::inner(Full::from("abc"));
        assert_eq!(body.small(3).await.unwrap().unwrap(), "abc");
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert_eq!(Body::inner(Full::from("abcd")).small(3).await.unwrap(), None);
    }
}
