//! Who waits to hear that NATS keeps an event. Memory only.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// A server that is there answers sooner. The event is sent again after that too.
const PATIENCE: Duration = Duration::from_secs(2);

type Outcome = Result<(), String>;

/// By the event's number.
#[derive(Debug, Default)]
pub(super) struct Receipts(Mutex<HashMap<u64, oneshot::Sender<Outcome>>>);

/// One publisher's; forgotten when dropped.
pub(super) struct Receipt {
    receipts: Weak<Receipts>,
    event: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl Receipts {
    pub(super) fn expect(this: &Arc<Self>, event: u64) -> Receipt {
        let (sender, outcome) = oneshot::channel();
        this.0.lock().insert(event, sender);
        Receipt { receipts: Arc::downgrade(this), event, outcome }
    }

    pub(super) fn give(&self, event: u64, outcome: Outcome) {
        // Perhaps nobody waits, or no longer.
        self.0.lock().remove(&event).and_then(|waiting| waiting.send(outcome).ok());
    }
}

impl Receipt {
    /// An event that takes longer is on its way all the same.
    pub(super) async fn wait(mut self) -> Outcome {
        match timeout(PATIENCE, &mut self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("the engine of events was changed".to_owned()),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(receipts) = self.receipts.upgrade() {
            receipts.0.lock().remove(&self.event);
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
        assert_eq!(three.wait().await, Ok(()));
        assert!(receipts.0.lock().is_empty());
        let last = Receipts::expect(&receipts, 4);
        drop(receipts);
        last.wait().await.unwrap_err();
    }
}
