//! The sidecar, plugins and applications as real processes, led through what users do and what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // the world is shared with other tests

mod admin;
mod app;
mod attacks;
mod bodies;
mod bounds;
mod browser;
mod commands;
mod database;
mod declarations;
mod disk;
mod examples;
mod faults;
mod guards;
mod hooks;
mod hostile;
mod http;
mod interests;
mod messenger;
mod nats;
mod reload;
mod requests;
mod sandbox;
mod services;
mod spellings;
mod stock;
mod story;
mod tls;
mod trace;
mod traffic;
mod unary;
mod world;

#[path = "../reference/authority.rs"]
mod authority;
#[path = "../reference/engines.rs"]
mod engines;
#[path = "../reference/postgres.rs"]
mod postgres;
#[path = "../reference/redis.rs"]
mod redis;
