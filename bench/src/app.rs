//! The application's end of every chain: opens exchanges at a socket, over a stream or by unary calls.

use crate::{load::Target, message, socket};
use anyhow::{Context as _, Result, bail};
use parking_lot::Mutex;
use rockstar_proto::app::{AppFrame, HostFrame, host_frame, pipeline_client::PipelineClient};
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Streaming, transport::Channel};

/// More than any number of callers.
const QUEUE: usize = 1024;

/// Each exchange is one unary call.
#[derive(Clone)]
pub(crate) struct Unary {
    client: PipelineClient<Channel>,
}

impl Unary {
    pub(crate) async fn connect(path: &Path) -> Result<Self> {
        Ok(Self { client: PipelineClient::new(socket::connect(path).await?) })
    }
}

impl Target for Unary {
    async fn call(&self) -> Result<()> {
        let answer = self.client.clone().begin(message::enter(1)).await?;
        check(&answer.into_inner())
    }
}

/// All exchanges on one stream, told apart by id.
#[derive(Clone)]
pub(crate) struct Stream {
    frames: mpsc::Sender<AppFrame>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    _reader: Arc<AbortOnDropHandle<()>>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<HostFrame>>>>;

impl Stream {
    pub(crate) async fn connect(path: &Path) -> Result<Self> {
        let mut client = PipelineClient::new(socket::connect(path).await?);
        let (frames, outgoing) = mpsc::channel(QUEUE);
        let incoming = client.exchange(ReceiverStream::new(outgoing)).await?.into_inner();
        let waiting = Waiting::default();
        let reader = AbortOnDropHandle::new(tokio::spawn(read(incoming, waiting.clone())));
        Ok(Self { frames, waiting, next: Arc::default(), _reader: Arc::new(reader) })
    }
}

/// Gives each answer to whoever waits for it; when the stream ends nobody waits any more.
async fn read(mut incoming: Streaming<HostFrame>, waiting: Waiting) {
    while let Ok(Some(frame)) = incoming.message().await {
        let caller = waiting.lock().remove(&frame.id);
        if let Some(caller) = caller {
            let _ = caller.send(frame);
        }
    }
    waiting.lock().clear();
}

impl Target for Stream {
    async fn call(&self) -> Result<()> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(id, answer);
        self.frames.send(message::enter(id)).await.context("the stream has ended")?;
        check(&answered.await.context("the stream has ended")?)
    }
}

/// The hook's header must have come through both hops.
fn check(frame: &HostFrame) -> Result<()> {
    match &frame.frame {
        Some(host_frame::Frame::Proceed(proceed)) if proceed.change.as_ref().is_some_and(|c| c.set.len() == 1) => {
            Ok(())
        }
        other => bail!("expected the hook's change, found {other:?}"),
    }
}
