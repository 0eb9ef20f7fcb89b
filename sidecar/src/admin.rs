//! Metrics, health and admin calls over HTTP. Admin calls need the token of the private directory; see `access`. Does I/O.

mod access;
mod changes;
mod queries;
mod server;
mod token;
mod view;

pub use token::{Announcement, Token};

use crate::{authority::Authority, manager::Manager, metrics, readiness::Readiness};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::net::TcpListener;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Admin {
    pub manager: Arc<Manager>,
    pub authority: Authority,
    pub readiness: Arc<Readiness>,
    pub token: Arc<Token>,
    /// Whether this is no pod: browsers reach loopback, and a reload needs no token.
    pub standalone: bool,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    remote: SocketAddr,
    local: SocketAddr,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, admin: Admin) -> std::io::Result<()> {
    let router = routes(admin.clone());
    server::serve(listener, admin, router).await
}

fn routes(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/admin/plugins", get(queries::list).post(changes::load))
        .route("/admin/plugins/{name}", get(queries::get).delete(changes::unload))
        .route("/admin/plugins/{name}/reload", post(changes::reload))
        .route("/admin/plugins/{name}/health", get(queries::health))
        .route("/admin/plugins/{name}/metrics", get(queries::measured))
        .route("/admin/plugins/{name}/error-threshold", put(changes::set_threshold))
        .route("/admin/health", get(queries::all_health))
        .route("/admin/graph", get(queries::graph))
        .route("/admin/load", post(changes::load_file))
        .route("/admin/initialize", post(changes::initialize))
        .route("/admin/start", post(changes::start))
        .route("/admin/stop", post(changes::stop))
        .route_layer(middleware::from_fn_with_state(admin.clone(), access::allowed));
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/drain", get(drain).post(drain))
        .merge(guarded)
        .layer(middleware::from_fn_with_state(admin.clone(), access::refuse_pages))
        .with_state(admin)
}

async fn scrape(State(admin): State<Admin>) -> Response {
    match metrics::text(&admin.manager) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => fault(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.readiness.reasons_to_leave(&admin.manager, Instant::now()) {
        reasons if reasons.is_empty() => "ok".into_response(),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")).into_response(),
    }
}

/// Plugins are not waited for: one whose Start calls the application would wait for itself.
async fn started(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.authority.is_known() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no plugin set yet"),
    }
}

async fn drain(State(admin): State<Admin>) -> StatusCode {
    admin.readiness.drain(Instant::now());
    StatusCode::NO_CONTENT
}

fn fault(code: StatusCode, text: &str) -> Response {
    (code, Json(json!({"error": text}))).into_response()
}
