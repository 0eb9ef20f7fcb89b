//! Tells each application which exchanges any plugin listens to, and notes what it has put in force. A stream that lags
//! behind is ended: its application then fails closed.

use crate::{pipeline::Pipeline, registry::Listener};
use rockstar_proto::app::{InterestSet, Seen};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Sets that the application has not read yet.
const OUTBOX: usize = 16;

pub(crate) type Sets = ReceiverStream<Result<InterestSet, Status>>;

pub(crate) fn serve(pipeline: &Arc<Pipeline>, seen: Streaming<Seen>) -> Sets {
    let (sets, outgoing) = mpsc::channel(OUTBOX);
    // Counted from now on: a version that is made meanwhile waits for this stream too.
    let listener = pipeline.registry().audience().join();
    tokio::spawn(keep(Arc::clone(pipeline), listener, seen, sets));
    ReceiverStream::new(outgoing)
}

async fn keep(
    pipeline: Arc<Pipeline>,
    mut listener: Listener,
    mut seen: Streaming<Seen>,
    sets: mpsc::Sender<Result<InterestSet, Status>>,
) {
    let (mut version, mut ready) = (pipeline.registry().version(), pipeline.registry().ready());
    loop {
        version.mark_unchanged();
        let set = current(&pipeline, *ready.borrow_and_update());
        if sets.try_send(Ok(set)).is_err() {
            return;
        }
        loop {
            tokio::select! {
                _ = version.changed() => break,
                _ = ready.changed() => break,
                message = seen.message() => match message {
                    Ok(Some(Seen { version })) => listener.seen(version),
                    _ => return,
                },
                () = listener.closed() => {
                    sets.try_send(Err(Status::aborted("the interests were not acknowledged in time"))).ok();
                    return;
                }
            }
        }
    }
}

/// The interests of the table that is in force now.
fn current(pipeline: &Pipeline, ready: bool) -> InterestSet {
    let table = pipeline.table();
    InterestSet { version: table.version(), entries: table.interests(), ready }
}
