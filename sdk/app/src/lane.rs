//! One stream of exchanges to the sidecar: many at once, told apart by id. Bounded in both directions; its reader never
//! waits for an exchange.

use futures::StreamExt;
use parking_lot::Mutex;
use rockstar_proto::{
    app::{AppFrame, HostFrame, app_frame::Frame, host_frame, pipeline_client::PipelineClient},
    types::Empty,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// Exchanges at once on one stream.
const IN_FLIGHT: usize = 1024;
/// Each exchange has at most its current frame, its last one and a cancel in the queue.
const OUTBOX: usize = 4 * IN_FLIGHT;

/// What the sidecar says to one exchange.
pub(crate) type Answer = host_frame::Frame;

/// Why the sidecar said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection to the sidecar broke")]
    Broken,
    #[error("the sidecar did not answer in time")]
    Timeout,
    #[error("the sidecar broke the protocol")]
    Protocol,
}

#[derive(Debug)]
pub(crate) struct Lane {
    outbox: mpsc::Sender<AppFrame>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    room: Arc<Semaphore>,
    next: AtomicU64,
    broken: watch::Sender<bool>,
}

impl Lane {
    /// Opens the stream. The second part must be read until it ends.
    pub(crate) async fn open(mut client: PipelineClient<Channel>) -> Result<(Arc<Self>, Streaming<HostFrame>), Status> {
        let (outbox, frames) = mpsc::channel(OUTBOX);
        let answers = client.exchange(ReceiverStream::new(frames)).await?.into_inner();
        let lane = Self {
            outbox,
            waiting: Mutex::default(),
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            next: AtomicU64::new(1),
            broken: watch::Sender::new(false),
        };
        Ok((Arc::new(lane), answers))
    }

    /// Hands each answer to its exchange, until the stream ends; then all that wait are told.
    pub(crate) async fn read(&self, answers: Streaming<HostFrame>) {
        let mut broken = self.broken.subscribe();
        tokio::select! {
            () = self.hand_out(answers) => {}
            // The sender lives as long as this lane.
            _ = broken.wait_for(|broken| *broken) => {}
        }
        self.give_up();
        self.room.close();
    }

    async fn hand_out(&self, mut answers: Streaming<HostFrame>) {
        while let Some(Ok(HostFrame { id, frame: Some(frame), .. })) = answers.next().await {
            if let Some(exchange) = self.waiting.lock().remove(&id) {
                // It may just have given up.
                let _ = exchange.send(frame);
            }
        }
    }

    fn give_up(&self) {
        self.broken.send_replace(true);
        self.waiting.lock().clear();
    }

    /// A place on the stream, waiting for one if it is full.
    pub(crate) async fn enter(self: &Arc<Self>) -> Result<Ticket, Lost> {
        let room = self.room.clone().acquire_owned().await.map_err(|_| Lost::Broken)?;
        let id = self.next.fetch_add(1, Relaxed);
        Ok(Ticket { lane: self.clone(), id, open: false, _room: room })
    }

    fn post(&self, frame: AppFrame) {
        if self.outbox.try_send(frame).is_err() {
            // Nobody reads: the stream is as good as gone, and what was not sent must not be missed.
            self.give_up();
        }
    }
}

/// One exchange on the stream. Dropped while open, it is cancelled.
#[derive(Debug)]
pub(crate) struct Ticket {
    lane: Arc<Lane>,
    id: u64,
    open: bool,
    _room: OwnedSemaphorePermit,
}

impl Ticket {
    /// Says something and waits for the answer to it.
    pub(crate) async fn ask(&mut self, frame: Frame, limit: Duration) -> Result<Answer, Lost> {
        let (sender, answer) = oneshot::channel();
        self.lane.waiting.lock().insert(self.id, sender);
        self.open = true;
        self.lane.post(self.frame(frame));
        // The stream may have ended before this exchange was entered.
        if *self.lane.broken.borrow() {
            return Err(Lost::Broken);
        }
        match timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Lost::Broken),
            Err(_) => Err(Lost::Timeout),
        }
    }

    /// Says the exchange's last word.
    pub(crate) fn end(mut self, frame: Frame) {
        self.open = false;
        self.lane.post(self.frame(frame));
    }

    /// The sidecar has forgotten the exchange, or needs no more of it.
    pub(crate) fn close(mut self) {
        self.open = false;
    }

    fn frame(&self, frame: Frame) -> AppFrame {
        AppFrame { id: self.id, exchange: String::new(), frame: Some(frame) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.lane.waiting.lock().remove(&self.id);
            self.lane.post(self.frame(Frame::Cancel(Empty {})));
        }
    }
}
