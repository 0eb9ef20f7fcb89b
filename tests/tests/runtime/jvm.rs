//! A plugin of the JVM with grpc-netty (tests/jvm): with netty's NIO transport it serves as any other. The native epoll transport
//! cannot be had: its library is unpacked into `tmp/`, where nothing may be executed.

use crate::{
    app::App,
    hostile::enforced,
    world::{World, skipped},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The plugin with its libraries; None where it was not prepared, which CI does.
fn prepared() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("jvm/prepare");
    let checked = Command::new(&script).arg("--check").output().unwrap();
    if checked.status.success() {
        return Some(String::from_utf8(checked.stdout).unwrap().trim().into());
    }
    skipped(&format!("the plugin of the JVM is not prepared: {}", String::from_utf8_lossy(&checked.stderr)));
    None
}

/// A sidecar with that plugin, which uses this transport.
fn started(source: &Path, transport: &str) -> World {
    let mut world = World::new();
    let directory = world.directory_of("netty");
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").arg(source).arg(&directory).status().unwrap().success());
    let manifest = directory.join("plugin.json");
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&manifest).unwrap()).unwrap();
    *text["command"].as_array_mut().unwrap().last_mut().unwrap() = transport.into();
    fs::write(manifest, text.to_string()).unwrap();
    world.write_file(json!([{"name": "netty", "permissions": {"cache": true, "router": true}}]));
    world.start();
    world
}

#[tokio::test]
async fn nio_serves_and_calls_its_host() {
    let Some(source) = prepared() else { return };
    let world = started(&source, "nio");
    world.until_status("netty", "running").await;
    let app = App::new(&world).await;
    let answer = app.get("/netty").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "kept"), "{}", world.log());
    world.reload("netty").await.unwrap();
    assert_eq!(app.get("/netty").await.body, "kept");
}

#[tokio::test]
async fn native_epoll_is_not_loaded() {
    let Some(source) = prepared() else { return };
    if !enforced() {
        return;
    }
    let world = started(&source, "epoll");
    world.until_log("failed to load the required native library").await;
    assert_ne!(world.health("netty").await.unwrap().status, "running");
}
