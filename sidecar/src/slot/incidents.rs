//! What records tell the rest of the sidecar: that a threshold was exceeded, and each error. One for all plugins of a
//! sidecar, bounded; what nobody fetches in time is counted as lost. Memory only.

use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::SystemTime,
};
use tokio::sync::Notify;

/// Errors kept until they are fetched.
const KEPT: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Incidents {
    exceeded: Notify,
    errors: Mutex<VecDeque<Incident>>,
    lost: AtomicU64,
}

/// One error of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    pub plugin: String,
    pub at: SystemTime,
}

impl Incidents {
    /// Some plugin has exceeded its threshold; which one is seen in the slots.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    pub(super) fn exceed(&self) {
        self.exceeded.notify_one();
    }

    pub(super) fn error(&self, plugin: &str, at: SystemTime) {
        self.keep(Incident { plugin: plugin.to_owned(), at });
    }

    fn keep(&self, incident: Incident) {
        let mut errors = self.errors.lock();
        if errors.len() == KEPT {
            errors.pop_front();
            self.lost.fetch_add(1, Relaxed);
        }
        errors.push_back(incident);
    }

    /// The oldest errors, which are kept no longer.
    pub fn take(&self, most: usize) -> Vec<Incident> {
        let mut errors = self.errors.lock();
        let count = errors.len().min(most);
        errors.drain(..count).collect()
    }

    /// Brings back what could not be used yet, as far as there is room.
    pub fn put_back(&self, incidents: Vec<Incident>) {
        let mut errors = self.errors.lock();
        let room = KEPT.saturating_sub(errors.len());
        let too_many = incidents.len().saturating_sub(room);
        self.lost.fetch_add(too_many as u64, Relaxed);
        for incident in incidents.into_iter().skip(too_many).rev() {
            errors.push_front(incident);
        }
    }

    /// How many were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_lost_and_counted() {
        let incidents = Incidents::default();
        for n in 0..KEPT + 5 {
            incidents.error(&n.to_string(), SystemTime::UNIX_EPOCH);
        }
        let taken = incidents.take(10);
        assert_eq!((taken[0].plugin.as_str(), taken.len(), incidents.lost()), ("5", 10, 5));
        incidents.error("new", SystemTime::UNIX_EPOCH);
        incidents.put_back(taken);
        assert_eq!((incidents.take(1)[0].plugin.as_str(), incidents.lost()), ("6", 6));
    }
}
