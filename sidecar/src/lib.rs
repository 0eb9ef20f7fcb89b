//! The sidecar: runs plugins as processes beside an application and leads the application's exchanges through them.
//! A library, so that tests and `rockstar dev` can reach its parts; `main.rs` only reads arguments.

pub mod admin;
pub mod app;
pub mod app_api;
pub mod args;
pub mod artifact;
pub mod authority;
pub mod backends;
pub mod bus;
pub mod cache;
pub mod configuration;
pub mod context;
pub mod control;
pub mod database;
pub mod failure;
pub mod framework;
pub mod instance;
pub mod interests;
pub mod launch;
pub mod link;
pub mod logging;
pub mod manager;
pub mod metrics;
pub mod pipeline;
mod postgres;
pub mod process;
pub mod readiness;
pub mod registry;
pub mod running;
pub mod services;
pub mod slot;
mod sqlite;
pub mod standalone;
pub mod storage;
pub mod tables;
pub mod target;
