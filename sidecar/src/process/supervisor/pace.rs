//! How often a plugin's calls are answered: each costs the sidecar's time, which is everybody's. Waits; no I/O.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Unpacking an archive takes three a file.
const MAX_CALLS: u32 = 5_000;
const PERIOD: Duration = Duration::from_secs(1);

pub(super) struct Pace {
    since: Instant,
    calls: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), calls: 0 }
    }

    /// Returns when another call may be answered.
    pub(super) async fn wait(&mut self) {
        let end = self.since + PERIOD;
        if self.calls >= MAX_CALLS {
            sleep_until(end).await;
        }
        if Instant::now() >= end {
            *self = Self::new();
        }
        self.calls += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_calls_than_that_wait_for_the_next_period() {
        let (start, mut pace) = (Instant::now(), Pace::new());
        for _ in 0..MAX_CALLS {
            pace.wait().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.wait().await;
        assert_eq!(start.elapsed(), PERIOD);
        for _ in 1..MAX_CALLS {
            pace.wait().await;
        }
        assert_eq!(start.elapsed(), PERIOD);
        pace.wait().await;
        assert_eq!(start.elapsed(), 2 * PERIOD);
    }
}
