//! Counting a plugin's errors against its threshold: when to warn, when to act. Pure: `now` is an argument.

use crate::assignment::ErrorThreshold;
use std::{collections::VecDeque, time::Duration};

/// A window is counted in so many slices at most, so that memory is bounded whatever the maximum is. An error counts until
/// its slice has left the window.
const SLICES: u128 = 1024;
/// A warning comes at this part of the maximum.
const WARN_PERCENT: u64 = 95;

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// Close to the maximum; told once a window.
    Approaching(u32),
    /// The maximum is reached; told once, until the count begins anew.
    Exceeded(u32),
}

/// The errors of one plugin within the window.
#[derive(Clone, Debug, Default)]
pub struct Count {
    slices: VecDeque<Slice>,
    total: u32,
    warned: Option<Duration>,
    /// When the maximum was last reached.
    exceeded: Option<Duration>,
    /// That is known to whoever asked; the next time is told anew once the count fell.
    told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    /// The time of its latest error.
    last: Duration,
    number: u128,
    errors: u32,
}

impl Count {
    /// One more error. Time only moves on.
    pub fn error(&mut self, rule: &ErrorThreshold, now: Duration) -> Option<Crossing> {
        self.forget(rule, now);
        self.add(rule, now);
        if self.total >= rule.max_errors {
            if self.told {
                return None;
            }
            (self.exceeded, self.told) = (Some(now), true);
            return Some(Crossing::Exceeded(self.total));
        }
        if self.total >= warn_at(rule) && self.warned.is_none() {
            self.warned = Some(now);
            return Some(Crossing::Approaching(self.total));
        }
        None
    }

    /// Another rule applies: what it finds is told, whatever the one before has told.
    pub const fn judge_anew(&mut self) {
        self.told = false;
        self.warned = None;
    }

    /// A counted call without error.
    pub fn success(&mut self, rule: &ErrorThreshold) {
        if rule.reset_on_success {
            self.slices.clear();
            self.total = 0;
            self.told = false;
        }
    }

    /// Whether the maximum is reached, or was within the window.
    pub fn is_exceeded(&mut self, rule: &ErrorThreshold, now: Duration) -> bool {
        self.forget(rule, now);
        self.total >= rule.max_errors || self.exceeded.is_some()
    }

    /// How many errors count now.
    pub fn total(&mut self, rule: &ErrorThreshold, now: Duration) -> u32 {
        self.forget(rule, now);
        self.total
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    fn add(&mut self, rule: &ErrorThreshold, now: Duration) {
        let number = now.as_millis() / (rule.time_window.as_millis() / SLICES).max(1);
        self.total = self.total.saturating_add(1);
        match self.slices.back_mut() {
            Some(slice) if slice.number == number => {
                slice.errors = slice.errors.saturating_add(1);
                slice.last = now;
            }
            _ => self.slices.push_back(Slice { last: now, number, errors: 1 }),
        }
    }

    fn forget(&mut self, rule: &ErrorThreshold, now: Duration) {
        let outside = |at: Duration| now.saturating_sub(at) >= rule.time_window;
        while let Some(slice) = self.slices.front().filter(|slice| outside(slice.last)) {
            self.total = self.total.saturating_sub(slice.errors);
            self.slices.pop_front();
        }
        self.warned = self.warned.filter(|at| !outside(*at));
        self.exceeded = self.exceeded.filter(|at| !outside(*at));
        self.told &= self.exceeded.is_some() || self.total >= rule.max_errors;
    }
}

fn warn_at(rule: &ErrorThreshold) -> u32 {
    let at = (u64::from(rule.max_errors) * WARN_PERCENT).div_ceil(100);
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assignment::ThresholdAction;
    use proptest::prelude::*;

    fn rule(max_errors: u32, reset_on_success: bool) -> ErrorThreshold {
        let time_window = Duration::from_secs(300);
        ErrorThreshold { max_errors, time_window, action: ThresholdAction::Disable, reset_on_success, webhook: None }
    }

    fn errors(count: &mut Count, rule: &ErrorThreshold, number: u32, now: u64) -> Vec<Crossing> {
        (0..number).filter_map(|_| count.error(rule, Duration::from_secs(now))).collect()
    }

    #[test]
    fn it_warns_at_95_percent_and_acts_at_the_maximum_once_each() {
        let (mut count, rule) = (Count::default(), rule(100, true));
        assert_eq!(errors(&mut count, &rule, 94, 1), []);
        assert_eq!(errors(&mut count, &rule, 5, 2), [Crossing::Approaching(95)]);
        assert_eq!(errors(&mut count, &rule, 100, 3), [Crossing::Exceeded(100)]);
    }

    #[test]
    fn what_left_the_window_does_not_count() {
        let (mut count, rule) = (Count::default(), rule(100, false));
        assert_eq!(errors(&mut count, &rule, 50, 0), []);
        assert_eq!(errors(&mut count, &rule, 50, 300), []);
        assert_eq!(count.total(&rule, Duration::from_secs(300)), 50);
        assert_eq!(count.total(&rule, Duration::from_secs(600)), 0);
    }

    #[test]
    fn a_success_begins_the_count_anew_where_it_should() {
        for (reset, expected) in [(true, 0), (false, 1)] {
            let (mut count, rule) = (Count::default(), rule(100, reset));
            errors(&mut count, &rule, 99, 0);
            count.success(&rule);
            let exceeded =
                errors(&mut count, &rule, 99, 1).iter().filter(|c| matches!(c, Crossing::Exceeded(_))).count();
            assert_eq!(exceeded, expected, "reset_on_success: {reset}");
        }
    }

    #[test]
    fn another_rule_tells_anew() {
        let (mut count, low, high) = (Count::default(), rule(2, false), rule(4, false));
        assert_eq!(errors(&mut count, &low, 3, 0), [Crossing::Exceeded(2)]);
        count.judge_anew();
        assert_eq!(errors(&mut count, &high, 3, 1), [Crossing::Exceeded(4)]);
    }

    #[test]
    fn a_small_maximum_is_reached_without_a_warning() {
        let (mut count, rule) = (Count::default(), rule(1, true));
        assert_eq!(errors(&mut count, &rule, 1, 0), [Crossing::Exceeded(1)]);
    }

    #[test]
    fn a_new_window_tells_anew() {
        let (mut count, rule) = (Count::default(), rule(2, false));
        assert_eq!(errors(&mut count, &rule, 2, 0), [Crossing::Exceeded(2)]);
        assert_eq!(errors(&mut count, &rule, 2, 400), [Crossing::Exceeded(2)]);
    }

    proptest! {
        /// Against a list of all errors. A slice of the window is the most by which an old error may count longer.
        #[test]
        fn it_counts_what_is_in_the_window(gaps in prop::collection::vec(0u64..60_000, 1..200), max in 1u32..50) {
            let (mut count, rule) = (Count::default(), rule(max, false));
            let slack = rule.time_window.as_millis() / SLICES;
            let (mut now, mut all) = (0u64, Vec::new());
            for gap in gaps {
                now += gap;
                all.push(now);
                count.error(&rule, Duration::from_millis(now));
                let within = |window: u128| all.iter().filter(|at| u128::from(now - **at) < window).count();
                let total = count.total as usize;
                prop_assert!(within(rule.time_window.as_millis()) <= total);
                prop_assert!(total <= within(rule.time_window.as_millis() + slack));
                prop_assert!(count.slices.len() as u128 <= SLICES + 2);
                prop_assert!(total < max as usize || count.told);
            }
        }
    }
}
