//! Guards against routers as they are: whatever spelling of a path a router takes for one of a guard's, the guard is called.
//! The spellings are made, not listed; `ROCKSTAR_SPELLINGS` gives more of them, `ROCKSTAR_SEED` others.

use crate::{
    spellings::{Random, spelling},
    traffic::{scoped, started, traffic},
    world::{World, skipped},
};
use axum::{Json, Router, http::Uri, routing::any};
use rockstar_app::{Client, RockstarLayer};
use rockstar_proto::readings::Readings;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};
use tokio::net::TcpListener;
use tower::Layer;

const SPELLINGS: usize = 3_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at a time.
const CLIENTS: usize = 8;
/// What stands in a report.
const MAX_SHOWN: usize = 20;

/// Each handler with the pattern of its guard, and a path to it.
const GUARDED: [(&str, &str, &str); 7] = [
    ("guarded", "/guarded/*", "/guarded/kiosk"),
    ("one", "/one", "/one"),
    ("deep", "/deep/er/*", "/deep/er/x"),
    ("mounted", "/mounted/*", "/mounted/a/b"),
    ("greetings", "/grüße/*", "/grüße/x"),
    ("space", "/with space/*", "/with space/x"),
    ("files", "/files/secret/*", "/files/secret/key"),
];

/// What a router made of a spelling.
struct Chosen {
    handler: String,
    /// The path as a layer in front of this router sees it, where the handler can tell.
    seen: Option<String>,
}

/// Sends a target as it is; gives the handler that the router chose, if it chose any.
fn ask(address: SocketAddr, target: &[u8]) -> Option<Chosen> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
    let request = [b"GET ", target, b" HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"].concat();
    let mut answer = Vec::new();
    // Who refuses a request may close before it has read all of it.
    let _ = stream.write_all(&request).and_then(|()| stream.read_to_end(&mut answer).map(|_| ()));
    let text = String::from_utf8_lossy(&answer);
    let served = text.get(..12).is_some_and(|status| status.ends_with(" 200"));
    let body: Value = served.then(|| serde_json::from_str(text.split_once("\r\n\r\n")?.1.trim()).ok()).flatten()?;
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    Some(Chosen { handler: text("handler")?, seen: text("seen") })
}

/// The path of a target, as a layer passes it on; None: it is no UTF-8, and cannot be told to the sidecar.
fn path_of(target: &[u8]) -> Option<&str> {
    // Blanks end a target for whoever lets them pass.
    std::str::from_utf8(target).ok()?.split(['?', ' ']).next()
}

fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

fn spellings() -> Vec<Vec<u8>> {
    let mut random = Random::new(number("ROCKSTAR_SEED", 1) as u64);
    let count = number("ROCKSTAR_SPELLINGS", SPELLINGS);
    let plain = GUARDED.iter().map(|(_, _, path)| path.replace(' ', "%20").into_bytes());
    plain.chain((0..count).map(|n| spelling(GUARDED[n % GUARDED.len()].2, &mut random))).collect()
}

/// Asks for each of the targets, many at a time; gives those that led to a guarded handler.
fn inside(address: SocketAddr, targets: &[Vec<u8>]) -> Vec<(&[u8], Chosen)> {
    let is_guarded = |choice: &Chosen| GUARDED.iter().any(|(handler, _, _)| *handler == choice.handler);
    let asked = |target| Some((target, ask(address, target).filter(is_guarded)?));
    thread::scope(|scope| {
        let parts = targets.chunks(targets.len().div_ceil(CLIENTS));
        let clients: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(Vec::as_slice).filter_map(asked).collect::<Vec<_>>()))
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// What a router reads as guarded must be so for its guard.
fn check(router: &str, address: SocketAddr) {
    let (mut passed, mut chosen) = (Vec::new(), BTreeMap::<_, usize>::new());
    for (target, choice) in inside(address, &spellings()) {
        let (handler, pattern, _) = GUARDED.iter().find(|(handler, _, _)| *handler == choice.handler).unwrap();
        *chosen.entry(*handler).or_default() += 1;
        let paths = path_of(target).into_iter().chain(choice.seen.as_deref());
        for path in paths.filter(|path| !Readings::of(path).are_covered(pattern)) {
            passed.push(format!("{} is {handler}, by {path:?}", target.escape_ascii()));
        }
    }
    println!("GUARDS | {router} | {chosen:?} |");
    let shown = passed[..passed.len().min(MAX_SHOWN)].join("\n");
    assert!(passed.is_empty(), "{router}: {} spellings pass:\n{shown}", passed.len());
    // A router that took nothing but the plain paths would show nothing.
    assert!(chosen.values().sum::<usize>() > 100, "{router}: {chosen:?}");
}

/// A framework's server as a process of its own, which ends with its standard input.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = process.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{command:?} does not start"));
        Self { process, address: ([127, 0, 0, 1], port).into() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The directory with the servers; None where they were not prepared, which CI does.
fn prepared() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("routers/prepare");
    let checked = Command::new(&script).arg("--check").output().unwrap();
    if checked.status.success() {
        return Some(String::from_utf8(checked.stdout).unwrap().trim().into());
    }
    skipped(&format!("the routers are not prepared: {}", String::from_utf8_lossy(&checked.stderr)));
    None
}

/// A file below a guarded folder of a file server.
fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("secret")).unwrap();
    fs::write(directory.path().join("secret/key"), json!({"handler": "files"}).to_string()).unwrap();
    directory
}

