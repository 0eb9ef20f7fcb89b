//! The resources Plugin and PluginHost: types, schema, and how they become the data of `rockstar-core`.
//! No I/O; the YAML generated from the types is in `crds/yaml`.

#![allow(unreachable_pub, reason = "KubeSchema derives by private copies of the public types")]
#![allow(clippy::duplicated_attributes, reason = "printer columns are alike")]

mod convert;
pub mod duration;
pub mod host;
pub mod manifest;
pub mod names;
pub mod plugin;
pub mod policy;
pub mod quantity;
mod schema;
pub mod yaml;

pub use convert::FieldError;
pub use duration::GoDuration;
pub use host::{PluginHost, PluginHostSpec, PluginHostStatus};
pub use plugin::{Plugin, PluginSpec, PluginStatus};
