//! The operator's own metrics; other parts add theirs to the same registry. No I/O.

use crate::namespaces::Held;
use prometheus::{Encoder, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    leading: IntGauge,
    certificate_ends: IntGauge,
    reviews: IntCounterVec,
    held_namespaces: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    /// If a name is used twice, which is a defect.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let leading = IntGauge::new("rockstar_plugin_operator_leader", "1 if this replica leads")?;
        let certificate_ends = IntGauge::new(
            "rockstar_plugin_operator_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends",
        )?;
        let reviews = Opts::new("rockstar_plugin_operator_reviews", "Objects that the webhooks were asked about");
        let reviews = IntCounterVec::new(reviews, &["kind", "result"])?;
        let held = Opts::new(
            "rockstar_plugin_operator_held_namespaces",
            "Namespaces in which nothing is done, because they cannot be read or another operator owns them",
        );
        let held_namespaces = IntGaugeVec::new(held, &["reason"])?;
        registry.register(Box::new(held_namespaces.clone()))?;
        registry.register(Box::new(leading.clone()))?;
        registry.register(Box::new(certificate_ends.clone()))?;
        registry.register(Box::new(reviews.clone()))?;
        Ok(Self { registry, leading, certificate_ends, reviews, held_namespaces })
    }

    /// For what others measure.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    pub fn set_certificate_end(&self, seconds: i64) {
        self.certificate_ends.set(seconds);
    }

    pub fn set_held_namespaces(&self, held: Held) {
        let set = |reason: &str, count: usize| {
            self.held_namespaces.with_label_values(&[reason]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set("Unreadable", held.unreadable);
        set("NamespaceOwned", held.owned_by_others);
    }

    pub(crate) fn reviewed(&self, kind: &str, result: &str) {
        self.reviews.with_label_values(&[kind, result]).inc();
    }

    /// In Prometheus' text form.
    ///
    /// # Errors
    /// If a metric cannot be written.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
