//! Plugins with nothing but the stock gRPC library of their language (examples/stock): each implements the whole plugin
//! service and uses the whole plugin context.

use crate::{
    app::App,
    http,
    world::{World, skipped},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// The longest name that a plugin may have.
const LONGEST: usize = 253;

#[tokio::test]
async fn python_with_grpcio() {
    check("python", "stock-python".into()).await;
}

#[tokio::test]
async fn javascript_with_grpc_js() {
    check("javascript", "stock-javascript".into()).await;
}

#[tokio::test]
async fn go_with_grpc_go() {
    check("go", "stock-go".into()).await;
}

#[tokio::test]
async fn a_plugin_with_the_longest_name() {
    for language in ["python", "javascript", "go"] {
        check(language, format!("long-{}", "x".repeat(LONGEST - 5))).await;
    }
}

async fn check(language: &str, name: String) {
    let Some(source) = prepared(language) else { return };
    let name: &'static str = name.leak();
    let world = running(&source, name).await;
    let app = App::new(&world).await;
    let answer = app.get("/stock/report").await;
    let report: Value = serde_json::from_str(&answer.body).unwrap();
    let expected = json!({
        "Unregister": "ok",
        "GetPluginConfig": "good day",
        "GetConfig": "db.example",
        "Cache": "ann",
        "Storage": "ann",
        "Database": [["ann"]],
        "Publish": "ping",
        "Import": format!("refused: service not found: plugin '{name}' does not export 'Nobody'"),
        "Invoke": "good day, ann",
        "Services": ["Greeter"],
        "GetPluginMetrics": true,
    });
    assert_eq!(report, expected);
    let answer = app.get("/stock/hello/bob").await;
    let hello: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(hello, json!({"stamp": name, "greeting": "good day, bob"}));
    assert_eq!(answer.headers["x-signed"], format!("{language} /stock/hello/bob"));
    world.until_log("Plugin initialized").await;
    let metrics = http::get(admin(&world), "/metrics").await.body;
    assert!(metrics.contains(&format!("rockstar_stock_logged{{plugin=\"{name}\"}} ")), "{metrics}");
}

/// The directory of the plugin with its libraries; None where it was not prepared, which CI does.
fn prepared(language: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/stock/prepare");
    let checked = Command::new(&script).args(["--check", language]).output().unwrap();
    if checked.status.success() {
        return Some(String::from_utf8(checked.stdout).unwrap().trim().into());
    }
    let said = String::from_utf8_lossy(&checked.stderr);
    skipped(&format!("the stock plugin in {language} is not prepared: {said}"));
    None
}

async fn running(source: &Path, name: &'static str) -> World {
    let mut world = World::new();
    let directory = world.directory_of(name);
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(source).arg(&directory).status().unwrap();
    assert!(copied.success());
    let manifest = directory.join("plugin.json");
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
    text["name"] = name.into();
    fs::write(manifest, text.to_string()).unwrap();
    let granted = json!({"database": true, "cache": true, "router": true, "config": true});
    let entry = json!({"name": name, "permissions": granted, "config": {"greeting": "good day"}});
    let file = json!({
        "framework": {"version": "1.5.0"},
        "database": {"host": "db.example"},
        "plugins": {"plugins": [entry]},
    });
    fs::write(world.path().join("plugins.json"), file.to_string()).unwrap();
    world.start();
    world.until_status(name, "running").await;
    world
}

/// Where metrics are served.
pub(crate) fn admin(world: &World) -> SocketAddr {
    let log = world.log();
    log.split("admin on http://").nth(1).unwrap().lines().next().unwrap().trim().parse().unwrap()
}
