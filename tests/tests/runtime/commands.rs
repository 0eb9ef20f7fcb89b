//! `rockstar` against a sidecar whose plugins run.

use crate::{
    stock::admin,
    world::{Plugin, World, built, plugin},
};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, Output},
};

const FAILED: &str =
    "error: plugin reload failed: new version initialization error: plugin initialization failed: no\n";

fn scripted(name: &'static str, steps: Value) -> Plugin {
    plugin(name, json!([])).life(steps)
}

fn rockstar(world: &World, command: &str) -> Output {
    let address = admin(world).to_string();
    let mut rockstar = Command::new(built("rockstar"));
    rockstar.args(command.split(' ')).args(["--admin", &address]).current_dir(world.path()).output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_reload_that_failed_says_that_it_was_rolled_back() {
    let world = World::started(&[scripted("p", json!({}))]).await;
    world.install(&scripted("p", json!({"Initialize": "fail no"})).version("1.1.0"));
    let text = format!("{FAILED}info: rolling back to previous version\n");
    assert_eq!(told(&rockstar(&world, "reload p")), (Some(2), String::new(), text));
    assert_eq!(world.version("p").await, "1.0.0");
    let unknown = "error: plugin not found: 'nope'\n".to_owned();
    assert_eq!(told(&rockstar(&world, "reload nope")), (Some(2), String::new(), unknown));
}

#[tokio::test]
async fn without_a_version_before_nothing_is_rolled_back() {
    let mut world = World::new();
    let p = scripted("p", json!({"Initialize": "fail no"}));
    world.install(&p);
    world.configure(&[p]);
    world.start();
    world.until_log("0 plugins run, 1 do not").await;
    assert_eq!(told(&rockstar(&world, "reload p")), (Some(2), String::new(), FAILED.to_owned()));
}

#[tokio::test]
async fn a_plugin_is_led_through_its_lifecycle() {
    let world = World::started(&[scripted("p", json!({}))]).await;
    world.install(&scripted("q", json!({})));
    let steps = [
        ("load plugins/q --permission filesystem", "loading"),
        ("initialize", "initialized"),
        ("start", "running"),
        ("stop", "stopped"),
        ("start", "running"),
    ];
    for (command, status) in steps {
        let output = rockstar(&world, command);
        assert!(output.status.success(), "{command}: {output:?}");
        world.until_status("q", status).await;
    }
}

#[tokio::test]
async fn a_plugins_file_says_what_runs() {
    let world = World::started(&[scripted("p", json!({}))]).await;
    world.install(&scripted("q", json!({})));
    let entry = json!({"name": "q", "permissions": {"filesystem": true}});
    fs::write(world.path().join("q.json"), json!({"plugins": {"plugins": [entry]}}).to_string()).unwrap();
    let text = "Configuration loaded: q.json: 1 plugins run\n".to_owned();
    assert_eq!(told(&rockstar(&world, "load-config q.json")), (Some(0), text, String::new()));
    world.until_status("q", "running").await;
    assert_eq!(world.health("p").await.unwrap().status, "unloaded");
}
