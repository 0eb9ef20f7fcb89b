//! The form of a plugin's OCI artifact: what publisher and reader must agree on. Pure.

/// The artifact's type.
pub const ARTIFACT: &str = "application/vnd.rockstar.plugin.v1";
/// Of the config blob: the plugin's manifest as JSON.
pub const MANIFEST: &str = "application/vnd.rockstar.plugin.manifest.v1+json";
/// Of the one layer: the plugin's directory.
pub const FILES: &str = "application/vnd.rockstar.plugin.files.v1.tar+gzip";
