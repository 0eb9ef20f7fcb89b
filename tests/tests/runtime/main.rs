//! The sidecar, plugins and applications as real processes, led through what users do and what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // the world is shared with other tests

mod app;
mod database;
mod disk;
mod faults;
mod hooks;
mod http;
mod interests;
#[allow(dead_code)] // shared with the tests of the reference
mod messenger;
mod nats;
mod reload;
mod requests;
mod services;
mod story;
mod traffic;
mod unary;
mod world;

#[path = "../reference/postgres.rs"]
mod postgres;
#[allow(dead_code)] // shared with the tests of the reference
#[path = "../reference/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "../reference/services.rs"]
mod services;
