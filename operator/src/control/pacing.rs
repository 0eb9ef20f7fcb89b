//! How fast streams are let in after a takeover, when all come at once. No I/O.

use std::time::Duration;
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// Lets at most one stream in per interval, and few at once; refuses when too many wait.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    next: Mutex<Instant>,
    at_once: Semaphore,
    waiting: Semaphore,
}

impl Pacer {
    pub(super) fn new(interval: Duration, at_once: usize, waiting: usize) -> Self {
        Self {
            interval,
            next: Mutex::new(Instant::now()),
            at_once: Semaphore::new(at_once),
            waiting: Semaphore::new(waiting),
        }
    }

    /// Waits for a turn; None if too many wait already. The turn is over when the permit is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.waiting.try_acquire().ok()?;
        let permit = self.at_once.acquire().await.ok()?;
        sleep_until(self.slot().await).await;
        drop(place);
        Some(permit)
    }

    async fn slot(&self) -> Instant {
        let mut next = self.next.lock().await;
        let mine = (*next).max(Instant::now());
        *next = mine + self.interval;
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_spaced_and_the_queue_is_bounded() {
        let pacer = Pacer::new(Duration::from_millis(10), 2, 1);
        let start = Instant::now();
        for _ in 0..3 {
            drop(pacer.turn().await);
        }
        assert_eq!(start.elapsed(), Duration::from_millis(20));
        let held = (pacer.turn().await, pacer.turn().await);
        let third = pacer.turn();
        tokio::pin!(third);
        assert!(futures::poll!(third.as_mut()).is_pending());
        assert!(pacer.turn().await.is_none());
        drop(held);
        assert!(third.await.is_some());
    }
}
