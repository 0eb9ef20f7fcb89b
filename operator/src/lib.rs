//! The operator as a library: one driver over a world that is Kubernetes or a directory, and the server of the
//! control stream.

pub mod admin;
pub mod api;
pub mod app;
pub mod args;
pub mod certificates;
pub mod cluster;
mod connections;
pub mod control;
pub mod dev;
pub mod driver;
pub mod host;
pub mod injector;
pub mod leadership;
pub mod lease;
pub mod metrics;
pub mod namespaces;
pub mod release;
pub mod scope;
pub mod validation;
pub mod webhook;
pub mod world;
