//! The sidecar, plugins and applications as real processes, led through what users do and what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod app;
mod disk;
mod faults;
mod hooks;
mod http;
mod interests;
mod reload;
mod stock;
mod story;
mod unary;
mod world;
