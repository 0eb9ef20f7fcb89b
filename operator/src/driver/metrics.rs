//! What the driver and the control stream count. No I/O.

use crate::control::Hub;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct DriverMetrics {
    passes: Histogram,
    failures: IntCounter,
    events: IntCounterVec,
    streams: IntGauge,
}

impl DriverMetrics {
    /// Made and registered.
    ///
    /// # Errors
    /// If a name is used twice, which is a defect.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let passes =
            HistogramOpts::new("rockstar_plugin_operator_pass_duration_seconds", "How long one pass over a host took");
        let events =
            Opts::new("rockstar_plugin_operator_events", "Steps of rollouts, and what kept plugins from running");
        let made = Self {
            passes: Histogram::with_opts(passes)?,
            failures: IntCounter::new("rockstar_plugin_operator_failed_passes", "Passes that ended with an error")?,
            events: IntCounterVec::new(events, &["reason"])?,
            streams: IntGauge::new("rockstar_plugin_operator_streams", "Sidecars that are attached")?,
        };
        registry.register(Box::new(made.passes.clone()))?;
        registry.register(Box::new(made.failures.clone()))?;
        registry.register(Box::new(made.events.clone()))?;
        registry.register(Box::new(made.streams.clone()))?;
        Ok(made)
    }

    pub(super) fn passed(&self, seconds: f64, failed: bool, hub: &Hub) {
        self.passes.observe(seconds);
        self.failures.inc_by(failed.into());
        self.streams.set(i64::try_from(hub.streams()).unwrap_or(i64::MAX));
    }

    pub(super) fn told(&self, reason: &str) {
        self.events.with_label_values(&[reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_free_of_each_other() {
        let registry = Registry::new();
        DriverMetrics::new(&registry).unwrap().told("Promoted");
        let names: Vec<_> = registry.gather().iter().map(|f| f.name().to_owned()).collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.starts_with("rockstar_plugin_operator_")));
        assert!(DriverMetrics::new(&registry).is_err());
    }
}
