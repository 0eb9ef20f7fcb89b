//! Artifacts from a web server on this machine, and from one that speaks a registry's words.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rockstar_core::revision::Source;
use rockstar_sidecar::{
    artifact::{Artifact, ArtifactError, Store},
    failure::Class,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

/// Answers by path; ends with this value.
struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str, &HeaderMap) -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let app = Router::new().fallback(move |request: Request| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(answer(request.uri().path(), request.headers()))
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn store() -> (TempDir, Store) {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    (data, store)
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A tar.gz with a plugin.
fn packed() -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text, mode) in [("plugin.yaml", "name: p\n", 0o644), ("p", "#!/bin/sh\n", 0o755)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

async fn http(store: &Store, url: String, sha256: &str) -> Result<Artifact, ArtifactError> {
    store.fetch(&Source::Http { url, sha256: sha256.to_owned() }, None).await
}

fn told(result: Result<Artifact, ArtifactError>) -> (Class, &'static str, String) {
    let error = result.unwrap_err();
    (error.class(), error.reason(), error.to_string())
}

#[tokio::test]
async fn a_tar_gz_is_fetched_once() {
    let bytes = packed();
    let sha256 = hex(&bytes);
    let server = Server::start(move |_, _| bytes.clone().into_response()).await;
    let (_data, store) = store();
    let url = format!("http://{}/p.tar.gz", server.address);
    let first = http(&store, url.clone(), &sha256).await.unwrap();
    assert!(first.has_manifest() && first.program.is_none());
    assert_eq!(std::fs::read_to_string(first.directory.join("plugin.yaml")).unwrap(), "name: p\n");
    assert_eq!(http(&store, url, &sha256.to_uppercase()).await.unwrap(), first);
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_program_alone_is_the_plugin() {
    let sha256 = hex(b"#!/bin/sh\n");
    let server = Server::start(|_, _| "#!/bin/sh\n".into_response()).await;
    let (_data, store) = store();
    let url = format!("http://{}/p", server.address);
    let first = http(&store, url.clone(), &sha256).await.unwrap();
    let program = first.program.clone().unwrap();
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!first.has_manifest());
    drop(server);
    assert_eq!(http(&store, url, &sha256).await.unwrap(), first);
}

#[tokio::test]
async fn failures_say_who_is_to_blame() {
    let server = Server::start(|path, _| match path {
        "/gone" => StatusCode::GONE.into_response(),
        "/busy" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/secret" => StatusCode::FORBIDDEN.into_response(),
        "/page" => "<html>".into_response(),
        "/short" => Response::builder().header("content-length", "9").body(Body::from_stream(cut_off())).unwrap(),
        "/huge" => Response::builder().header("content-length", "1073741825").body(endless()).unwrap(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let (data, store) = store();
    let (page, base) = (hex(b"<html>"), format!("http://{}", server.address));
    let cases = [
        ("/none", Class::Revision, "ArtifactNotFound", format!("plugin file not found: {base}/none")),
        ("/gone", Class::Revision, "ArtifactNotFound", format!("plugin file not found: {base}/gone")),
        ("/busy", Class::Environment, "ArtifactUnavailable", "the server answered 503".to_owned()),
        ("/secret", Class::Environment, "ArtifactAccessDenied", "the server answered 403".to_owned()),
        ("/short", Class::Environment, "ArtifactUnavailable", format!("failed to download {base}/short: ")),
        ("/huge", Class::Revision, "ArtifactInvalid", "is too large: at most 512Mi (limits.artifact)".to_owned()),
        ("/page", Class::Revision, "ArtifactInvalid", "it is neither a tar.gz nor an executable".to_owned()),
    ];
    for (path, class, reason, part) in cases {
        let (c, r, text) = told(http(&store, format!("{base}{path}?token=secret"), &page).await);
        assert_eq!((c, r), (class, reason), "{text}");
        assert!(text.contains(&part) && !text.contains("token"), "{text}");
    }
    let (class, reason, text) = told(http(&store, format!("{base}/page"), &"0".repeat(64)).await);
    assert_eq!((class, reason), (Class::Revision, "DigestMismatch"));
    assert!(text.ends_with(&format!(" is not sha256:{}", "0".repeat(64))) && !text.contains(&page), "{text}");
    drop(server);
    let (class, reason, _) = told(http(&store, format!("{base}/page"), &page).await);
    assert_eq!((class, reason), (Class::Environment, "ArtifactUnavailable"));
    assert_eq!(std::fs::read_dir(data.path().join("artifacts")).unwrap().count(), 0);
}

/// A body of which nothing comes.
fn endless() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
}

/// A body that breaks after its first bytes.
fn cut_off() -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::iter([Ok(Bytes::from("abc")), Err(std::io::Error::other("broken"))])
}

#[tokio::test]
async fn what_cannot_be_an_address_or_a_digest_is_not_asked_for() {
    let (_data, store) = store();
    let (class, _, text) = told(http(&store, "ftp://h/p".to_owned(), &"0".repeat(64)).await);
    assert_eq!(
        (class, text.as_str()),
        (Class::Revision, "the source is no plugin: its URL must begin with https:// or http://",)
    );
    let (class, _, text) = told(http(&store, "http://127.0.0.1:1/p".to_owned(), "../../etc").await);
    assert!(class == Class::Revision && text.contains("'../../etc' is not a SHA-256"), "{text}");
    let source = Source::Oci { image: "127.0.0.1:1/p".to_owned(), digest: "sha256:../..".to_owned() };
    let (class, _, text) = told(store.fetch(&source, None).await);
    assert!(class == Class::Revision && text.contains("'sha256:../..' is not a digest"), "{text}");
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let (half, whole) = (data.path().join("artifacts/.draft-x/lib"), data.path().join("artifacts/oci-1"));
    std::fs::create_dir_all(&half).unwrap();
    std::fs::create_dir_all(&whole).unwrap();
    Store::open(data.path()).unwrap();
    assert!(!half.parent().unwrap().exists() && whole.exists());
}

#[tokio::test]
async fn a_registry_that_wants_a_login_gets_the_pull_secret() {
    let files = packed();
    let digest = |bytes: &[u8]| format!("sha256:{}", hex(bytes));
    let layer = json!({"mediaType": rockstar_core::artifact::FILES, "digest": digest(&files), "size": files.len()});
    let config = json!({"mediaType": rockstar_core::artifact::MANIFEST, "digest": digest(b"{}"), "size": 2});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": rockstar_core::artifact::ARTIFACT, "config": config, "layers": [layer],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let published = digest(&manifest);
    let server = Server::start(move |path, headers| {
        // me:secret
        if headers.get("authorization").is_none_or(|a| a != "Basic bWU6c2VjcmV0") {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"r\"")]).into_response();
        }
        match path {
            p if p.contains("/manifests/") => manifest.clone().into_response(),
            p if p.contains("/blobs/") => files.clone().into_response(),
            _ => StatusCode::OK.into_response(),
        }
    })
    .await;
    let (_data, store) = store();
    let source = Source::Oci { image: format!("{}/p:1.0.0", server.address), digest: published };
    let secret = |password: &str| json!({"auths": {&server.address: {"username": "me", "password": password}}});
    for wrong in [None, Some(secret("wrong"))] {
        let (class, reason, text) = told(store.fetch(&source, wrong.as_ref()).await);
        assert_eq!((class, reason), (Class::Environment, "ArtifactAccessDenied"), "{text}");
        assert!(!text.contains("wrong"), "{text}");
    }
    let artifact = store.fetch(&source, Some(&secret("secret"))).await.unwrap();
    assert!(artifact.directory.join("p").is_file());
}

