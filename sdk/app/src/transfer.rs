//! Bodies that do not travel in messages: a request's, once a plugin reads it, and those that plugins answer with. Each is
//! a call of its own to the sidecar, which HTTP/2's windows slow down to its reader's pace.

use crate::body::{Body, BoxError};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use parking_lot::Mutex;
use rockstar_proto::{
    app::pipeline_client::PipelineClient,
    body::{SENT_BY_SERVER, pieces},
    types::Chunk,
};
use std::{
    future::{pending, ready},
    mem,
    pin::pin,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// How long a plugin has to begin with a body that it offered.
const PATIENCE: Duration = Duration::from_secs(30);

/// An id that no other body of this sidecar's applications has.
pub(crate) fn id() -> u64 {
    rand::random::<u64>() & !SENT_BY_SERVER
}

/// When something last moved.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<Instant>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Returns once nothing has moved for that long.
    pub(crate) async fn stalled(&self, patience: Duration) {
        loop {
            let last = *self.0.lock();
            sleep_until(last + patience).await;
            if *self.0.lock() == last {
                return;
            }
        }
    }
}

/// Sends the body once a plugin reads it; until then it stays as it is. Returns only if it cannot be read: dropping this
/// ends the call.
pub(crate) async fn send<B>(
    client: PipelineClient<Channel>,
    id: u64,
    body: &mut Body<B>,
    progress: &Progress,
) -> BoxError
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (chunks, outgoing) = mpsc::channel(1);
    if let Ok(mut answers) = open(client, id, ReceiverStream::new(outgoing)).await
        && matches!(answers.message().await, Ok(Some(_)))
    {
        // Whatever comes of it, nobody else can have it now.
        let body = mem::replace(body, Body::whole(Bytes::new()));
        if let Err(error) = write(body, id, &chunks, progress).await {
            return error;
        }
        let _ = answers.message().await;
    }
    pending().await
}

async fn write<B>(body: Body<B>, id: u64, chunks: &mpsc::Sender<Chunk>, progress: &Progress) -> Result<(), BoxError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let named = || Chunk { transfer: id, ..Chunk::default() };
    while let Some(frame) = body.frame().await.transpose()? {
        for data in pieces(frame.into_data().unwrap_or_default()) {
            if chunks.send(Chunk { data, ..named() }).await.is_err() {
                // Nobody reads on.
                return Ok(());
            }
            progress.note();
        }
    }
    let _ = chunks.send(Chunk { end: true, ..named() }).await;
    Ok(())
}

/// A body that the sidecar offers; it is asked for when it is read.
pub(crate) fn receive(
    client: PipelineClient<Channel>,
    id: u64,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let answers = async move {
        let opened = timeout(PATIENCE, open(client, id, stream::pending())).await;
        Ok::<_, BoxError>(data(opened.map_err(|_| "the sidecar did not send the body in time")??))
    };
    stream::once(answers).try_flatten()
}

fn data(answers: Streaming<Chunk>) -> impl Stream<Item = Result<Bytes, BoxError>> {
    stream::try_unfold(Some(answers), |answers| async move {
        let Some(mut answers) = answers else { return Ok(None) };
        let chunk = answers.message().await?.ok_or("the body broke off")?;
        match chunk.failure {
            Some(failure) => Err(failure.text.into()),
            None => Ok(Some((chunk.data, (!chunk.end).then_some(answers)))),
        }
    })
}

async fn open(
    mut client: PipelineClient<Channel>,
    id: u64,
    chunks: impl Stream<Item = Chunk> + Send + 'static,
) -> Result<Streaming<Chunk>, Status> {
    let named = stream::once(ready(Chunk { transfer: id, ..Chunk::default() }));
    Ok(client.transfer(named.chain(chunks)).await?.into_inner())
}
