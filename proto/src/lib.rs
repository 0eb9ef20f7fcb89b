//! The wire between application, sidecar, plugins and operator: generated messages and services,
//! and conversions of values. No I/O of its own.

#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, clippy::unwrap_used)]
mod generated {
    pub mod rockstar {
        pub mod types {
            pub mod v1 {
                include!("generated/rockstar.types.v1.rs");
            }
        }
        pub mod app {
            pub mod v1 {
                include!("generated/rockstar.app.v1.rs");
            }
        }
        pub mod plugin {
            pub mod v1 {
                include!("generated/rockstar.plugin.v1.rs");
            }
        }
        pub mod control {
            pub mod v1 {
                include!("generated/rockstar.control.v1.rs");
            }
        }
    }
}

pub use generated::rockstar::{app::v1 as app, control::v1 as control, plugin::v1 as plugin, types::v1 as types};

pub mod body;
pub mod methods;
pub mod path;
pub mod readings;
mod value;

/// The metadata of calls of `PluginContext` that names the running call on whose behalf they are.
pub const CALL: &str = "rockstar-call";
