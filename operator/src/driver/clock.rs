//! The driver's time. Reads the monotonic clock.

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// Wall time as it was when the clock began, moved on by the monotonic clock: a step of the machine's wall clock moves no
/// deadline.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    /// Milliseconds since the epoch.
    wall: i64,
}

impl Clock {
    /// Begins at the machine's wall time.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(Timestamp::now().as_millisecond())
    }

    /// Begins at `wall`, in milliseconds since the epoch.
    #[must_use]
    pub fn starting_at(wall: i64) -> Self {
        Self { began: Instant::now(), wall }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.wall.saturating_add(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
