//! When a plugin that crashed, or did not come up, is started again: after growing pauses, up to a number of crashes in a
//! window; then once after 1, 2, 4 … 30 minutes, until it outlives its grace period. Pure: `now` is an argument.

use rockstar_core::assignment::CrashBudget;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const FIRST_TRY: Duration = Duration::from_secs(60);
const LAST_TRY: Duration = Duration::from_secs(1800);

/// Crashes of one attempt at a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Crashes {
    /// The revision, and which demand to reload it: others begin anew.
    attempt: String,
    /// In the window.
    count: u32,
    /// When the window began, in milliseconds since 1970.
    since_unix_ms: i64,
    /// How often in a row the surroundings kept it from starting.
    waits: u32,
    /// How many single starts were granted since the budget was used up; 0: it is not.
    tries: u32,
}

/// When the next start is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    After(Duration),
    /// The budget is used up: one start, after this time.
    Once(Duration),
}

impl Restart {
    #[must_use]
    pub const fn pause(self) -> Duration {
        match self {
            Self::After(pause) | Self::Once(pause) => pause,
        }
    }
}

impl Crashes {
    /// The history of an attempt: what is known of another one is forgotten.
    #[must_use]
    pub fn of(self, attempt: &str) -> Self {
        match self.attempt == attempt {
            true => self,
            false => Self { attempt: attempt.to_owned(), ..Self::default() },
        }
    }

    /// Counts a crash, and says when the plugin is started again.
    pub fn crashed(&mut self, budget: &CrashBudget, now_unix_ms: i64) -> Restart {
        self.waits = 0;
        if self.tries > 0 {
            self.tries = self.tries.saturating_add(1);
            return Restart::Once(self.next_try());
        }
        // A clock that was set back does not stretch the window.
        let age = now_unix_ms - self.since_unix_ms;
        let window = i64::try_from(budget.window.as_millis()).unwrap_or(i64::MAX);
        if self.count == 0 || !(0..=window).contains(&age) {
            (self.count, self.since_unix_ms) = (0, now_unix_ms);
        }
        self.count = self.count.saturating_add(1);
        if self.count <= budget.max_crashes {
            return Restart::After(doubled(FIRST_PAUSE, self.count - 1, LONGEST_PAUSE));
        }
        self.tries = 1;
        Restart::Once(self.next_try())
    }

    /// The surroundings keep the plugin from starting: that is no crash.
    pub fn waits(&mut self) -> Restart {
        self.waits = self.waits.saturating_add(1);
        match self.tries {
            0 => Restart::After(doubled(FIRST_WAIT, self.waits - 1, LONGEST_WAIT)),
            _ => Restart::Once(self.next_try()),
        }
    }

    /// Outliving the grace period closes a budget that was used up.
    pub fn outlived(&mut self) {
        self.waits = 0;
        if self.tries > 0 {
            *self = Self { attempt: std::mem::take(&mut self.attempt), ..Self::default() };
        }
    }

    fn next_try(&self) -> Duration {
        doubled(FIRST_TRY, self.tries.saturating_sub(1), LAST_TRY)
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn is_used_up(crashes: &Crashes) -> bool {
        crashes.tries > 0
    }

    fn budget() -> CrashBudget {
        CrashBudget::default()
    }

    #[test]
    fn pauses_grow_until_the_budget_is_used_up_and_single_starts_follow() {
        let mut crashes = Crashes::default().of("p-1@");
        let pauses: Vec<_> = (0..5).map(|_| crashes.crashed(&budget(), 1000).pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600]);
        assert!(!is_used_up(&crashes));
        let minutes: Vec<_> = (0..7).map(|_| crashes.crashed(&budget(), 1000).pause().as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 30, 30]);
        assert!(is_used_up(&crashes));
    }

    #[test]
    fn a_new_window_begins_when_the_old_one_is_over_or_the_clock_was_set_back() {
        for later in [301_000, -5_000] {
            let mut crashes = Crashes::default();
            for _ in 0..4 {
                crashes.crashed(&budget(), 0);
            }
            assert_eq!(crashes.crashed(&budget(), later), Restart::After(FIRST_PAUSE), "{later}");
        }
    }

    #[test]
    fn outliving_the_grace_period_another_attempt_and_nothing_else_close_it() {
        let mut crashes = Crashes::default().of("p-1@");
        for _ in 0..6 {
            crashes.crashed(&budget(), 0);
        }
        assert!(is_used_up(&crashes.clone().of("p-1@")));
        assert_eq!(crashes.clone().of("p-1@now"), Crashes::default().of("p-1@now"));
        crashes.outlived();
        assert_eq!(crashes, Crashes::default().of("p-1@"));
        crashes.crashed(&budget(), 0);
        let open = crashes.clone();
        crashes.outlived();
        assert_eq!(crashes, open, "crashes in the window still count");
    }

    #[test]
    fn what_the_surroundings_cause_uses_nothing_up() {
        let mut crashes = Crashes::default();
        let pauses: Vec<_> = (0..8).map(|_| crashes.waits().pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!is_used_up(&crashes));
        assert_eq!(crashes.crashed(&budget(), 0), Restart::After(FIRST_PAUSE));
    }
}
