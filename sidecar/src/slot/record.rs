//! What happened in a plugin: hook executions, errors, the last load. Counters are atomics, so that the hot path
//! takes no lock. Memory only.

use super::{incidents::Incidents, threshold::Threshold};
use parking_lot::Mutex;
use rockstar_core::{
    manifest::HookType,
    text::{MAX_FAILURE, bounded},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// How a counted piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    Success,
    Error(&'a str),
}

/// The record of one plugin. It outlives reloads.
#[derive(Debug)]
pub struct Record {
    plugin: String,
    /// Acts on too many errors.
    pub threshold: Threshold,
    incidents: Arc<Incidents>,
    hooks: [Hook; HookType::ALL.len()],
    errors: AtomicU64,
    last_error: Mutex<Option<(String, SystemTime)>>,
    load: Mutex<Option<LoadRecord>>,
    start: Mutex<Option<Duration>>,
}

#[derive(Debug, Default)]
struct Hook {
    executions: AtomicU64,
    errors: AtomicU64,
    total_ns: AtomicU64,
    last_ns: AtomicU64,
}

/// The last load: from the first step of fetching to the answered handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadRecord {
    pub success: bool,
    pub took: Duration,
    pub at: SystemTime,
}

/// Executions of one hook type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookMetrics {
    pub hook: HookType,
    pub executions: u64,
    pub errors: u64,
    pub total: Duration,
    pub last: Duration,
}

impl HookMetrics {
    #[must_use]
    pub fn average(&self) -> Duration {
        u32::try_from(self.executions).ok().and_then(|n| self.total.checked_div(n)).unwrap_or_default()
    }
}

/// A reading of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub errors: u64,
    pub last_error: Option<(String, SystemTime)>,
    /// Hook types that were executed at least once, or that the plugin listens to.
    pub hooks: Vec<HookMetrics>,
    pub load: Option<LoadRecord>,
    /// How long the last successful Start took.
    pub start: Option<Duration>,
}

impl Record {
    pub(super) fn new(plugin: &str, incidents: Arc<Incidents>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            threshold: Threshold::new(plugin),
            incidents,
            hooks: Default::default(),
            errors: AtomicU64::new(0),
            last_error: Mutex::default(),
            load: Mutex::default(),
            start: Mutex::default(),
        }
    }

    /// Counts one execution of a hook, its error included.
    pub fn hook(&self, hook: HookType, took: Duration, outcome: Outcome<'_>) {
        let counters = &self.hooks[hook as usize];
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counters.executions.fetch_add(1, Relaxed);
        counters.total_ns.fetch_add(ns, Relaxed);
        counters.last_ns.store(ns, Relaxed);
        if let Outcome::Error(_) = outcome {
            counters.errors.fetch_add(1, Relaxed);
        }
        self.call(outcome);
    }

    /// Counts a call that is no hook's: of middleware, a route, an event, a service.
    pub fn call(&self, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Success => self.threshold.success(),
            Outcome::Error(text) => self.error(text),
        }
    }

    /// Counts an error outside of hooks, or one that `hook` did not see.
    pub fn error(&self, text: &str) {
        let now = SystemTime::now();
        self.errors.fetch_add(1, Relaxed);
        *self.last_error.lock() = Some((bounded(text, MAX_FAILURE), now));
        self.incidents.error(&self.plugin, now);
        if self.threshold.error() {
            self.incidents.exceed();
        }
    }

    pub fn loaded(&self, load: LoadRecord) {
        *self.load.lock() = Some(load);
    }

    pub fn started(&self, took: Duration) {
        *self.start.lock() = Some(took);
    }

    /// Reads everything; `listens` names the hook types that are shown even if they never ran.
    #[must_use]
    pub fn health(&self, listens: &[HookType]) -> Health {
        Health {
            errors: self.errors.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            hooks: HookType::ALL
                .into_iter()
                .map(|h| self.hooks[h as usize].read(h))
                .filter(|m| m.executions > 0 || listens.contains(&m.hook))
                .collect(),
            load: *self.load.lock(),
            start: *self.start.lock(),
        }
    }
}

impl Hook {
    fn read(&self, hook: HookType) -> HookMetrics {
        HookMetrics {
            hook,
            executions: self.executions.load(Relaxed),
            errors: self.errors.load(Relaxed),
            total: Duration::from_nanos(self.total_ns.load(Relaxed)),
            last: Duration::from_nanos(self.last_ns.load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_errors_and_durations_add_up() {
        let record = Record::new("p", Arc::default());
        record.hook(HookType::PreRequest, Duration::from_millis(10), Outcome::Success);
        record.hook(HookType::PreRequest, Duration::from_millis(30), Outcome::Error("bad"));
        let health = record.health(&[]);
        let [hook] = health.hooks[..] else { panic!("one hook type ran") };
        assert_eq!((hook.executions, hook.errors, hook.average()), (2, 1, Duration::from_millis(20)));
        assert_eq!(hook.last, Duration::from_millis(30));
        assert_eq!((health.errors, health.last_error.unwrap().0.as_str()), (1, "bad"));
    }

    #[test]
    fn a_hook_that_never_ran_averages_zero() {
        let health = Record::new("p", Arc::default()).health(&[HookType::Error]);
        assert_eq!(health.hooks[0].average(), Duration::ZERO);
    }
}
