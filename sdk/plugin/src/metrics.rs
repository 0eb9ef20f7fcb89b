//! What the plugin measures: counters, gauges and histograms that the host exposes with the plugin's name, and what is
//! measured of plugins. Recording never waits.

use crate::{HostError, Value, host::Host, telemetry::Telemetry};
use rockstar_proto::{
    plugin::{KeyValueRequest, Record, key_value_request::Operation, record},
    types,
};

/// Clones share all.
///
/// ```
/// # use rockstar_plugin::{Result, testing::MockPluginContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let ctx = mock.context();
/// let metrics = ctx.metrics();
/// metrics.increment_counter("myplugin.requests.total");
/// metrics.record_gauge("myplugin.queue.size", 17.0);
/// metrics.record_histogram("myplugin.request.duration", 0.25);
/// # let measured = mock.metrics().await;
/// # assert_eq!((measured["myplugin.requests.total"], measured["myplugin.queue.size"]), (1.0, 17.0));
/// # assert_eq!(measured["myplugin.request.duration"], 0.25);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    telemetry: Telemetry,
    host: Host,
}

impl Metrics {
    pub(crate) const fn new(telemetry: Telemetry, host: Host) -> Self {
        Self { telemetry, host }
    }

    /// `myplugin.requests.total` is exposed as `rockstar_myplugin_requests_total`. Names that begin with `plugin.` are
    /// the framework's.
    pub fn increment_counter(&self, name: &str) {
        self.add_to_counter(name, 1.0);
    }

    /// What is not above 0 is left out.
    pub fn add_to_counter(&self, name: &str, by: f64) {
        if by > 0.0 {
            self.record(record::Kind::Counter, name, by);
        }
    }

    pub fn record_gauge(&self, name: &str, value: f64) {
        self.record(record::Kind::Gauge, name, value);
    }

    /// Seconds, as Prometheus has them: the buckets reach from 5 ms to 10 s.
    pub fn record_histogram(&self, name: &str, value: f64) {
        self.record(record::Kind::Histogram, name, value);
    }

    /// What is measured of any plugin of this host, by dotted names: an object, ready for JSON.
    pub async fn get_plugin_metrics(&self, plugin: &str) -> Result<Value, HostError> {
        let operation = Operation::Get.into();
        let request = KeyValueRequest { operation, key: plugin.to_owned(), ..KeyValueRequest::default() };
        let reply = self.host.plugin_metrics(request).await?;
        let value = types::Value::decoded(reply.value).map_err(|error| HostError::Refused(error.to_string()))?;
        Ok(value.to_json())
    }

    fn record(&self, kind: record::Kind, name: &str, number: f64) {
        let record = Record { kind: kind.into(), name: name.to_owned(), number, ..Record::default() };
        self.telemetry.send(record);
    }
}
