//! Write a Rockstar plugin: implement [`Plugin`], call [`run`] from `main`, and put a `plugin.yaml` beside the program.
//! The SDK serves the plugin on the socket that its host chose and reaches the host's services by [`PluginContext`].
//!
//! ```no_run
//! use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait};
//!
//! struct Greeter;
//!
//! #[async_trait]
//! impl Plugin for Greeter {
//!     async fn initialize(&mut self, ctx: PluginContext) -> Result {
//!         let logger = ctx.logger();
//!         ctx.register_hook(HookType::PreRequest, 100, move |hook| {
//!             let logger = logger.clone();
//!             async move {
//!                 logger.info(format!("Processing request: {}", hook.context().path()));
//!                 Ok(())
//!             }
//!         })
//!         .await?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     rockstar_plugin::run(Greeter)
//! }
//! ```

mod behalf;
mod bodies;
mod cache;
mod config;
mod context;
mod database;
mod dispatch;
mod events;
mod exchange;
mod exports;
mod framework_config;
mod handlers;
mod hook;
mod host;
mod imports;
mod lifecycle;
mod logger;
mod manifest;
mod metrics;
mod middleware;
mod outcome;
mod peer;
mod plugin;
mod router;
mod server;
mod service;
mod storage;
mod telemetry;
pub mod testing;
mod value;
mod wire;

pub use async_trait::async_trait;
pub use bodies::{BodyError, BodyStream};
pub use cache::Cache;
pub use config::{ConfigError, PluginConfig};
pub use context::PluginContext;
pub use database::{Database, Done, FromSql, Row, RowError, RowStream, Rows, SqlValue, Transaction};
pub use events::Event;
pub use exchange::Context;
pub use exports::Service;
pub use framework_config::FrameworkConfig;
pub use hook::{Failure, HookContext, HookType};
pub use host::HostError;
pub use imports::{ImportedService, ServiceInfo};
pub use logger::{Level, Logger};
pub use manifest::{Dependency, ManifestError};
pub use metrics::Metrics;
pub use middleware::{Abandoned, Next};
pub use plugin::Plugin;
pub use router::Router;
pub use serde_json::{Value, json};
pub use server::{ServeError, Server, run, serve};
pub use storage::Storage;

/// What a plugin's methods and handlers fail with: any error, its text reaches status, log and metrics.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
