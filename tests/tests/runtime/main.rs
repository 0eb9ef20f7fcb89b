//! The sidecar, plugins and applications as real processes, led through what users do and what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)] // the world is shared with other tests

mod app;
mod disk;
mod faults;
mod hooks;
mod http;
mod interests;
mod reload;
mod story;
mod unary;
mod world;
