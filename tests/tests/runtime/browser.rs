//! A browser on this machine, on the page of somebody else, against stand-alone admin: Debian's Chromium, without what it
//! does itself against pages that call loopback. Run by `e2e/run all`.

use crate::{
    http,
    stock::admin,
    world::{World, plugin},
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};

const PAGE: &str = include_str!("browser.html");
/// Chromium starts slowly on a busy machine, and each attempt may wait for its time-out.
const BROWSER_TIMEOUT: Duration = Duration::from_secs(240);
const STEP: Duration = Duration::from_millis(50);
/// The pages: one of another site, and two whose names lead to the sidecar once they are loaded.
const PAGES: [&str; 3] = ["foreign.example", "rebound.example", "rebound"];

#[derive(Clone, Default)]
struct Stranger(Arc<Mutex<Seen>>);

/// What the servers of the stranger were asked.
#[derive(Default)]
struct Seen {
    loaded: BTreeSet<String>,
    /// What the pages attack, once it is there.
    target: Option<Value>,
    reports: Vec<Value>,
    /// Attempts on a server that lets everybody in: method, path, and how a browser labels them.
    baited: BTreeSet<(String, String)>,
}

impl Stranger {
    fn see<T>(&self, work: impl FnOnce(&mut Seen) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    async fn until(&self, what: &str, holds: impl Fn(&mut Seen) -> bool) {
        let seen = async {
            while !self.see(&holds) {
                sleep(STEP).await;
            }
        };
        assert!(timeout(BROWSER_TIMEOUT, seen).await.is_ok(), "waited in vain for {what}");
    }
}

/// The server of the pages.
fn pages(stranger: Stranger) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/target", get(target))
        .route("/report", post(report))
        .route("/redirect/{code}", any(redirect))
        .with_state(stranger)
}

async fn page(State(stranger): State<Stranger>, headers: HeaderMap) -> impl IntoResponse {
    let host = headers[header::HOST].to_str().unwrap().split(':').next().unwrap().to_owned();
    stranger.see(|seen| seen.loaded.insert(host));
    ([(header::CONNECTION, "close")], Html(PAGE))
}

async fn target(State(stranger): State<Stranger>) -> Response {
    let target = stranger.see(|seen| seen.target.clone());
    ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], Json(target)).into_response()
}

async fn report(State(stranger): State<Stranger>, body: String) {
    let report = serde_json::from_str(&body).unwrap();
    stranger.see(|seen| seen.reports.push(report));
}

async fn redirect(axum::extract::Path(code): axum::extract::Path<u16>, request: Request) -> Response {
    let to = request.uri().query().unwrap_or_default().to_owned();
    let mut response = Redirect::temporary(&to).into_response();
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".parse().unwrap());
    response
}

