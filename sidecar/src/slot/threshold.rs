//! A plugin's error threshold at work: counts, logs the reference's lines, and raises the alarm. Memory only.

use parking_lot::Mutex;
use rockstar_core::{
    assignment::{ErrorThreshold, ThresholdAction},
    duration,
    threshold::{Count, Crossing},
};
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Instant,
};

/// See the module.
#[derive(Debug)]
pub struct Threshold {
    plugin: String,
    began: Instant,
    inner: Mutex<Inner>,
    /// Whether a success has anything to do; spares the lock on the way of every call.
    counting: AtomicBool,
    tripped: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    configured: Option<ErrorThreshold>,
    /// By a call at run time; goes before what is configured.
    set: Option<ErrorThreshold>,
    count: Count,
    alarm: Option<Alarm>,
    /// The last one, of this process.
    last: Option<Alarm>,
}

/// A threshold was exceeded, and something is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub errors: u32,
    pub rule: ErrorThreshold,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = duration::format(self.rule.time_window);
        write!(f, "{}/{} errors in {window}", self.errors, self.rule.max_errors)
    }
}

impl Inner {
    fn rule(&self) -> Option<&ErrorThreshold> {
        self.set.as_ref().or(self.configured.as_ref())
    }
}

impl Threshold {
    pub(super) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.to_owned(),
            began: Instant::now(),
            inner: Mutex::default(),
            counting: AtomicBool::new(false),
            tripped: AtomicBool::new(false),
        }
    }

    pub(super) fn configure(&self, rule: Option<ErrorThreshold>) {
        self.inner.lock().configured = rule;
    }

    /// Overrides what is configured, for as long as the plugin is known here.
    pub fn set(&self, rule: ErrorThreshold) {
        let mut inner = self.inner.lock();
        let webhook = inner.configured.as_ref().and_then(|configured| configured.webhook.clone());
        inner.set = Some(ErrorThreshold { webhook: rule.webhook.or(webhook), ..rule });
    }

    /// The one that applies.
    #[must_use]
    pub fn rule(&self) -> Option<ErrorThreshold> {
        self.inner.lock().rule().cloned()
    }

    /// True: there is an alarm to look at.
    pub(super) fn error(&self) -> bool {
        let crossing = {
            let mut inner = self.inner.lock();
            let Some(rule) = inner.rule().cloned() else { return false };
            let crossing = inner.count.error(&rule, self.began.elapsed());
            self.counting.store(true, SeqCst);
            if let Some(Crossing::Exceeded(errors)) = crossing {
                self.tripped.fetch_or(rule.action == ThresholdAction::Disable, SeqCst);
                let alarm = Alarm { errors, rule: rule.clone() };
                (inner.alarm, inner.last) = (Some(alarm.clone()), Some(alarm));
            }
            crossing.map(|crossing| (crossing, rule))
        };
        let Some((crossing, rule)) = crossing else { return false };
        self.tell(crossing, &rule);
        matches!(crossing, Crossing::Exceeded(_))
    }

    fn tell(&self, crossing: Crossing, rule: &ErrorThreshold) {
        let (plugin, max, window) = (self.plugin.as_str(), rule.max_errors, duration::format(rule.time_window));
        match crossing {
            Crossing::Approaching(n) => {
                tracing::warn!(plugin, "Plugin {plugin} approaching error threshold: {n}/{max} errors in {window}");
            }
            Crossing::Exceeded(n) => {
                tracing::error!(plugin, "Plugin {plugin} exceeded error threshold: {n}/{max} errors in {window}");
            }
        }
    }

    pub(super) fn success(&self) {
        if !self.counting.load(SeqCst) {
            return;
        }
        let mut inner = self.inner.lock();
        if let Some(rule) = inner.rule().cloned() {
            inner.count.success(&rule);
        }
        self.counting.store(!inner.count.is_empty(), SeqCst);
    }

    /// Whether the plugin is disabled by it, or about to be: it gets no more calls.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        self.tripped.load(SeqCst)
    }

    /// The count begins anew, with a new process.
    pub fn rearm(&self) {
        let mut inner = self.inner.lock();
        (inner.count, inner.alarm, inner.last) = (Count::default(), None, None);
        self.counting.store(false, SeqCst);
        self.tripped.store(false, SeqCst);
    }

    pub fn take_alarm(&self) -> Option<Alarm> {
        self.inner.lock().alarm.take()
    }

    /// The last alarm, while something comes of it: the plugin is disabled, or alerts within the window.
    #[must_use]
    pub fn exceeded(&self) -> Option<Alarm> {
        let mut inner = self.inner.lock();
        let last = inner.last.clone()?;
        let lasts = match last.rule.action {
            ThresholdAction::Disable => self.is_tripped(),
            ThresholdAction::Alert => inner.count.is_exceeded(&last.rule, self.began.elapsed()),
            ThresholdAction::Log => false,
        };
        lasts.then_some(last)
    }

    /// What the alert's metric shows; None where no alert was asked for.
    #[must_use]
    pub fn alert(&self) -> Option<bool> {
        let mut inner = self.inner.lock();
        let rule = inner.rule().filter(|rule| rule.action == ThresholdAction::Alert)?.clone();
        Some(inner.count.is_exceeded(&rule, self.began.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(action: ThresholdAction) -> Threshold {
        let threshold = Threshold::new("p");
        threshold.configure(Some(ErrorThreshold { max_errors: 2, action, ..ErrorThreshold::default() }));
        threshold
    }

    #[test]
    fn the_alarm_is_raised_once_and_only_disable_trips() {
        for action in [ThresholdAction::Disable, ThresholdAction::Log, ThresholdAction::Alert] {
            let threshold = threshold(action);
            assert_eq!([threshold.error(), threshold.error(), threshold.error()], [false, true, false]);
            assert_eq!(threshold.is_tripped(), action == ThresholdAction::Disable);
            assert_eq!(threshold.alert(), (action == ThresholdAction::Alert).then_some(true));
            assert!(threshold.take_alarm().is_some() && threshold.take_alarm().is_none());
            let exceeded = threshold.exceeded().map(|alarm| alarm.to_string());
            assert_eq!(exceeded, (action != ThresholdAction::Log).then(|| "2/2 errors in 5m".to_owned()));
            threshold.rearm();
            assert!(!threshold.is_tripped() && threshold.exceeded().is_none());
        }
    }

    #[test]
    fn a_success_in_between_resets_it() {
        let threshold = threshold(ThresholdAction::Disable);
        threshold.error();
        threshold.success();
        assert!(!threshold.error());
    }

    #[test]
    fn the_one_that_was_set_goes_before_the_configured_one() {
        let threshold = threshold(ThresholdAction::Disable);
        threshold.set(ErrorThreshold::default());
        threshold.configure(None);
        assert_eq!(threshold.rule(), Some(ErrorThreshold::default()));
    }
}
