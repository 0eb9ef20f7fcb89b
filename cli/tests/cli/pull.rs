//! What `rockstar push` publishes, a sidecar runs: the same artifact through a real registry.

use crate::support::{Registry, plugin, rockstar, stderr, stdout};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    secrets::RegistryAuth,
};
use rockstar_core::revision::Source;
use rockstar_sidecar::{
    artifact::{Artifact, ArtifactError, Store},
    failure::Class,
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};
use tempfile::TempDir;

/// A registry with one plugin in it, and a store without.
struct Published {
    registry: Registry,
    image: String,
    digest: String,
    data: TempDir,
    store: Store,
}

impl Published {
    fn new() -> Self {
        let registry = Registry::start();
        let dir = plugin("auth-plugin", "1.2.0");
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(dir.path().join("lib/words.txt"), "data").unwrap();
        std::os::unix::fs::symlink("lib/words.txt", dir.path().join("words.txt")).unwrap();
        let image = format!("{}/plugins/auth:1.2.0", registry.address);
        let output = rockstar(&["push", dir.path().to_str().unwrap(), &image]);
        assert!(output.status.success(), "{}", stderr(&output));
        let digest = stdout(&output).trim().strip_prefix(&format!("{image}@")).unwrap().to_owned();
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        Self { registry, image, digest, data, store }
    }

    async fn pull(&self, image: &str, digest: &str) -> Result<Artifact, ArtifactError> {
        let source = Source::Oci { image: image.to_owned(), digest: digest.to_owned() };
        self.store.fetch(&source, None).await
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.data.path().join("artifacts")).unwrap().count()
    }

    /// Where the registry keeps the blob with these digits.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.registry.files().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    fn layer(&self) -> String {
        let manifest: serde_json::Value = serde_json::from_slice(&fs::read(self.blob(&self.digest)).unwrap()).unwrap();
        manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
    }
}

fn told(result: Result<Artifact, ArtifactError>) -> (Class, &'static str, String) {
    let error = result.unwrap_err();
    (error.class(), error.reason(), error.to_string())
}

#[tokio::test]
async fn what_was_pushed_arrives_and_stays() {
    let published = Published::new();
    let artifact = published.pull(&published.image, &published.digest).await.unwrap();
    let manifest = artifact.manifest().unwrap().manifest;
    assert_eq!((manifest.name.as_str(), manifest.version.to_string().as_str()), ("auth-plugin", "1.2.0"));
    let (program, _) = artifact.command(&manifest).unwrap();
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(artifact.directory.join("words.txt")).unwrap(), "data");

    let Published { registry, image, digest, data, .. } = published;
    drop(registry);
    let source = Source::Oci { image, digest };
    // Another life of the same sidecar finds it without the registry.
    assert_eq!(Store::open(data.path()).unwrap().fetch(&source, None).await.unwrap(), artifact);
}

#[tokio::test]
async fn what_is_not_published_is_the_revisions_fault() {
    let published = Published::new();
    let other = format!("sha256:{}", "0".repeat(64));
    let (class, reason, text) = told(published.pull(&published.image, &other).await);
    assert_eq!((class, reason), (Class::Revision, "ArtifactNotFound"));
    assert!(text.contains(&other) && text.contains("/plugins/auth@"), "{text}");
    let none = format!("{}/plugins/none:1.0.0", published.registry.address);
    assert_eq!(told(published.pull(&none, &published.digest).await).1, "ArtifactNotFound");
    assert_eq!(published.kept(), 0);
}

#[tokio::test]
async fn a_changed_blob_is_refused() {
    let published = Published::new();
    let path = published.blob(&published.layer());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (class, reason, text) = told(published.pull(&published.image, &published.digest).await);
    assert_eq!((class, reason), (Class::Revision, "DigestMismatch"), "{text}");
    assert!(text.contains(&published.layer()), "{text}");
    assert_eq!(published.kept(), 0);
}

#[tokio::test]
async fn a_changed_manifest_is_refused() {
    let published = Published::new();
    let path = published.blob(&published.digest);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    bytes.push(b'}');
    fs::write(&path, &bytes).unwrap();
    let (class, reason, text) = told(published.pull(&published.image, &published.digest).await);
    assert_eq!((class, reason), (Class::Revision, "DigestMismatch"), "{text}");
}

#[tokio::test]
async fn a_registry_that_is_away_is_nobodys_fault() {
    let Published { registry, image, digest, store, .. } = Published::new();
    drop(registry);
    let (class, reason, text) = told(store.fetch(&Source::Oci { image: image.clone(), digest }, None).await);
    assert_eq!((class, reason), (Class::Environment, "ArtifactUnavailable"));
    assert!(text.contains(image.split('/').next().unwrap()) && text.contains("refused"), "{text}");
}

fn layer(files: &[(&str, &str, u32)]) -> ImageLayer {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (path, text, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    ImageLayer::oci_v1_gzip(tar.into_inner().unwrap().finish().unwrap(), None)
}

#[tokio::test]
async fn an_image_may_hold_the_plugin() {
    let published = Published::new();
    let image = format!("{}/images/auth:2.0.0", published.registry.address);
    let reference: Reference = image.parse().unwrap();
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let layers = [
        layer(&[("etc/os-release", "", 0o644), ("plugin/auth-plugin", "old", 0o755)]),
        layer(&[("plugin/plugin.yaml", "name: auth-plugin\n", 0o644), ("plugin/auth-plugin", "new", 0o755)]),
    ];
    let config = Config::oci_v1(b"{}".to_vec(), None);
    client.push(&reference, &layers, config, &RegistryAuth::Anonymous, None).await.unwrap();
    let digest = client.fetch_manifest_digest(&reference, &RegistryAuth::Anonymous).await.unwrap();
    let artifact = published.pull(&image, &digest).await.unwrap();
    let mut names = fs::read_dir(&artifact.directory).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["auth-plugin", "plugin.yaml"]);
    assert_eq!(fs::read_to_string(artifact.directory.join("auth-plugin")).unwrap(), "new");
}
