//! Events and service calls of one plugin, counted. They outlive reloads. Memory only.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Traffic {
    published: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    unpublished: AtomicU64,
    services: Mutex<BTreeMap<String, ServiceCalls>>,
}

/// Calls of one exported service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCalls {
    pub calls: u64,
    pub errors: u64,
}

/// A reading of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficReading {
    /// Events that the plugin published.
    pub published: u64,
    /// Events that its handlers took.
    pub delivered: u64,
    /// Events that a handler failed on.
    pub failed: u64,
    /// Events that it never saw: its queue was full, or it went away.
    pub dropped: u64,
    /// Events that it published and the engine did not get.
    pub unpublished: u64,
    pub services: BTreeMap<String, ServiceCalls>,
}

impl Traffic {
    pub fn published(&self) {
        self.published.fetch_add(1, Relaxed);
    }

    pub fn handled(&self, success: bool) {
        let counter = if success { &self.delivered } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }

    /// Gives how many were dropped so far.
    pub fn dropped(&self, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.dropped.fetch_add(count, Relaxed) + count
    }

    /// Gives how many were lost so far.
    pub fn unpublished(&self, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.unpublished.fetch_add(count, Relaxed) + count
    }

    /// Counts a call of a service that the plugin exports.
    pub fn called(&self, service: &str, success: bool) {
        let mut services = self.services.lock();
        if !services.contains_key(service) {
            services.insert(service.to_owned(), ServiceCalls::default());
        }
        if let Some(counters) = services.get_mut(service) {
            counters.calls += 1;
            counters.errors += u64::from(!success);
        }
    }

    #[must_use]
    pub fn read(&self) -> TrafficReading {
        TrafficReading {
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            unpublished: self.unpublished.load(Relaxed),
            services: self.services.lock().clone(),
        }
    }
}
