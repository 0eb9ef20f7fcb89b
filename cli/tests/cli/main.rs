//! The `rockstar` command from outside: each test runs the program. Starts processes, uses loopback only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod dev;
mod manage;
mod new;
mod pull;
mod push;
mod support;
mod validate;
