//! Who waits to hear that NATS keeps an event. Memory only.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// A server that is there answers sooner. The event is sent again after that too.
const PATIENCE: Duration = Duration::from_secs(2);

type Outcome = Result<(), String>;

#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// By the event's number.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    /// The last that was heard is that events have to be sent again.
    late: AtomicBool,
}

/// One publisher's; forgotten when dropped.
pub(super) struct Receipt {
    receipts: Weak<Receipts>,
    event: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl Receipts {
    pub(super) fn expect(this: &Arc<Self>, event: u64) -> Receipt {
        let (sender, outcome) = oneshot::channel();
        this.waiting.lock().insert(event, sender);
        Receipt { receipts: Arc::downgrade(this), event, outcome }
    }

    pub(super) fn give(&self, event: u64, outcome: Outcome) {
        // Perhaps nobody waits, or no longer.
        self.waiting.lock().remove(&event).and_then(|waiting| waiting.send(outcome).ok());
    }

    pub(super) fn set_late(&self, late: bool) {
        self.late.store(late, Relaxed);
    }

    /// Then nobody should wait.
    pub(super) fn are_late(&self) -> bool {
        self.late.load(Relaxed)
    }
}

impl Receipt {
    /// An event that takes longer is on its way all the same.
    pub(super) async fn wait(mut self) -> Outcome {
        match timeout(PATIENCE, &mut self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the engine of events was changed".to_owned()),
            Err(_) => {
                if let Some(receipts) = self.receipts.upgrade() {
                    receipts.set_late(true);
                }
                Ok(())
            }
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(receipts) = self.receipts.upgrade() {
            receipts.waiting.lock().remove(&self.event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_hears_its_own_outcome_or_goes_on_after_a_while() {
        let receipts = Arc::new(Receipts::default());
        let (one, two, three) =
            (Receipts::expect(&receipts, 1), Receipts::expect(&receipts, 2), Receipts::expect(&receipts, 3));
        receipts.give(2, Err("too large".to_owned()));
        receipts.give(1, Ok(()));
        receipts.give(7, Ok(()));
        assert_eq!((one.wait().await, two.wait().await), (Ok(()), Err("too large".to_owned())));
        assert!(!receipts.are_late());
        assert_eq!(three.wait().await, Ok(()));
        assert!(receipts.are_late() && receipts.waiting.lock().is_empty());
        let last = Receipts::expect(&receipts, 4);
        drop(receipts);
        last.wait().await.unwrap_err();
    }
}
