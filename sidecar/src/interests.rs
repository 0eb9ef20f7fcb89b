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
    let (mut sent, mut pong) = (None, 0);
    loop {
        version.mark_unchanged();
        let mut set = current(&pipeline, *ready.borrow_and_update());
        let state = Some((set.version, set.ready));
        let same = sent == state;
        if same {
            set.entries.clear();
            set.pong = pong;
        }
        // What nobody asked for and what is not new is not worth a word.
        if (!same || pong != 0) && sets.try_send(Ok(set)).is_err() {
            return;
        }
        if same {
            pong = 0;
        }
        sent = state;
        // What is new goes before the answer to a question.
        while pong == 0 {
            tokio::select! {
                _ = version.changed() => break,
                _ = ready.changed() => break,
                message = seen.message() => match message {
                    Ok(Some(Seen { version, ping })) => {
                        listener.seen(version);
                        pong = ping;
                    }
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
    InterestSet { version: table.version(), entries: table.interests(), ready, pong: 0 }
}
