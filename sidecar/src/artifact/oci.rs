//! Artifacts in a registry, by digest: those of `rockstar push`, and images that hold a plugin. Does I/O.

mod answer;
mod challenge;
mod digest;
mod login;
mod manifest;
mod registry;
mod secret;
mod token;

use super::{Artifact, ArtifactError, PullSecret, Store, draft::Draft, transfer, unpack};
use oci_client::{
    Reference,
    manifest::{OciDescriptor, OciImageManifest},
};
use registry::Registry;
use rockstar_core::artifact;
use std::{fs::File, path::Path};

/// Ends of the types of OCI's and Docker's layers, and of what other tools call theirs.
const ARCHIVES: [&str; 3] = [".tar", ".tar+gzip", ".tar.gzip"];

/// Each layer is a file and a download of its own.
const MAX_LAYERS: usize = 128;

/// How the files lie in the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Artifact,
    Image,
}

pub(super) async fn fetch(
    store: &Store,
    image: &str,
    digest: &str,
    secret: Option<&PullSecret>,
) -> Result<Artifact, ArtifactError> {
    let hex = digest.strip_prefix("sha256:").and_then(transfer::sha256);
    let hex = hex.ok_or_else(|| unusable(image, format!("'{digest}' is not a digest; expected sha256:…")))?;
    let id = format!("oci-{hex}");
    if let Some(directory) = store.find(&id) {
        return Ok(Artifact { id, directory, program: None });
    }
    let reference = reference(image, &hex)?;
    let registry = Registry::connect(&reference, secret::find(secret, &reference)?, &store.insecure).await?;
    let manifest = registry.manifest().await?;
    let (form, layers) = layers(registry.name(), &manifest)?;
    let files = registry.blobs(&layers, || store.scratch()).await?;
    let what = registry.name().to_owned();
    store.blocking(move |store| keep(store, id, &what, form, &files)).await
}

fn keep(store: &Path, id: String, what: &str, form: Form, files: &[File]) -> Result<Artifact, ArtifactError> {
    let draft = Draft::new(store)?;
    match form {
        Form::Artifact => unpack::files(what, files, draft.path())?,
        Form::Image => unpack::image(what, files, draft.path())?,
    }
    let directory = store.join(&id);
    draft.publish(&directory)?;
    Ok(Artifact { id, directory, program: None })
}

/// The image by digest; a tag is for people.
fn reference(image: &str, hex: &str) -> Result<Reference, ArtifactError> {
    let digest = format!("sha256:{hex}");
    if let Some((registry, rest)) = image.split_once('/').filter(|_| image.starts_with('[')) {
        // The grammar of references has no IPv6.
        let repository = rest.split_once(':').map_or(rest, |(repository, _)| repository);
        return Ok(Reference::with_digest(registry.to_owned(), repository.to_owned(), digest));
    }
    let parsed: Reference = image
        .parse()
        .map_err(|error| unusable(image, format!("not a reference ({error}); expected REGISTRY/REPOSITORY[:TAG]")))?;
    Ok(Reference::with_digest(parsed.registry().to_owned(), parsed.repository().to_owned(), digest))
}

/// Which layers hold the plugin, and how.
fn layers<'a>(what: &str, manifest: &'a OciImageManifest) -> Result<(Form, Vec<&'a OciDescriptor>), ArtifactError> {
    if manifest.layers.len() > MAX_LAYERS {
        return Err(unusable(what, format!("it has {} layers, more than {MAX_LAYERS}", manifest.layers.len())));
    }
    let files = manifest.layers.iter().filter(|l| l.media_type == artifact::FILES).collect::<Vec<_>>();
    if !files.is_empty() {
        return Ok((Form::Artifact, files));
    }
    match manifest.layers.iter().find(|l| !ARCHIVES.iter().any(|end| l.media_type.ends_with(end))) {
        Some(layer) => Err(unusable(what, format!("a layer has type {}; expected tar+gzip", layer.media_type))),
        None if manifest.layers.is_empty() => Err(unusable(what, "it has no layers".to_owned())),
        None => Ok((Form::Image, manifest.layers.iter().collect())),
    }
}

fn unusable(what: &str, problem: String) -> ArtifactError {
    ArtifactError::Unusable { what: what.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(types: &[&str]) -> OciImageManifest {
        let layer = |t: &&str| OciDescriptor { media_type: (*t).to_owned(), ..OciDescriptor::default() };
        OciImageManifest { layers: types.iter().map(layer).collect(), ..OciImageManifest::default() }
    }

    fn form(types: &[&str]) -> Result<(Form, usize), String> {
        let manifest = manifest(types);
        let found = layers("x", &manifest).map(|(form, layers)| (form, layers.len()));
        found.map_err(|error| error.to_string())
    }

    #[test]
    fn the_layers_types_tell_the_form() {
        assert_eq!(form(&[artifact::FILES, "text/plain"]), Ok((Form::Artifact, 1)));
        assert_eq!(form(&["application/vnd.oci.image.layer.v1.tar+gzip", "x.tar"]), Ok((Form::Image, 2)));
        assert_eq!(form(&[]).unwrap_err(), "x is no plugin: it has no layers");
        let most = [artifact::FILES; MAX_LAYERS];
        assert_eq!(form(&most), Ok((Form::Artifact, MAX_LAYERS)));
        let text = format!("x is no plugin: it has {} layers, more than {MAX_LAYERS}", MAX_LAYERS + 1);
        assert_eq!(form(&[artifact::FILES; MAX_LAYERS + 1]).unwrap_err(), text);
        let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
        assert_eq!(form(&[zstd]).unwrap_err(), format!("x is no plugin: a layer has type {zstd}; expected tar+gzip"));
    }

    #[test]
    fn the_digest_decides_not_the_tag() {
        let hex = "a".repeat(64);
        let whole = |image: &str| reference(image, &hex).map(|r| r.whole()).map_err(|e| e.to_string());
        let at = |name: &str| Ok(format!("{name}@sha256:{hex}"));
        assert_eq!(whole("registry.example:5000/a/b:1.2.0"), at("registry.example:5000/a/b"));
        assert_eq!(whole("[::1]:5000/a/b:1.2.0"), at("[::1]:5000/a/b"));
        assert_eq!(whole("auth"), at("docker.io/library/auth"));
        assert!(whole("Not A Ref").unwrap_err().contains("expected REGISTRY/REPOSITORY[:TAG]"));
    }
}