#[tokio::test]
async fn a_redirect_leads_nowhere_else_without_https() {
    let bytes = b"#!/bin/sh\n";
    let hidden = Server::start(move |_, _| Bytes::from_static(bytes).into_response()).await;
    let elsewhere = format!("http://{}/p", hidden.address);
    let server = Server::start(move |path, _| match path {
        "/away" => (StatusCode::FOUND, [("location", elsewhere.clone())]).into_response(),
        "/here" => (StatusCode::FOUND, [("location", "/p".to_owned())]).into_response(),
        "/loop" => (StatusCode::FOUND, [("location", "/loop".to_owned())]).into_response(),
        _ => Bytes::from_static(bytes).into_response(),
    })
    .await;
    let (_data, store) = store();
    let url = |path: &str| format!("http://{}{path}", server.address);
    let error = http(&store, url("/away"), &hex(bytes)).await.unwrap_err().to_string();
    assert!(error.contains("it redirects to another server without https"), "{error}");
    assert_eq!(hidden.asked.load(Ordering::Relaxed), 0);
    let error = http(&store, url("/loop"), &hex(bytes)).await.unwrap_err().to_string();
    assert!(error.contains("too many redirects"), "{error}");
    let error = http(&store, url("/p"), &hex(b"other")).await.unwrap_err().to_string();
    assert!(error.starts_with("digest mismatch: ") && !error.contains(&hex(bytes)), "{error}");
    http(&store, url("/here"), &hex(bytes)).await.unwrap();
}
