//! The sidecar: runs plugins as processes beside an application and leads the application's exchanges through them.
//! A library, so that tests and `rockstar dev` can reach its parts; `main.rs` only reads arguments.

pub mod admin;
pub mod app;
pub mod app_api;
pub mod args;
pub mod artifact;
pub mod authority;
pub mod confine;
pub mod context;
pub mod control;
pub mod failure;
pub mod framework;
pub mod instance;
pub mod interests;
pub mod launch;
pub mod link;
pub mod logging;
pub mod manager;
pub mod metrics;
pub mod peers;
pub mod pipeline;
pub mod process;
pub mod readiness;
pub mod registry;
pub mod running;
pub mod slot;
pub mod standalone;
pub mod tables;
pub mod target;
