//! Exchanges in two unary calls, for clients without streams. Between them an exchange is kept under a handle, up to its
//! deadline.

use super::{
    FAR, Pipeline,
    task::{INBOX, Outbox, Task},
};
use parking_lot::Mutex;
use rockstar_proto::app::{AppFrame, HostFrame, app_frame, host_frame::Frame};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::timeout,
};
use tonic::Status;

/// Exchanges kept at once.
const MAX_PARKED: usize = 4096;
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);
/// The exchange itself answers at its deadline; this is in case it does not.
const GRACE: Duration = Duration::from_secs(5);

type Answers = mpsc::Receiver<Result<HostFrame, Status>>;

/// Exchanges whose handler runs, by handle.
pub(super) type Parked = Arc<Mutex<HashMap<String, Arc<Kept>>>>;

#[derive(Debug)]
pub(super) struct Kept {
    frames: mpsc::Sender<app_frame::Frame>,
    answers: AsyncMutex<Answers>,
    patience: Duration,
}

impl Pipeline {
    pub(super) async fn begin(self: &Arc<Self>, frame: AppFrame) -> Result<HostFrame, Status> {
        let Some(app_frame::Frame::Enter(enter)) = frame.frame else {
            return Err(Status::invalid_argument("Begin takes a frame with Enter"));
        };
        let patience = match enter.timeout_ms {
            0 => DEFAULT_PATIENCE,
            ms => Duration::from_millis(ms.into()),
        };
        // A body that moves is not late.
        let body = enter.request.as_ref().and_then(|request| request.body.as_ref()?.transfer());
        let limit = if body.is_some() { FAR } else { patience + GRACE };
        let (frames, inbox) = mpsc::channel(INBOX);
        let (sender, answers) = mpsc::channel(INBOX);
        let handle = format!("{:032x}", rand::random::<u128>());
        let kept = Arc::new(Kept { frames, answers: AsyncMutex::new(answers), patience });
        let place = self.park(handle.clone(), Arc::clone(&kept))?;
        let outbox = Outbox { id: frame.id, handle, answers: sender };
        let task = Task::new(self, enter, inbox, outbox, Some(patience));
        // Ends at its deadline, if nobody finishes it.
        tokio::spawn(task.run(place));
        kept.answer(limit).await
    }

    pub(super) async fn finish_exchange(&self, frame: AppFrame) -> Result<HostFrame, Status> {
        let kept = self.parked.lock().get(&frame.exchange).cloned();
        let kept = kept.ok_or_else(|| Status::not_found("no such exchange: it has ended, or its time is over"))?;
        let said = frame.frame.ok_or_else(|| Status::invalid_argument("Finish takes a frame"))?;
        let answered = matches!(said, app_frame::Frame::Handled(_));
        kept.frames.try_send(said).map_err(|_| Status::failed_precondition("the exchange is over"))?;
        match answered {
            true => kept.answer(kept.patience + GRACE).await,
            false => Ok(HostFrame { id: frame.id, exchange: frame.exchange, frame: None::<Frame> }),
        }
    }

    fn park(&self, handle: String, kept: Arc<Kept>) -> Result<Place, Status> {
        let mut parked = self.parked.lock();
        if parked.len() >= MAX_PARKED {
            return Err(Status::resource_exhausted("too many exchanges are open"));
        }
        parked.insert(handle.clone(), kept);
        Ok(Place { handle, parked: Arc::clone(&self.parked) })
    }
}

impl Kept {
    async fn answer(&self, limit: Duration) -> Result<HostFrame, Status> {
        let mut answers = self.answers.lock().await;
        let answer = timeout(limit, answers.recv()).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("the exchange's time is over"))?;
        answer.unwrap_or_else(|| Err(Status::aborted("the exchange is over")))
    }
}

/// An exchange's entry among the parked.
struct Place {
    handle: String,
    parked: Parked,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.parked.lock().remove(&self.handle);
    }
}
