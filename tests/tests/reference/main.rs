//! The plugin API's reference, one test a requirement, named by its ID in `tests/reference.txt`: real sidecars, real plugins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // the world is shared with other tests

#[path = "../runtime/app.rs"]
mod app;
#[path = "../runtime/http.rs"]
mod http;
mod scene;
#[path = "../runtime/world.rs"]
mod world;

mod alerts;
mod calls;
mod configuration;
mod dependencies;
mod framework;
mod grants;
mod hooks;
mod interface;
mod lifecycle;
mod limits;
mod loading;
mod manifest;
mod messaging;
mod middleware;
mod monitoring;
mod permissions;
mod postgres;
mod practical;
mod practices;
mod queries;
mod reload;
mod rollout;
mod tables;
mod telemetry;
