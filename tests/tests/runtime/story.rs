//! The examples as their README tells them: the demo application, with its three plugins, as processes.

use crate::{
    http,
    world::{World, built, kill},
};
use serde_json::json;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

pub(crate) struct DemoApp {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl DemoApp {
    pub(crate) fn start(world: &World) -> Self {
        let mut process = Command::new(built("demo-app"))
            .args(["--addr", "127.0.0.1:0"])
            .env("ROCKSTAR_SOCKET", world.socket())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.process.id());
    }
}

impl Drop for DemoApp {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Puts an example's files where the sidecar finds them; `change` edits its manifest.
pub(crate) fn install(world: &World, plugin: &str, change: impl Fn(String) -> String) {
    let directory = world.directory_of(plugin);
    fs::create_dir_all(&directory).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugins").join(plugin).join("plugin.yaml");
    fs::write(directory.join("plugin.yaml"), change(fs::read_to_string(manifest).unwrap())).unwrap();
    if !directory.join(plugin).exists() {
        fs::copy(built(plugin), directory.join(plugin)).unwrap();
    }
}

fn auth(world: &World, version: &str, fault: &str) {
    install(world, "auth-plugin", |manifest| {
        let manifest = manifest.replace("version: 1.2.0", &format!("version: {version}"));
        let changed = manifest.replace("default: none", &format!("default: {fault}"));
        changed.replace("default: 5s", "default: 10ms")
    });
}

async fn started() -> World {
    let mut world = World::new();
    let names = ["auth-plugin", "cache-plugin", "logging-plugin"];
    names.iter().for_each(|name| install(&world, name, |manifest| manifest));
    let config = json!({"jwt_secret": "s"});
    world.write_file(json!([{"name": names[0], "config": config}, {"name": names[1]}, {"name": names[2]}]));
    world.start();
    for name in names {
        world.until_status(name, "running").await;
    }
    world
}

#[tokio::test]
async fn the_plugins_guard_tell_and_log() {
    let world = started().await;
    let app = DemoApp::start(&world);
    let refused = http::get(app.address, "/hello/ann").await;
    assert_eq!((refused.status, refused.body.as_str()), (401, r#"{"error":"unauthorized"}"#));
    assert_eq!(refused.headers["x-auth-plugin"], "1.2.0");
    let bearer = [("authorization", "Bearer ann")];
    let served = http::request(app.address, "GET", "/hello/ann", &bearer, "").await;
    assert_eq!((served.status, served.headers["x-auth-plugin"].as_str()), (200, "1.2.0"));
    assert_eq!(served.headers["cache-control"], "private, max-age=60");
    assert!(served.body.contains(r#""user":"ann""#), "{}", served.body);
    assert_eq!(http::get(app.address, "/healthz").await.body, "ok");
    world.until_log("GET /hello/ann -> 200").await;
    world.until_log("GET /hello/ann -> 401").await;
}

#[tokio::test]
async fn bad_versions_are_rolled_back_and_a_good_one_stays() {
    let world = started().await;
    let app = DemoApp::start(&world);
    let served = || async {
        http::request(app.address, "GET", "/", &[("authorization", "Bearer ann")], "").await.headers["x-auth-plugin"]
            .clone()
    };
    for (version, fault, words) in [("1.4.0", "initialize", "initialization error"), ("1.4.1", "start", "start error")]
    {
        auth(&world, version, fault);
        let error = world.reload("auth-plugin").await.unwrap_err();
        assert!(error.message().contains(&format!("new version {words}")), "{error}");
        assert_eq!(served().await, "1.2.0");
    }
    auth(&world, "1.5.0", "crash");
    world.reload("auth-plugin").await.unwrap();
    world.until_log("Plugin reload failed: auth-plugin v1.5.0: crashed within grace period").await;
    world.until("1.2.0 to be back", || async { served().await == "1.2.0" }).await;
    auth(&world, "1.6.0", "none");
    world.reload("auth-plugin").await.unwrap();
    assert_eq!(served().await, "1.6.0");
}
