//! What a plugin measures itself: counters, gauges, histograms under names of its own choice, so many at most. They
//! outlive reloads. Memory only.

use parking_lot::Mutex;
use prometheus::{Counter, Gauge, Histogram, HistogramOpts, Opts, core::Collector, proto::MetricFamily};
use rockstar_proto::plugin::{Record, record::Kind};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Of one plugin. A name made up for each user would fill any memory.
const MAX_METERS: usize = 200;
const MAX_NAME: usize = 128;

/// See the module.
#[derive(Debug)]
pub struct Meters {
    plugin: String,
    /// By the name that Prometheus sees.
    meters: Mutex<BTreeMap<String, Meter>>,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Meter {
    /// As the plugin says it.
    name: String,
    kind: Meterable,
}

#[derive(Debug)]
enum Meterable {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum MeterError {
    #[error("metric '{0}': names that begin with plugin. are the framework's")]
    Reserved(String),
    #[error("metric '{0}': a name is made of letters, digits, dots and underscores, up to {MAX_NAME}")]
    Name(String),
    #[error("metric '{0}': a plugin may have {MAX_METERS} metrics")]
    Full(String),
    #[error("metric '{0}': it is of another type already")]
    Kind(String),
    #[error("metric '{name}': {number} cannot be recorded")]
    Number { name: String, number: String },
}

impl Meters {
    pub(super) fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), meters: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Records one value; what cannot be taken is counted, and logged ever more seldom.
    pub fn take(&self, record: &Record) {
        let Err(error) = self.record(record.kind(), &record.name, record.number) else { return };
        let refused = self.refused.fetch_add(1, Relaxed) + 1;
        if refused.is_power_of_two() {
            let plugin = self.plugin.as_str();
            tracing::warn!(plugin, refused, "Plugin {plugin} recorded what is not taken ({refused} so far): {error}");
        }
    }

    fn record(&self, kind: Kind, name: &str, number: f64) -> Result<(), MeterError> {
        let unfit = || MeterError::Number { name: name.to_owned(), number: number.to_string() };
        if !number.is_finite() || (kind == Kind::Counter && number < 0.0) {
            return Err(unfit());
        }
        let key = exposed(name)?;
        let mut meters = self.meters.lock();
        let full = meters.len() >= MAX_METERS;
        let meter = match meters.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if full => return Err(MeterError::Full(name.to_owned())),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let made = Meterable::new(kind, entry.key(), name, &self.plugin);
                let kind = made.map_err(|_| MeterError::Name(name.to_owned()))?;
                entry.insert(Meter { name: name.to_owned(), kind })
            }
        };
        match (&meter.kind, kind) {
            // An increment that says nothing is one by one.
            (Meterable::Counter(counter), Kind::Counter) => counter.inc_by(if number == 0.0 { 1.0 } else { number }),
            (Meterable::Gauge(gauge), Kind::Gauge) => gauge.set(number),
            (Meterable::Histogram(histogram), Kind::Histogram) => histogram.observe(number),
            _ => return Err(MeterError::Kind(name.to_owned())),
        }
        Ok(())
    }

    /// How many values were not taken.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// One family a name, labelled with the plugin.
    #[must_use]
    pub fn collect(&self) -> Vec<MetricFamily> {
        self.meters.lock().values().flat_map(|meter| meter.kind.collect()).collect()
    }

    /// By the plugin's own names; a histogram is its count and its sum.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        self.meters.lock().values().map(|meter| (meter.name.clone(), meter.kind.to_json())).collect()
    }
}

impl Meterable {
    fn new(kind: Kind, key: &str, name: &str, plugin: &str) -> prometheus::Result<Self> {
        let help = format!("Recorded by plugins as {name}.");
        Ok(match kind {
            Kind::Gauge => Self::Gauge(Gauge::with_opts(Opts::new(key, help).const_label("plugin", plugin))?),
            Kind::Histogram => {
                Self::Histogram(Histogram::with_opts(HistogramOpts::new(key, help).const_label("plugin", plugin))?)
            }
            _ => Self::Counter(Counter::with_opts(Opts::new(key, help).const_label("plugin", plugin))?),
        })
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self {
            Self::Counter(counter) => counter.collect(),
            Self::Gauge(gauge) => gauge.collect(),
            Self::Histogram(histogram) => histogram.collect(),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Counter(counter) => json!(counter.get()),
            Self::Gauge(gauge) => json!(gauge.get()),
            Self::Histogram(histogram) => {
                json!({"count": histogram.get_sample_count(), "sum": histogram.get_sample_sum()})
            }
        }
    }
}

/// `myplugin.queue.size` is `rockstar_myplugin_queue_size`.
fn exposed(name: &str) -> Result<String, MeterError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        return Err(MeterError::Name(name.chars().take(MAX_NAME).collect()));
    }
    let name_there = name.replace('.', "_");
    if name_there == "plugin" || name_there.starts_with("plugin_") {
        return Err(MeterError::Reserved(name.to_owned()));
    }
    Ok(format!("rockstar_{name_there}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_recorded_under_its_name() {
        let meters = Meters::new("p");
        for (kind, name, number) in [
            (Kind::Counter, "my.total", 0.0),
            (Kind::Counter, "my.total", 2.0),
            (Kind::Gauge, "my.size", 4.5),
            (Kind::Gauge, "my.size", -1.0),
            (Kind::Histogram, "my.duration", 0.25),
        ] {
            assert_eq!(meters.record(kind, name, number), Ok(()));
        }
        let expected = json!({"my.total": 3.0, "my.size": -1.0, "my.duration": {"count": 1, "sum": 0.25}});
        assert_eq!(Value::Object(meters.to_json()), expected);
        let names: Vec<_> = meters.collect().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(names, ["rockstar_my_duration", "rockstar_my_size", "rockstar_my_total"]);
    }

    #[test]
    fn the_frameworks_names_are_not_for_plugins() {
        let meters = Meters::new("p");
        for name in ["plugin.error.count", "plugin_error_count", "plugin"] {
            assert_eq!(meters.record(Kind::Gauge, name, 1.0), Err(MeterError::Reserved(name.into())));
        }
        assert_eq!(meters.record(Kind::Gauge, "plugins.mine", 1.0), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let meters = Meters::new("p");
        for name in ["", "a b", "ä", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(meters.record(Kind::Gauge, name, 1.0), Err(MeterError::Name(_))), "{name}");
        }
        assert!(matches!(meters.record(Kind::Counter, "c", -1.0), Err(MeterError::Number { .. })));
        assert!(matches!(meters.record(Kind::Gauge, "c", f64::NAN), Err(MeterError::Number { .. })));
        assert_eq!(meters.record(Kind::Gauge, "g", 1.0), Ok(()));
        assert_eq!(meters.record(Kind::Counter, "g", 1.0), Err(MeterError::Kind("g".into())));
    }

    #[test]
    fn the_number_of_metrics_is_bounded_and_the_excess_counted() {
        let meters = Meters::new("p");
        for n in 0..MAX_METERS + 3 {
            let name = format!("user.{n}");
            meters.take(&Record { kind: Kind::Counter.into(), name, number: 1.0, ..Record::default() });
        }
        assert_eq!((meters.collect().len(), meters.refused()), (MAX_METERS, 3));
    }
}
