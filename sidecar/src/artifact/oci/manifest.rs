//! An artifact's manifest, or the index of those of several machines. Pure.

use super::super::ArtifactError;
use oci_client::{
    client::current_platform_resolver,
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
        OciImageIndex, OciImageManifest, OciManifest,
    },
};
use serde::{Deserialize, de::IgnoredAny};

const INDEXES: [&str; 2] = [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];
const IMAGES: [&str; 2] = [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

/// What tells an index from a manifest, read without keeping the rest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
}

/// The types that a registry is asked for.
pub(super) fn accept() -> String {
    [IMAGES, INDEXES].concat().join(", ")
}

/// Reads what a digest is of: if it cannot be used, that is what was published.
pub(super) fn parse(what: &str, document: &[u8]) -> Result<OciManifest, ArtifactError> {
    let unusable = |problem: String| ArtifactError::Unusable { what: what.to_owned(), problem };
    let malformed = |error: serde_json::Error| unusable(format!("its manifest is malformed: {error}"));
    let shape: Shape = serde_json::from_slice(document).map_err(malformed)?;
    if shape.schema_version != 2 {
        return Err(unusable(format!("its manifest has version {}; expected 2", shape.schema_version)));
    }
    let is_index = match shape.media_type.as_deref() {
        Some(media_type) if INDEXES.contains(&media_type) => true,
        Some(media_type) if IMAGES.contains(&media_type) => false,
        Some(_) => return Err(unusable("its manifest is of an unknown type".to_owned())),
        None => shape.manifests.is_some(),
    };
    match is_index {
        true => serde_json::from_slice::<OciImageIndex>(document).map(OciManifest::ImageIndex).map_err(malformed),
        false => serde_json::from_slice::<OciImageManifest>(document).map(OciManifest::Image).map_err(malformed),
    }
}

/// The digest of the manifest for this machine.
pub(super) fn for_this_machine(what: &str, index: &OciImageIndex) -> Result<String, ArtifactError> {
    current_platform_resolver(&index.manifests).ok_or_else(|| ArtifactError::Platform { image: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(document: serde_json::Value) -> String {
        match parse("x", &serde_json::to_vec(&document).unwrap()) {
            Ok(OciManifest::Image(_)) => "image".to_owned(),
            Ok(OciManifest::ImageIndex(_)) => "index".to_owned(),
            Err(error) => {
                assert_eq!(error.class(), crate::failure::Class::Revision);
                error.to_string()
            }
        }
    }

    #[test]
    fn the_type_tells_an_index_from_a_manifest() {
        let config = json!({"mediaType": "x", "digest": "sha256:x", "size": 2});
        assert_eq!(text(json!({"schemaVersion": 2, "config": config, "layers": []})), "image");
        assert_eq!(text(json!({"schemaVersion": 2, "manifests": []})), "index");
        let index = json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": []});
        assert_eq!(text(index), "index");
        let other = json!({"schemaVersion": 2, "mediaType": "text/html"});
        assert_eq!(text(other), "x is no plugin: its manifest is of an unknown type");
        assert_eq!(text(json!({"schemaVersion": 1})), "x is no plugin: its manifest has version 1; expected 2");
        assert!(text(json!([])).starts_with("x is no plugin: its manifest is malformed: "));
    }

    #[test]
    fn an_index_without_this_machine_is_told() {
        let index: OciImageIndex = serde_json::from_value(json!({"schemaVersion": 2, "manifests": []})).unwrap();
        assert_eq!(for_this_machine("x", &index).unwrap_err().reason(), "PlatformUnsupported");
    }
}
