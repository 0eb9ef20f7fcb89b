//! The application streams that must hear of new interests before a plugin counts as running: a worker that has not
//! heard would serve around it. Memory only.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

/// All connected streams of interests.
#[derive(Debug, Default)]
pub struct Audience {
    next: AtomicU64,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    listeners: Mutex<HashMap<u64, Seat>>,
    moved: Notify,
}

#[derive(Debug)]
struct Seat {
    seen: u64,
    closed: watch::Sender<bool>,
}

/// One stream. Dropping it ends its part.
#[derive(Debug)]
pub struct Listener {
    id: u64,
    inner: Arc<Inner>,
    closed: watch::Receiver<bool>,
}

impl Audience {
    #[must_use]
    pub fn join(&self) -> Listener {
        let id = self.next.fetch_add(1, SeqCst);
        let (sender, closed) = watch::channel(false);
        self.inner.listeners.lock().insert(id, Seat { seen: 0, closed: sender });
        Listener { id, inner: Arc::clone(&self.inner), closed }
    }

    /// Waits until every stream has seen `version`. Those that have not at the deadline are closed; gives their number.
    pub async fn all_seen(&self, version: u64, deadline: Instant) -> usize {
        match timeout_at(deadline, self.inner.until_seen(version)).await {
            Ok(()) => 0,
            Err(_) => self.inner.close_behind(version),
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.listeners.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inner {
    async fn until_seen(&self, version: u64) {
        loop {
            let moved = self.moved.notified();
            if self.listeners.lock().values().all(|seat| seat.seen >= version) {
                return;
            }
            moved.await;
        }
    }

    fn close_behind(&self, version: u64) -> usize {
        let mut closed = 0;
        self.listeners.lock().retain(|_, seat| {
            let keep = seat.seen >= version;
            if !keep {
                seat.closed.send_replace(true);
                closed += 1;
            }
            keep
        });
        closed
    }
}

impl Listener {
    /// The application has put this version in force.
    pub fn seen(&self, version: u64) {
        if let Some(seat) = self.inner.listeners.lock().get_mut(&self.id) {
            seat.seen = seat.seen.max(version);
        }
        self.inner.moved.notify_waiters();
    }

    /// Returns when the stream must be closed because it lags.
    pub async fn closed(&mut self) {
        // The seat is gone only after it said so.
        self.closed.wait_for(|closed| *closed).await.ok();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.inner.listeners.lock().remove(&self.id);
        self.inner.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_listens_nobody_is_waited_for() {
        assert_eq!(Audience::default().all_seen(7, soon()).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_lags_is_closed() {
        let audience = Audience::default();
        let (quick, mut slow) = (audience.join(), audience.join());
        quick.seen(7);
        slow.seen(6);
        assert_eq!(audience.all_seen(7, soon()).await, 1);
        slow.closed().await;
        assert_eq!(audience.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_leaves_is_not_waited_for() {
        let audience = Audience::default();
        drop(audience.join());
        assert_eq!(audience.all_seen(7, soon()).await, 0);
    }
}
