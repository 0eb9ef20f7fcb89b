//! Events and service calls of the plugins, in Prometheus form. Memory only.

use crate::{registry::Slots, slot::TrafficReading};
use prometheus::{IntCounterVec, Opts, Registry};

/// Adds the counters of all plugins.
pub(super) fn gather(registry: &Registry, slots: &Slots) -> Result<(), prometheus::Error> {
    let counters = Counters::new(registry)?;
    for slot in slots.values() {
        counters.plugin(slot.name(), &slot.traffic.read());
    }
    Ok(())
}

struct Counters {
    published: IntCounterVec,
    delivered: IntCounterVec,
    failed: IntCounterVec,
    dropped: IntCounterVec,
    unpublished: IntCounterVec,
    calls: IntCounterVec,
    errors: IntCounterVec,
}

impl Counters {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(format!("rockstar_plugin_{name}"), help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok::<_, prometheus::Error>(family)
        };
        let (plugin, service) = (&["plugin"][..], &["plugin", "service"][..]);
        Ok(Self {
            published: counter("event_published_count", "Events that the plugin published.", plugin)?,
            delivered: counter("event_delivered_count", "Events that the plugin's handlers took.", plugin)?,
            failed: counter("event_error_count", "Events that a handler of the plugin failed on.", plugin)?,
            dropped: counter("event_dropped_count", "Events for the plugin that it never saw.", plugin)?,
            unpublished: counter(
                "event_unpublished_count",
                "Events of the plugin that the engine did not get.",
                plugin,
            )?,
            calls: counter("service_calls", "Calls of the plugin's services.", service)?,
            errors: counter("service_error_count", "Calls of the plugin's services that failed.", service)?,
        })
    }

    fn plugin(&self, plugin: &str, traffic: &TrafficReading) {
        let events = [
            (&self.published, traffic.published),
            (&self.delivered, traffic.delivered),
            (&self.failed, traffic.failed),
            (&self.dropped, traffic.dropped),
            (&self.unpublished, traffic.unpublished),
        ];
        for (counter, count) in events.into_iter().filter(|(_, count)| *count > 0) {
            counter.with_label_values(&[plugin]).inc_by(count);
        }
        for (service, counted) in &traffic.services {
            self.calls.with_label_values(&[plugin, service]).inc_by(counted.calls);
            self.errors.with_label_values(&[plugin, service]).inc_by(counted.errors);
        }
    }
}
