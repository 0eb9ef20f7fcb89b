//! Whether this sidecar should get traffic. It never lies: a plugin that must not be skipped and cannot answer is a reason.
//! A planned reload is none until its queue's timeout. The decision is pure.

use crate::manager::{Manager, Newcomers, PluginInfo};
use crate::slot::{Slot, Status};
use parking_lot::Mutex;
use rockstar_core::assignment::FailurePolicy::{self, Closed};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a plugin may be down outside a planned hold.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the operator's word outlives its stream.
const KEEP_READY_TTL: Duration = Duration::from_secs(60);

/// Remembers since when plugins are down.
#[derive(Debug, Default)]
pub struct Readiness {
    down: Mutex<BTreeMap<String, Instant>>,
    /// When the pod began to end, as its kubelet said.
    ending: Mutex<Option<Instant>>,
    keep: Mutex<KeepReady>,
    served: watch::Sender<bool>,
}

/// The operator's word that most instances have the same failure, so that it helps nobody to leave.
#[derive(Debug, Default)]
struct KeepReady {
    said: bool,
    /// When the word of a stream that ended is void.
    until: Option<Instant>,
}

impl KeepReady {
    const fn say(&mut self, said: bool) {
        *self = Self { said, until: None };
    }

    /// Begins the time in which an operator may come back; where it has begun before, it goes on.
    fn end_stream(&mut self, now: Instant) {
        self.until.get_or_insert(now + KEEP_READY_TTL);
    }

    fn holds(&self, now: Instant) -> bool {
        self.said && self.until.is_none_or(|until| now < until)
    }
}

impl Readiness {
    /// `served`: this instance was ready before, under a process before this one.
    #[must_use]
    pub fn new(served: bool) -> Self {
        Self { served: watch::Sender::new(served), ..Self::default() }
    }

    /// The pod begins to end. That alone changes nothing: anybody in the network may say so.
    pub fn drain(&self, now: Instant) {
        self.ending.lock().get_or_insert(now);
    }

    /// Since when the pod ends, for one who was told to stop now and has `grace` from then. What was said longer ago than
    /// that was not about this end.
    #[must_use]
    pub fn ending_since(&self, now: Instant, grace: Duration) -> Instant {
        self.ending.lock().filter(|since| now.duration_since(*since) <= grace).unwrap_or(now)
    }

    pub fn keep(&self, keep: bool) {
        let mut word = self.keep.lock();
        let before = word.said;
        word.say(keep);
        match (before, keep) {
            (false, true) => tracing::warn!("Stays ready by the operator's word: most instances have the same failure"),
            (true, false) => tracing::info!("Is ready by its own plugins' word again"),
            _ => {}
        }
    }

    /// The stream to the operator ended, or there is none: its word holds for a while.
    pub fn end_stream(&self, now: Instant) {
        self.keep.lock().end_stream(now);
    }

    /// Reasons against, as the kubelet is told: none while the operator says that it helps nobody to leave.
    pub fn reasons_to_leave(&self, manager: &Manager, now: Instant) -> Vec<String> {
        let reasons = self.reasons(manager, now);
        if self.keep.lock().holds(now) && self.may_be_kept(manager) { vec![] } else { reasons }
    }

    /// Tells whether the operator's word counts: where nothing served yet, or requests have no plugin to pass by, whoever
    /// rolls out the application must see it.
    fn may_be_kept(&self, manager: &Manager) -> bool {
        let is_missing = |slot: &Arc<Slot>| slot.state().missing && slot.policies().failure_policy == Closed;
        let registry = manager.registry();
        *self.served.borrow() && *registry.ready().borrow() && !registry.slots().values().any(is_missing)
    }

    /// Waits until this instance was ready once.
    pub async fn until_served(&self) {
        let mut served = self.served.subscribe();
        // The sender is this.
        served.wait_for(|served| *served).await.ok();
    }

    fn note_served(&self, reasons: &[String]) {
        if reasons.is_empty() {
            self.served.send_if_modified(|served| !std::mem::replace(served, true));
        }
    }

    /// Reasons against; none = ready.
    pub fn reasons(&self, manager: &Manager, now: Instant) -> Vec<String> {
        if !*manager.registry().ready().borrow() {
            return vec!["the first plugin set has not run yet".to_owned()];
        }
        let spared = manager.newcomers() == Newcomers::Spared;
        let is_spared = |info: &PluginInfo| spared && info.newcomer && !info.state.missing;
        let list: Vec<_> = manager.list().into_iter().filter(|info| !is_spared(info)).collect();
        let list: Vec<_> = list.iter().map(|info| (info, Availability::of(info))).collect();
        let mut down = self.down.lock();
        down.retain(|name, _| list.iter().any(|(info, availability)| info.name == *name && availability.is_down()));
        let reasons: Vec<_> = list
            .iter()
            .filter(|(_, availability)| availability.is_down())
            .filter(|(info, availability)| {
                now.duration_since(*down.entry(info.name.clone()).or_insert(now)) >= availability.patience()
            })
            .map(|(info, _)| format!("plugin '{}' is down (status {})", info.name, info.state.status.name()))
            .collect();
        self.note_served(&reasons);
        reasons
    }
}

/// What readiness asks of one plugin.
#[derive(Clone, Copy, Debug)]
pub struct Availability {
    pub failure_policy: FailurePolicy,
    pub status: Status,
    pub enabled: bool,
    /// A version of it runs, or should.
    pub has_target: bool,
    /// It was set aside, and requests would pass by it.
    pub missing: bool,
    /// How long a planned reload may hold requests back.
    pub queue_timeout: Duration,
}

impl Availability {
    fn of(info: &PluginInfo) -> Self {
        let target = info.target.as_ref();
        Self {
            failure_policy: info.failure_policy,
            status: info.state.status,
            enabled: info.state.enabled,
            has_target: target.is_some(),
            missing: info.state.missing,
            queue_timeout: target.map_or(Duration::ZERO, |target| target.assignment.policies.reload.queue.timeout),
        }
    }

    /// Tells of a Closed plugin that is part of what should run whether it cannot answer.
    #[must_use]
    pub fn is_down(&self) -> bool {
        let is_wanted = self.has_target && (self.enabled || self.status == Status::Error) || self.missing;
        self.failure_policy == Closed && is_wanted && self.status != Status::Running
    }

    /// How long it may be down; one of which nothing ever served here protects no request.
    #[must_use]
    pub fn patience(&self) -> Duration {
        match self.status {
            _ if self.missing => Duration::ZERO,
            Status::Loading | Status::Initialized => self.queue_timeout.max(PATIENCE),
            _ => PATIENCE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_to_stay_ready_holds_while_the_stream_does_and_a_minute_longer() {
        let (mut word, now) = (KeepReady::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(!word.holds(now));
        word.say(true);
        assert!(word.holds(at(3600)));
        word.end_stream(at(3600));
        // What cannot connect ends no stream of which anybody heard anything.
        word.end_stream(at(3650));
        assert!(word.holds(at(3659)) && !word.holds(at(3660)));
        word.say(true);
        assert!(word.holds(at(9999)), "it is said anew on the next stream");
        word.say(false);
        word.end_stream(at(9999));
        assert!(!word.holds(at(9999)));
    }
}
