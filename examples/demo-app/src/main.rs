//! A small web application that lets the plugins of its sidecar take part in each request, except in `/healthz`.

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, Request},
    http::HeaderMap,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use clap::Parser;
use rockstar_app::{ContextValues, Peer, RockstarLayer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tower::Layer;

#[derive(Debug, Parser)]
#[command(version, about = "A demo application for Rockstar plugins")]
struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "ADDR", default_value = "0.0.0.0:8000")]
    addr: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let listener = TcpListener::bind(args.addr).await.with_context(|| format!("failed to listen on {}", args.addr))?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = app(RockstarLayer::from_env()).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(asked_to_end()?).await.context("failed to serve")
}

fn app(plugins: Option<RockstarLayer>) -> Router {
    let pages = Router::new().route("/", get(index)).route("/hello/{name}", get(hello));
    // A probe must not depend on plugins.
    let app = Router::new().route("/healthz", get(|| async { "ok" }));
    match plugins {
        // Around all pages, so that plugins may send a request to another one.
        Some(plugins) => app.fallback_service(plugins.layer(pages)).layer(middleware::from_fn(peer)),
        None => {
            tracing::warn!("ROCKSTAR_SOCKET is not set: serving without plugins");
            app.merge(pages)
        }
    }
}

async fn index() -> Json<Value> {
    Json(json!({ "app": "demo-app", "try": ["/hello/world", "/healthz"] }))
}

async fn hello(Path(name): Path<String>, headers: HeaderMap, request: Request) -> Json<Value> {
    let values = request.extensions().get::<ContextValues>();
    let user = values.filter(|v| v.set_by("user") == Some("auth-plugin")).and_then(|v| v.get("user"));
    let agent = headers.get("user-agent").and_then(|v| v.to_str().ok());
    Json(json!({ "hello": name, "user": user, "agent": agent }))
}

/// Tells the plugins who calls.
async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Peer(address));
    next.run(request).await
}

/// Ready at SIGTERM, as pods get it, or Ctrl-C.
fn asked_to_end() -> Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
