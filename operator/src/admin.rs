//! Health and metrics over plain HTTP. I/O: sockets.

use crate::{certificates::tls::Tls, leadership::Leadership, metrics::Metrics, namespaces::Namespaces};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{future::IntoFuture, io, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

const DEADLINE: Duration = Duration::from_secs(5);
/// So long a new replica is not ready before its watches are in sync.
const SYNC_GRACE: Duration = Duration::from_secs(15);

/// What is told.
#[derive(Clone, Debug)]
pub struct Admin {
    pub metrics: Metrics,
    pub tls: Arc<Tls>,
    pub leadership: watch::Receiver<Leadership>,
    /// Whether this replica sees the cluster as it is.
    pub fit: watch::Receiver<bool>,
    pub namespaces: Namespaces,
    pub began: Instant,
}

/// Serves until `stop`.
///
/// # Errors
/// If the socket fails.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> io::Result<()> {
    let serving = axum::serve(listener, router(admin)).into_future();
    tokio::select! {
        served = serving => served,
        () = stop.cancelled() => Ok(()),
    }
}

/// A follower is as ready as the leader: it serves the webhooks and sends sidecars on to the leader. Neither needs the
/// watches, so that they are waited for only a while: a pod can be made also where they do not get in sync.
fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, DEADLINE))
        .with_state(admin)
}

async fn ready(State(admin): State<Admin>) -> Response {
    if *admin.fit.borrow() || admin.began.elapsed() >= SYNC_GRACE {
        return "ok".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the watches of the API server are not in sync yet").into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.metrics.set_leading(admin.leadership.borrow().is_leading());
    admin.metrics.set_held_namespaces(admin.namespaces.held());
    admin.metrics.set_certificate_end(admin.tls.leaf_ends());
    match admin.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
