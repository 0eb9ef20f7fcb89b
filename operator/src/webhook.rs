//! The admission webhooks: HTTPS in front of the injector and the validation. I/O: sockets, and the API server for what
//! surrounds an object.

mod pods;
mod resources;
mod review;
pub mod server;
mod surroundings;

use crate::{certificates::publish::Publisher, injector::Settings, metrics::Metrics, namespaces::Namespaces};
use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use kube::Client;
use review::{Answer, answer};
use std::{sync::Arc, time::Duration};
use tower_http::timeout::TimeoutLayer;

/// An object of 1.5 MiB (what etcd takes) twice, old and new, and some more.
const MAX_BODY: usize = 8 << 20;
/// Below the 10 s after which the API server gives up.
const DEADLINE: Duration = Duration::from_secs(8);

/// What the handlers work with.
#[derive(Clone, Debug)]
pub struct Webhooks {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    injector: Settings,
    publisher: Publisher,
    metrics: Metrics,
    namespaces: Namespaces,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("injector", &self.injector).finish_non_exhaustive()
    }
}

impl Webhooks {
    #[must_use]
    pub fn new(
        client: Client,
        injector: Settings,
        publisher: Publisher,
        metrics: Metrics,
        namespaces: Namespaces,
    ) -> Self {
        Self { inner: Arc::new(Inner { client, injector, publisher, metrics, namespaces }) }
    }

    /// The paths that the webhook configurations name.
    pub fn router(self) -> Router {
        Router::new()
            .route("/inject", post(inject))
            .route("/validate-plugin", post(validate_plugin))
            .route("/validate-pluginhost", post(validate_host))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, DEADLINE))
            .with_state(self)
    }
}

async fn inject(State(webhooks): State<Webhooks>, body: axum::body::Bytes) -> Answer {
    answer(&webhooks.inner.metrics, "pod", &body, async |request| pods::inject(&webhooks.inner, request).await).await
}

async fn validate_plugin(State(webhooks): State<Webhooks>, body: axum::body::Bytes) -> Answer {
    let client = &webhooks.inner.client;
    answer(&webhooks.inner.metrics, "plugin", &body, async |request| resources::plugin(client, request).await).await
}

async fn validate_host(State(webhooks): State<Webhooks>, body: axum::body::Bytes) -> Answer {
    let client = &webhooks.inner.client;
    answer(&webhooks.inner.metrics, "pluginhost", &body, async |request| resources::host(client, request).await).await
}

#[cfg(test)]
mod tests;
