//! The OCI manifest of a plugin's artifact. Pure.

use super::archive::Archive;
use rockstar_core::{artifact as kind, manifest::Manifest};
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What is sent beside the files.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: String,
    pub(crate) manifest: Vec<u8>,
    /// Of the manifest: the artifact's identity.
    pub(crate) digest: String,
}

pub(crate) fn describe(plugin: &Manifest, files: &Archive) -> Result<Artifact, serde_json::Error> {
    let config = serde_json::to_vec(plugin)?;
    let config_digest = digest(&config);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": kind::ARTIFACT,
        "config": {"mediaType": kind::MANIFEST, "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": kind::FILES, "digest": files.digest, "size": files.bytes}],
        "annotations": {
            "org.opencontainers.image.title": plugin.name,
            "org.opencontainers.image.version": plugin.version.to_string(),
            "org.opencontainers.image.description": plugin.description,
            "org.opencontainers.image.authors": plugin.author,
        },
    }))?;
    Ok(Artifact { digest: digest(&manifest), config, config_digest, manifest })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
