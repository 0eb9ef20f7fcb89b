//! Registries and token servers that attack: endless, slow and packed answers, and ways to where nobody should go.

use super::*;
use crate::failure::Class::{self, Environment, Revision};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What a server sends at most; nobody must take so much.
const ENDLESS: u64 = 256 << 20;
/// What the kernel may hold of it between both ends, and a little more.
const TAKEN: u64 = 32 << 20;
const PLENTY: Duration = Duration::from_secs(60);
const BLOB: &[u8] = b"content";

#[derive(Clone)]
struct Answer {
    /// With the empty line at its end, unless it is the head that does not end.
    head: String,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Whole(Vec<u8>),
    /// This again and again.
    Endless(&'static [u8]),
    /// The same, slowly.
    Drip(&'static [u8]),
}

fn whole(status: &str, headers: &str, body: impl Into<Vec<u8>>) -> Answer {
    let body = body.into();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    Answer { head, body: Body::Whole(body) }
}

fn odd(head: &str, body: Body) -> Answer {
    Answer { head: head.to_owned(), body }
}

/// Answers by path; ends with this value.
struct Server {
    address: String,
    sent: Arc<AtomicU64>,
    asked: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(answer: impl Fn(&str, &str) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sent, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let mut task = JoinSet::new();
        let (own, count, paths) = (address.clone(), Arc::clone(&sent), Arc::clone(&asked));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (own, answer) = (own.clone(), answer.clone());
                let (count, paths) = (Arc::clone(&count), Arc::clone(&paths));
                connections.spawn(async move {
                    let mut stream = stream;
                    let path = path(&mut stream).await;
                    paths.lock().push(path.clone());
                    // The other side may leave at any time.
                    send(&mut stream, answer(&own, &path), &count).await.ok();
                });
            }
        });
        Self { address, sent, asked, _task: task }
    }

    /// A registry that behaves, but for paths that begin so.
    async fn odd_at(prefix: &'static str, answer: impl Fn(&str) -> Answer + Clone + Send + Sync + 'static) -> Self {
        Self::start(move |own, path| if path.starts_with(prefix) { answer(own) } else { usual(own, path) }).await
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn was_asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

async fn path(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned()
}

async fn send(stream: &mut TcpStream, answer: Answer, count: &AtomicU64) -> std::io::Result<()> {
    stream.write_all(answer.head.as_bytes()).await?;
    let (bytes, pause) = match answer.body {
        Body::Whole(bytes) => return stream.write_all(&bytes).await,
        Body::Endless(bytes) => (bytes.repeat((64 << 10) / bytes.len()), Duration::ZERO),
        Body::Drip(bytes) => (bytes.to_vec(), Duration::from_millis(5)),
    };
    while count.load(Ordering::Relaxed) < ENDLESS {
        stream.write_all(&bytes).await?;
        count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The manifest, filled up to a length.
fn document(length: usize) -> Vec<u8> {
    let layer = json!({"mediaType": "a", "digest": digest(BLOB), "size": BLOB.len()});
    let config = json!({"mediaType": "a", "digest": digest(b"{}"), "size": 2});
    let mut document = json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string().into_bytes();
    document.resize(document.len().max(length), b' ');
    document
}

fn challenge(realm: &str) -> Answer {
    whole("401 Unauthorized", &format!("www-authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n"), "")
}

fn usual(own: &str, path: &str) -> Answer {
    match path {
        "/v2/" => challenge(&format!("http://{own}/token")),
        _ if path.starts_with("/token") => whole("200 OK", "", r#"{"token": "t"}"#),
        _ if path.contains("/manifests/") => whole("200 OK", "", document(0)),
        _ => whole("200 OK", "", BLOB),
    }
}

/// Fetches the manifest and the blob of an artifact.
async fn fetch(server: &Server, published: &[u8], deadline: Duration) -> Result<usize, ArtifactError> {
    // Another test may have been quicker.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let image = Reference::with_digest(server.address.clone(), "p".to_owned(), digest(published));
    let auth = RegistryAuth::Basic("me".to_owned(), "secret".to_owned());
    let registry = Registry { answer_timeout: deadline, ..Registry::new(&image, auth, &[])? };
    registry.begin().await?;
    let manifest = registry.manifest().await?;
    let blobs = manifest.layers.iter().collect::<Vec<_>>();
    let files = registry.blobs(&blobs, || Ok(tempfile::tempfile().unwrap())).await?;
    Ok(files.len())
}

fn told(result: Result<usize, ArtifactError>) -> (Class, &'static str, String) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 1024 && !text.contains("secret"), "{text}");
    (error.class(), error.reason(), text)
}

#[tokio::test]
async fn a_registry_that_behaves_is_asked_for_each_thing_once() {
    let server = Server::start(usual).await;
    assert_eq!(fetch(&server, &document(0), PLENTY).await.unwrap(), 1);
    let manifest = format!("/v2/p/manifests/{}", digest(&document(0)));
    let blob = format!("/v2/p/blobs/{}", digest(BLOB));
    let token = "/token?scope=repository%3Ap%3Apull&service=s".to_owned();
    assert_eq!(server.was_asked(), ["/v2/".to_owned(), token, manifest, blob]);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_left() {
    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    const DENIED: &str = "HTTP/1.1 403 Forbidden\r\n\r\n";
    const BROKEN: &str = "HTTP/1.1 500 Oh\r\n\r\n";
    let large = "its token server's answer is larger than 64 KiB";
    let cases = [
        ("/token", OK, Environment, "ArtifactUnavailable", large),
        ("/token", CHUNKED, Environment, "ArtifactUnavailable", ""),
        ("/token", LONG, Environment, "ArtifactUnavailable", large),
        ("/token", DENIED, Environment, "ArtifactAccessDenied", "the server answered 403"),
        ("/token", BROKEN, Environment, "ArtifactUnavailable", "the server answered 500"),
        ("/v2/p/m", OK, Revision, "ArtifactInvalid", "is too large: at most 1024 KiB"),
        ("/v2/p/m", LONG, Revision, "ArtifactInvalid", "is too large: at most 1024 KiB"),
        ("/v2/p/m", DENIED, Environment, "ArtifactAccessDenied", "the server answered 403"),
        ("/v2/p/b", OK, Revision, "DigestMismatch", "is not sha256:"),
        ("/v2/p/b", BROKEN, Environment, "ArtifactUnavailable", "the server answered 500"),
    ];
    for (path, head, class, reason, part) in cases {
        let server = Server::odd_at(path, move |_| odd(head, Body::Endless(b"1\r\nx\r\n"))).await;
        let (c, r, text) = told(fetch(&server, &document(0), PLENTY).await);
        assert_eq!((c, r), (class, reason), "{path} {head}: {text}");
        assert!(text.contains(part), "{path} {head}: {text}");
        assert!(server.sent() < TAKEN, "{path} {head}: {} bytes were taken", server.sent());
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_left() {
    for path in ["/v2/", "/token", "/v2/p/m", "/v2/p/b"] {
        for (head, bytes) in [("HTTP/1.1 200 OK\r\n", &b"a: b\r\n"[..]), ("HTTP/1.1 200 OK\r\na: ", b"b"), ("", b"c")] {
            let server = Server::start(move |own, asked| match asked.starts_with(path) && asked.len() >= path.len() {
                // Only `/v2/` itself, not what is below it.
                true if path != "/v2/" || asked == path => odd(head, Body::Endless(bytes)),
                _ => usual(own, asked),
            })
            .await;
            let (class, reason, text) = told(fetch(&server, &document(0), PLENTY).await);
            assert_eq!((class, reason), (Environment, "ArtifactUnavailable"), "{path}: {text}");
            assert!(server.sent() < TAKEN, "{path}: {} bytes were taken", server.sent());
        }
    }
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let pack = |bytes: &[u8]| {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    };
    let token = pack(format!("{{\"token\": \"t\"{}}}", " ".repeat(32 << 20)).as_bytes());
    let manifest = pack(&document(32 << 20));
    assert!(token.len() < 64 << 10 && manifest.len() < MAX_MANIFEST);
    for (path, bytes, class, reason) in
        [("/token", token, Environment, "ArtifactUnavailable"), ("/v2/p/m", manifest, Revision, "DigestMismatch")]
    {
        let server = Server::odd_at(path, move |_| whole("200 OK", "content-encoding: gzip\r\n", bytes.clone())).await;
        let (c, r, text) = told(fetch(&server, &document(32 << 20), PLENTY).await);
        assert_eq!((c, r), (class, reason), "{path}: {text}");
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_late() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n";
    for (path, head, bytes) in [
        ("/token", OK, &b" "[..]),
        ("/v2/p/m", OK, b" "),
        ("/token", "HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        ("/v2/p/b", "HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    ] {
        let server = Server::odd_at(path, move |_| odd(head, Body::Drip(bytes))).await;
        let (class, reason, text) = told(fetch(&server, &document(0), Duration::from_millis(150)).await);
        assert_eq!((class, reason), (Environment, "ArtifactUnavailable"), "{path}: {text}");
        assert!(text.contains("not done within"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_token_and_a_manifest_may_be_as_large_as_their_bounds() {
    let token = |length: usize| {
        let mut token = br#"{"token": "t"}"#.to_vec();
        token.resize(length, b' ');
        token
    };
    for (length, is_taken) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let server = Server::odd_at("/token", move |_| whole("200 OK", "", token(length))).await;
        assert_eq!(fetch(&server, &document(0), PLENTY).await.is_ok(), is_taken, "{length}");
    }
    for (length, is_taken) in [(MAX_MANIFEST, true), (MAX_MANIFEST + 1, false)] {
        let server = Server::odd_at("/v2/p/m", move |_| whole("200 OK", "", document(length))).await;
        assert_eq!(fetch(&server, &document(length), PLENTY).await.is_ok(), is_taken, "{length}");
    }
}

#[tokio::test]
async fn no_answer_leads_elsewhere_without_https() {
    let hidden = Server::start(usual).await;
    let elsewhere = hidden.address.clone();
    for path in ["/token", "/v2/p/m", "/v2/p/b"] {
        for target in [format!("http://{elsewhere}/token"), "file:///etc/passwd".to_owned(), "ftp://x/y".to_owned()] {
            let to = target.clone();
            let server = Server::odd_at(path, move |_| whole("302 Found", &format!("location: {to}\r\n"), "")).await;
            let (class, reason, text) = told(fetch(&server, &document(0), PLENTY).await);
            assert_eq!((class, reason), (Environment, "ArtifactUnavailable"), "{path} to {target}: {text}");
        }
        let server = Server::odd_at(path, move |_| whole("302 Found", &format!("location: {path}\r\n"), "")).await;
        let (_, _, text) = told(fetch(&server, &document(0), PLENTY).await);
        assert!(text.contains("too many redirects"), "{text}");
    }
    for realm in [format!("http://{elsewhere}/token"), "file:///etc/passwd".to_owned(), "nowhere".to_owned()] {
        let to = realm.clone();
        let server = Server::start(move |own, path| match path {
            "/v2/" => challenge(&to),
            _ => usual(own, path),
        })
        .await;
        let (class, reason, text) = told(fetch(&server, &document(0), PLENTY).await);
        assert_eq!((class, reason), (Environment, "ArtifactUnavailable"), "{realm}: {text}");
        assert!(text.contains("token server") && !text.contains(&realm), "{realm}: {text}");
        assert_eq!(server.was_asked(), ["/v2/"]);
    }
    assert!(hidden.was_asked().is_empty(), "{:?}", hidden.was_asked());
}

#[tokio::test]
async fn tokens_that_no_header_can_hold_are_none() {
    for token in [r#"{}"#, r#"{"token": "a\r\nx: y"}"#, r#"{"token": 1}"#, "[]", "", r#"{"token": null}"#] {
        let server = Server::odd_at("/token", move |_| whole("200 OK", "", token)).await;
        let (class, _, text) = told(fetch(&server, &document(0), PLENTY).await);
        assert_eq!(class, Environment);
        assert!(text.ends_with("its token server gave no token"), "{text}");
    }
}

#[tokio::test]
async fn a_token_that_has_run_out_is_got_anew_once() {
    let server = Server::start(|own, path| match path {
        _ if path.contains("/blobs/") => challenge(&format!("http://{own}/token")),
        _ => usual(own, path),
    })
    .await;
    let (class, reason, _) = told(fetch(&server, &document(0), PLENTY).await);
    assert_eq!((class, reason), (Environment, "ArtifactAccessDenied"));
    let asked = server.was_asked();
    let count = |prefix: &str| asked.iter().filter(|path| path.starts_with(prefix)).count();
    assert_eq!((count("/token"), count("/v2/p/blobs/")), (2, 2), "{asked:?}");
}

#[test]
fn plain_http_is_for_this_machine_and_for_the_listed() {
    let insecure = ["r.example:5000".to_owned(), "dev.example".to_owned()];
    let plain = |registry| is_plain(registry, &insecure);
    for registry in ["localhost", "127.0.0.1:5000", "[::1]", "[::1]:5000", "r.example:5000", "dev.example:1"] {
        assert!(plain(registry), "{registry}");
    }
    for registry in ["localhost.example", "r.example", "r.example:5001", "127.0.0.2", "[::2]:5000"] {
        assert!(!plain(registry), "{registry}");
    }
}
