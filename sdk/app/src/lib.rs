//! Leads an application's HTTP requests through the plugins of its sidecar: one tower layer around any axum or hyper
//! service. A request that no plugin listens to costs no call.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tower::Layer;
//!
//! # async fn f() -> std::io::Result<()> {
//! let mut app = Router::new().route("/", get(|| async { "hello" }));
//! // None where the application runs without a sidecar.
//! if let Some(plugins) = rockstar_app::RockstarLayer::from_env() {
//!     // Around the whole router, not `Router::layer`: plugins may send a request to another path.
//!     app = Router::new().fallback_service(plugins.layer(app));
//! }
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8000").await?, app).await
//! # }
//! ```
//!
//! It fails closed: while the sidecar cannot be reached, a request that a plugin with failure policy Closed listens to
//! is answered with 503 after at most five seconds.
//!
//! Plugins see bodies of known length up to 64 KiB, and replace any; larger and streamed ones, such as server-sent events,
//! pass unseen: hooks run before the response's head is written, and post_response hooks when the last byte is. The same
//! holds for an upgraded connection, whose bytes are nobody's but the application's. Trailers pass as they are.
//! A path that a plugin serves itself is the exception: there the plugin reads a body of any size as it comes, if it said so
//! for that route; else the client of such a request gets 413, since the plugin would have to answer without it.
//!
//! While a plugin with middleware is reloaded, it waits for the requests that are in the application's handlers. A handler
//! that calls its own application says so by [`Cause`], so that the two do not wait for each other.

mod answer;
mod body;
mod call;
mod client;
mod events;
mod exchange;
mod interests;
mod lane;
mod layer;
mod message;
mod metrics;
mod services;
mod transfer;
mod values;

pub use body::{Body, BoxError};
pub use call::CallError;
pub use client::Client;
pub use events::{Event, Events, Subscription};
pub use layer::{Rockstar, RockstarLayer};
pub use metrics::MetricsError;
pub use services::{ServiceInfo, Services};
pub use values::{Cause, ContextValues, Peer};