/// Lets everybody do everything: what arrives here would have arrived at the sidecar.
async fn bait(State(stranger): State<Stranger>, request: Request) -> Response {
    let label = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap_or("?")).to_owned();
    // Not every version of Chromium says so of a WebSocket itself.
    let how = match label("upgrade").as_str() {
        "websocket" => "websocket".to_owned(),
        _ => format!("{} {}", label("sec-fetch-mode"), label("sec-fetch-dest")),
    };
    let (method, origin) = (request.method().clone(), label("origin"));
    if method != Method::OPTIONS {
        stranger.see(|seen| seen.baited.insert((method.to_string(), how)));
    }
    let allowed = [
        ("access-control-allow-origin", if origin == "-" { "*".to_owned() } else { origin }),
        ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE".to_owned()),
        ("access-control-allow-headers", "content-type, authorization".to_owned()),
        ("access-control-allow-credentials", "true".to_owned()),
        ("access-control-allow-private-network", "true".to_owned()),
    ];
    let mut answer = "bait".into_response();
    for (name, value) in allowed {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

async fn serve(router: Router) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

struct Chromium {
    process: Child,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Knows no names but those of the pages, and none of its own services.
    fn start(address: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let names: Vec<_> = PAGES.iter().map(|name| format!("MAP {name} 127.0.0.1")).collect();
        let rules = format!("{}, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1", names.join(", "));
        let process = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"])
            // The sidecar must not live by what one browser of one version refuses to send.
            .arg("--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights,HttpsUpgrades")
            .arg("--disable-popup-blocking")
            .arg(format!("--host-resolver-rules={rules}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("no chromium: install the package chromium");
        Self { process, _profile: profile }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its processes are its group.
        Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status().ok();
        self.process.wait().ok();
    }
}

/// A plugin in a folder, as two downloads would leave it: it must not be loaded.
fn intruder(world: &World) -> Value {
    let directory = world.path().join("downloads");
    fs::create_dir(&directory).unwrap();
    let manifest = json!({
        "name": "intruder", "version": "1.0.0", "description": "A test", "author": "Me", "permissions": {"exec": true},
    });
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_scripted-plugin"), directory.join("intruder")).unwrap();
    json!({"path": directory, "permissions": ["exec"]})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium; e2e/run all has it"]
async fn pages_of_others_reach_nothing() {
    let stranger = Stranger::default();
    let (page_port, _pages) = serve(pages(stranger.clone())).await;
    let (bait_port, _bait) = serve(Router::new().fallback(bait).with_state(stranger.clone())).await;
    // Where the sidecar will be, the stranger is first: this is what rebinding a name comes to.
    let (admin_port, rebound) = serve(pages(stranger.clone())).await;
    let _chromium = Chromium::start(&format!("http://foreign.example:{page_port}/?rebound={admin_port}"));
    stranger.until("the pages", |seen| PAGES.iter().all(|page| seen.loaded.contains(*page))).await;
    rebound.abort();
    rebound.await.unwrap_err();

    let mut world = World::new();
    let victim = plugin("victim", json!([{"type": "pre_request"}]));
    world.install(&victim);
    world.configure(&[victim]);
    world.serve_admin_at(admin_port);
    let load = intruder(&world);
    world.start();
    world.until_status("victim", "running").await;
    let before = state(&world).await;
    stranger.see(|seen| {
        seen.target = Some(json!({"admin": admin_port, "bait": bait_port, "pages": page_port, "load": load}));
    });
    stranger.until("the reports", |seen| seen.reports.len() == PAGES.len()).await;

    assert_eq!(state(&world).await, before, "{}", world.log());
    let reports = stranger.see(|seen| seen.reports.clone());
    for report in &reports {
        let read: Vec<_> = report["read"].as_array().unwrap().iter().filter(|read| read["status"] != 403).collect();
        assert!(read.is_empty(), "{} read {read:?}", report["page"]);
    }
    let attempts: u64 = reports.iter().map(|report| report["attempts"].as_u64().unwrap()).sum();
    let baited = stranger.see(|seen| seen.baited.clone());
    println!("BROWSER | {attempts} attempts | {baited:?} |");
    for (method, how) in [
        ("GET", "cors empty"),
        ("POST", "cors empty"),
        ("PUT", "cors empty"),
        ("PATCH", "cors empty"),
        ("DELETE", "cors empty"),
        ("GET", "no-cors empty"),
        ("POST", "no-cors empty"),
        ("GET", "no-cors image"),
        ("GET", "no-cors script"),
        ("GET", "navigate iframe"),
        ("POST", "navigate iframe"),
        ("GET", "websocket"),
    ] {
        assert!(baited.contains(&(method.to_owned(), how.to_owned())), "{method} {how} is not tried: {baited:?}");
    }
    // The same call from a process that is no browser does something, so that the state would have told.
    let reload = http::request(admin(&world), "POST", "/admin/plugins/victim/reload", &[], "").await;
    assert_eq!(reload.status, 200);
    assert_ne!(state(&world).await, before);
}

/// All that a call of admin could have changed.
async fn state(world: &World) -> Value {
    let token = world.token();
    let answers = ["/admin/plugins", "/admin/graph", "/readyz"].map(|path| async move {
        let token = world.token();
        http::request(admin(world), "GET", path, &[token.header()], "").await
    });
    let mut told = Vec::new();
    for answer in answers {
        let answer = answer.await;
        told.push(json!([answer.status, answer.body]));
    }
    drop(token);
    let says = ["reloaded", "loaded", "unloaded", "Plugin initialized", "stopped"];
    let log: Vec<_> = says.iter().map(|text| world.log().matches(text).count()).collect();
    json!({"answers": told, "sidecar": world.pid(), "victim": world.pid_of("victim"), "log": log})
}
