//! One exchange from its Enter to its end, as a task: runs the stages, and listens meanwhile whether the client has gone.

use super::{Pipeline, exchange::Exchange};
use prost::Message;
use rockstar_proto::{
    app::{Enter, HostFrame, Want, app_frame, host_frame::Frame},
    body::MAX_FRAME,
    types::{Body, Response},
};
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
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
        let before = unless_gone(&mut self.inbox, pin!(pipeline.before(&mut self.exchange))).await;
        let Some(frame) = before else { return pipeline.cancelled(&mut self.exchange).await };
        match self.send(frame).await {
            Said { step: Step::Proceed(0), body } => {
                drop(place);
                self.exchange.written(body).await;
            }
            Said { step: Step::Proceed(want), .. } => self.handling(&pipeline, want, place).await,
            said => {
                drop(place);
                self.written(&pipeline, said).await;
            }
        }
    }

    /// The handler runs.
    async fn handling(mut self, pipeline: &Pipeline, want: u32, place: impl Send) {
        let mut frame = self.next().await;
        if let Some(app_frame::Frame::Handled(response)) = frame {
            let after = unless_gone(&mut self.inbox, pin!(pipeline.after(&mut self.exchange, response))).await;
            let Some(answer) = after else { return pipeline.cancelled(&mut self.exchange).await };
            let said = self.send(answer).await;
            if said.step == Step::Answer || want & Want::Written as u32 == 0 {
                drop(place);
                return self.written(pipeline, said).await;
            }
            frame = self.next().await;
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

    /// The application has its answer, and says no more.
    async fn written(&mut self, pipeline: &Pipeline, said: Said) {
        let body = said.body.filter(|_| self.exchange.shows_body());
        let written = self.exchange.written(body).await;
        pipeline.written(&mut self.exchange, written).await;
    }

    /// The application's next frame; none if it is gone.
    async fn next(&mut self) -> Option<app_frame::Frame> {
        match self.patience {
            None => self.inbox.recv().await,
            Some(patience) => timeout_at(Instant::now() + patience, self.inbox.recv()).await.ok().flatten(),
        }
    }

    async fn send(&mut self, frame: Frame) -> Said {
        let mut sent = self.outbox.frame(frame);
        if sent.encoded_len() > MAX_FRAME {
            // Only the plugins can have made it so large.
            let answer = Response { status: 500, ..Response::default() };
            sent = self.outbox.frame(Frame::Answer(answer));
        }
        let said = Said::of(sent.frame.as_ref());
        // An application that does not read its answers has lost them.
        let _ = timeout_at(self.exchange.deadline, self.outbox.answers.send(Ok(sent))).await;
        said
    }
}

impl Outbox {
    pub(super) fn frame(&self, frame: Frame) -> HostFrame {
        HostFrame { id: self.id, exchange: self.handle.clone(), frame: Some(frame) }
    }
}

/// What the application was told.
#[derive(Clone, Copy, Debug)]
struct Said {
    step: Step,
    /// The large body that goes with it.
    body: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Run the handler, and send these bits of Want.
    Proceed(u32),
    /// Write the handler's response.
    Finish,
    Answer,
}

impl Said {
    fn of(frame: Option<&Frame>) -> Self {
        let (step, body) = match frame {
            Some(Frame::Proceed(proceed)) => {
                (Step::Proceed(proceed.want), proceed.change.as_ref().and_then(|change| change.body.as_ref()))
            }
            Some(Frame::Finish(change)) => (Step::Finish, change.body.as_ref()),
            Some(Frame::Answer(answer)) => (Step::Answer, answer.body.as_ref()),
            None => (Step::Answer, None),
        };
        Self { step, body: body.and_then(Body::transfer) }
    }
}

/// Runs a stage, or drops it, and so cancels its calls, when the client goes.
async fn unless_gone<T>(
    inbox: &mut mpsc::Receiver<app_frame::Frame>,
    stage: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = stage => Some(done),
        // Nothing else may come now; whoever sends it anyway loses the exchange.
        _ = inbox.recv() => None,
    }
}
