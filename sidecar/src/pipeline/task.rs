//! One exchange from its Enter to its end, as a task: runs the stages, and listens meanwhile whether the client has gone.

use super::{Pipeline, exchange::Exchange};
use crate::link::MAX_FRAME;
use prost::Message;
use rockstar_proto::{
    app::{Enter, HostFrame, Proceed, Want, app_frame, host_frame::Frame},
    types::Response,
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tonic::Status;

/// Frames of one exchange that wait for it: never more than its next one and a cancel.
pub(super) const INBOX: usize = 4;

pub(super) type Answers = mpsc::Sender<Result<HostFrame, Status>>;

/// Where the exchange's frames go.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) id: u64,
    /// The handle of a Begin; empty on streams.
    pub(super) handle: String,
    pub(super) answers: Answers,
}

#[derive(Debug)]
pub(super) struct Task {
    pipeline: Arc<Pipeline>,
    exchange: Exchange,
    inbox: mpsc::Receiver<app_frame::Frame>,
    outbox: Outbox,
    /// When the handler must be done, where its client cannot be seen to go.
    patience: Option<Duration>,
}

impl Task {
    pub(super) fn new(
        pipeline: &Arc<Pipeline>,
        enter: Enter,
        inbox: mpsc::Receiver<app_frame::Frame>,
        outbox: Outbox,
        patience: Option<Duration>,
    ) -> Self {
        let exchange = pipeline.exchange(enter);
        Self { pipeline: Arc::clone(pipeline), exchange, inbox, outbox, patience }
    }

    /// Runs to the end. `place` is where the frames are found by; it is given up before what nobody waits for.
    pub(super) async fn run(mut self, place: impl Send) {
        let pipeline = Arc::clone(&self.pipeline);
        let before = unless_gone(&mut self.inbox, pipeline.before(&mut self.exchange)).await;
        let Some(frame) = before else { return pipeline.cancelled(&mut self.exchange).await };
        let (want, body) = (wanted(&frame), body_of(&frame));
        self.send(frame).await;
        match want {
            Some(0) => drop(self.exchange.written_body(body).await),
            Some(want) => self.handling(&pipeline, want, place).await,
            None => {
                drop(place);
                let written = self.exchange.written_body(body).await;
                pipeline.written(&mut self.exchange, written).await;
            }
        }
    }

    /// The handler runs.
    async fn handling(mut self, pipeline: &Pipeline, want: u32, place: impl Send) {
        let mut frame = self.next().await;
        if let Some(app_frame::Frame::Handled(response)) = frame {
            let after = unless_gone(&mut self.inbox, pipeline.after(&mut self.exchange, response)).await;
            let Some(answer) = after else { return pipeline.cancelled(&mut self.exchange).await };
            let told = matches!(answer, Frame::Finish(_)) && want & Want::Written as u32 != 0;
            let body = body_of(&answer);
            self.send(answer).await;
            frame = match told {
                true => self.next().await,
                false => Some(app_frame::Frame::Written(self.exchange.written_body(body).await)),
            };
        }
        drop(place);
        match frame {
            Some(app_frame::Frame::Written(written)) => pipeline.written(&mut self.exchange, written).await,
            Some(app_frame::Frame::Failed(failure)) => {
                pipeline.handler_failed(&mut self.exchange, failure.text).await;
            }
            _ => pipeline.cancelled(&mut self.exchange).await,
        }
    }

    /// The application's next frame; none if it is gone.
    async fn next(&mut self) -> Option<app_frame::Frame> {
        match self.patience {
            None => self.inbox.recv().await,
            Some(patience) => timeout_at(Instant::now() + patience, self.inbox.recv()).await.ok().flatten(),
        }
    }

    async fn send(&mut self, frame: Frame) {
        let mut frame = self.outbox.frame(frame);
        if frame.encoded_len() > MAX_FRAME {
            // Only the plugins can have made it so large.
            let answer = Response { status: 500, ..Response::default() };
            frame = self.outbox.frame(Frame::Answer(answer));
        }
        // An application that does not read its answers has lost them.
        let _ = timeout_at(self.exchange.deadline, self.outbox.answers.send(Ok(frame))).await;
    }
}

impl Outbox {
    pub(super) fn frame(&self, frame: Frame) -> HostFrame {
        HostFrame { id: self.id, exchange: self.handle.clone(), frame: Some(frame) }
    }
}

/// What the application is asked for; none if it has its answer.
const fn wanted(frame: &Frame) -> Option<u32> {
    match frame {
        Frame::Proceed(Proceed { want, .. }) => Some(*want),
        _ => None,
    }
}

/// The large body that goes with it.
fn body_of(frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Proceed(proceed) => proceed.change.as_ref()?.body.as_ref()?.transfer(),
        Frame::Answer(answer) => answer.body.as_ref()?.transfer(),
        Frame::Finish(change) => change.body.as_ref()?.transfer(),
    }
}

/// Runs a stage, or drops it, and so cancels its calls, when the client goes.
async fn unless_gone<T>(inbox: &mut mpsc::Receiver<app_frame::Frame>, stage: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = stage => Some(done),
        // Nothing else may come now; whoever sends it anyway loses the exchange.
        _ = inbox.recv() => None,
    }
}
