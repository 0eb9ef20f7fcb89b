//! The rules of the product: manifests, constraints, configuration, permissions, resolution, revisions, rollout.
//! No I/O, no clock, no Kubernetes client, no async.

pub mod admin_token;
pub mod artifact;
pub mod assignment;
pub mod backends;
pub mod config;
pub mod constraint;
pub mod document;
pub mod duration;
pub mod hint;
pub mod limits;
pub mod manifest;
pub mod permission;
pub mod pluginsfile;
pub mod quantity;
pub mod resolve;
pub mod revision;
pub mod rollout;
pub mod sandbox;
pub mod termination;
pub mod text;
pub mod threshold;
