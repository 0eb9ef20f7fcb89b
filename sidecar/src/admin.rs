//! Metrics, health and admin calls over HTTP. Admin calls come from loopback where there is no pod; in a pod, where
//! loopback is everybody's, they need the token of the private directory. Does I/O.

mod changes;
mod doorman;
mod queries;
mod token;
mod view;

pub use token::Token;

use crate::{authority::Authority, manager::Manager, metrics, readiness::Readiness};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
    serve::ListenerExt,
};
use doorman::Doorman;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::net::TcpListener;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Admin {
    pub manager: Arc<Manager>,
    pub authority: Authority,
    pub readiness: Arc<Readiness>,
    /// None: loopback is enough.
    pub token: Option<Arc<Token>>,
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, admin: Admin) -> std::io::Result<()> {
    let listener = Doorman { listener, manager: Arc::clone(&admin.manager) };
    let service = routes(admin).into_make_service_with_connect_info::<SocketAddr>();
    // Only through `tap_io` a connection tells its address.
    axum::serve(listener.tap_io(|_| {}), service).await
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
        .route_layer(middleware::from_fn_with_state(admin.clone(), allowed));
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/drain", get(drain).post(drain))
        .merge(guarded)
        .with_state(admin)
}

async fn allowed(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let allowed = match &admin.token {
        None => peer.ip().is_loopback(),
        Some(token) => given.and_then(|v| v.strip_prefix("Bearer ")).is_some_and(|t| token.is(t)),
    };
    match allowed {
        true => next.run(request).await,
        false => {
            fault(StatusCode::FORBIDDEN, "admin calls need the sidecar's token, or loopback where there is no pod")
        }
    }
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