fn against(router: &str, command: impl FnOnce(&Path) -> Command) {
    let Some(directory) = prepared() else { return };
    let files = files();
    let server = Server::start(command(&directory).current_dir(&directory).arg(files.path()));
    check(router, server.address);
}

#[test]
fn no_spelling_passes_by_the_servemux_of_go() {
    against("ServeMux", |directory| Command::new(directory.join("servemux")));
}

#[test]
fn no_spelling_passes_by_express_4() {
    against("Express 4", |_| express("express4"));
}

#[test]
fn no_spelling_passes_by_express_5() {
    against("Express 5", |_| express("express5"));
}

fn express(version: &str) -> Command {
    let mut node = Command::new("node");
    node.args(["server.js", version]);
    node
}

#[test]
fn no_spelling_passes_by_flask() {
    against("Flask", |_| {
        let mut python = Command::new("python3");
        // The system's own, which the libraries were taken for.
        python.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("PYTHONPATH", "vendor").arg("server.py");
        python
    });
}

/// An application of axum whose handlers tell their names, behind the layer or without it.
async fn axum_app(plugins: Option<&World>) -> SocketAddr {
    let answer =
        |handler: &'static str| any(async move |uri: Uri| Json(json!({"handler": handler, "seen": uri.path()})));
    // What is mounted sees the rest of the path alone.
    let mounted = Router::new().fallback(any(async || Json(json!({"handler": "mounted"}))));
    let router = Router::new()
        .route("/guarded", answer("guarded"))
        .route("/guarded/", answer("guarded"))
        .route("/guarded/{*rest}", answer("guarded"))
        .route("/one", answer("one"))
        .route("/deep/er/{name}", answer("deep"))
        .nest("/mounted", mounted)
        .route("/gr%C3%BC%C3%9Fe/{*rest}", answer("greetings"))
        .route("/with%20space/{*rest}", answer("space"))
        .route("/files/secret/{*rest}", answer("files"))
        .route("/open/{*rest}", answer("open"))
        .fallback(answer("other"));
    let app = match plugins {
        None => router,
        Some(world) => Router::new().fallback_service(RockstarLayer::new(Client::new(world.socket())).layer(router)),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Asks from a thread of its own, as the application is in this process.
async fn aside<T: Send + 'static>(asking: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_passes_by_axum() {
    let address = axum_app(None).await;
    aside(move || check("axum", address)).await;
    let patterns: Vec<_> = GUARDED.iter().map(|(_, pattern, _)| *pattern).collect();
    let world = started(&[traffic("guard", json!([scoped("m", &patterns, "answer 403 no")]))]).await;
    let address = axum_app(Some(&world)).await;
    let reached = aside(move || {
        let targets = spellings();
        inside(address, &targets).iter().map(|(target, _)| target.escape_ascii().to_string()).collect::<Vec<_>>()
    });
    assert_eq!(reached.await, Vec::<String>::new());
    assert_eq!(aside(move || ask(address, b"/").unwrap().handler).await, "other", "what nobody guards is served");
}
