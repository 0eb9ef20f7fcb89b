//! A stream of exchanges: hands each frame to its exchange and never waits for one.

use super::{
    Pipeline,
    task::{Answers, INBOX, Outbox, Task},
    verdict::Refused,
};
use parking_lot::Mutex;
use rockstar_proto::app::{AppFrame, Enter, HostFrame, app_frame, host_frame};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Exchanges at once on one stream; clients keep to half of it.
const IN_FLIGHT: usize = 2048;
const OUTBOX: usize = 1024;

pub(super) type Frames = ReceiverStream<Result<HostFrame, Status>>;

/// The exchanges of one stream by id.
type Places = Arc<Mutex<HashMap<u64, mpsc::Sender<app_frame::Frame>>>>;

/// Serves the stream until the application ends it; what is under way then is cancelled.
pub(super) fn serve(pipeline: &Arc<Pipeline>, frames: Streaming<AppFrame>) -> Frames {
    let (answers, outgoing) = mpsc::channel(OUTBOX);
    let stream = Stream { pipeline: Arc::clone(pipeline), answers, places: Places::default() };
    // Ends with the stream, and with it its exchanges.
    tokio::spawn(stream.read(frames));
    ReceiverStream::new(outgoing)
}

struct Stream {
    pipeline: Arc<Pipeline>,
    answers: Answers,
    places: Places,
}

impl Stream {
    async fn read(self, mut frames: Streaming<AppFrame>) {
        while let Ok(Some(AppFrame { id, frame, .. })) = frames.message().await {
            let taken = match frame {
                Some(app_frame::Frame::Enter(enter)) => self.enter(id, enter),
                Some(frame) => {
                    self.pass_on(id, frame);
                    Ok(())
                }
                None => Ok(()),
            };
            if let Err(status) = taken {
                self.answers.try_send(Err(status)).ok();
                break;
            }
        }
        self.places.lock().clear();
    }

    fn enter(&self, id: u64, enter: Enter) -> Result<(), Status> {
        let (sender, inbox) = mpsc::channel(INBOX);
        let outbox = Outbox { id, handle: String::new(), answers: self.answers.clone() };
        let mut places = self.places.lock();
        if places.len() >= IN_FLIGHT {
            let refused = Refused::unavailable("service unavailable: too many requests at once", 1);
            let frame = outbox.frame(host_frame::Frame::Answer(refused.response()));
            return self.answers.try_send(Ok(frame)).map_err(|_| Status::resource_exhausted("answers are not read"));
        }
        if places.insert(id, sender).is_some() {
            return Err(Status::invalid_argument(format!("exchange {id} has been entered before")));
        }
        let place = Place { id, places: Arc::clone(&self.places) };
        let task = Task::new(&self.pipeline, enter, inbox, outbox, None);
        tokio::spawn(task.run(place));
        Ok(())
    }

    /// To an exchange that is over, a frame may still be under way.
    fn pass_on(&self, id: u64, frame: app_frame::Frame) {
        let mut places = self.places.lock();
        if places.get(&id).is_some_and(|place| place.try_send(frame).is_err()) {
            // Too many frames for one exchange: it is cancelled.
            places.remove(&id);
        }
    }
}

/// An exchange's entry among the places.
struct Place {
    id: u64,
    places: Places,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.id);
    }
}
