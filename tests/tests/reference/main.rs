//! The plugin API's reference, one test a requirement, named by its ID in `tests/reference.txt`: real sidecars, real plugins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // the world is shared with other tests

#[path = "../runtime/app.rs"]
mod app;
#[path = "../runtime/hostile.rs"]
mod hostile;
#[path = "../runtime/http.rs"]
mod http;
#[path = "../runtime/messenger.rs"]
mod messenger;
mod scene;
#[path = "../runtime/trace.rs"]
mod trace;
#[path = "../runtime/traffic.rs"]
mod traffic;
#[path = "../runtime/world.rs"]
mod world;

mod alerts;
mod authority;
mod calls;
mod configuration;
mod dependencies;
mod engines;
mod framework;
mod grants;
mod hooks;
mod interface;
mod lifecycle;
mod limits;
mod limits_memory;
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
mod redis;
mod reload;
mod rollout;
mod routes;
mod storage;
mod tables;
mod telemetry;
mod user;
