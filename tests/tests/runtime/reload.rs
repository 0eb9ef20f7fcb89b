//! Reloads and rollbacks while requests flow.

use crate::{
    app::{App, Load},
    http,
    world::{Plugin, World, plugin},
};
use serde_json::json;
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt;

fn versioned() -> Plugin {
    let hooks = json!([{"type": "pre_request"}, {"type": "pre_response", "do": "header x-version $version"}]);
    plugin("p", hooks).with(json!({"reload": {"grace_period": "1m"}}))
}

#[tokio::test]
async fn a_reload_under_load_fails_no_request() {
    let world = World::started(&[versioned(), plugin("q", json!([{"type": "pre_request"}]))]).await;
    let app = App::new(&world).await;
    let load = Load::new(app.address, "/", 8);
    for version in ["1.1.0", "1.2.0", "1.3.0"] {
        load.more(&world, 50).await;
        world.install(&versioned().version(version));
        world.reload("p").await.unwrap();
        assert_eq!(world.version("p").await, version);
    }
    load.more(&world, 50).await;
    let answers = load.end().await;
    let failed: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), answers.len(), failed[0]);
    let versions: BTreeSet<_> = answers.iter().map(|a| a.headers["x-version"].as_str()).collect();
    assert_eq!(versions, BTreeSet::from(["1.0.0", "1.1.0", "1.2.0", "1.3.0"]));
    assert_eq!((errors(&world, "p").await, errors(&world, "q").await), (0, 0));
}

#[tokio::test]
async fn a_rollback_under_load_fails_no_request() {
    let world = World::started(&[versioned()]).await;
    let app = App::new(&world).await;
    let load = Load::new(app.address, "/", 8);
    load.more(&world, 50).await;
    // A hook type that does not exist: Initialize fails.
    world.install(&plugin("p", json!([{"type": "nonsense"}])).version("2.0.0"));
    let error = world.reload("p").await.unwrap_err();
    assert!(error.message().starts_with("plugin reload failed: new version initialization error"), "{error}");
    load.more(&world, 50).await;
    let answers = load.end().await;
    assert!(answers.iter().all(|a| a.status == 200 && a.headers["x-version"] == "1.0.0"), "{answers:?}");
    assert_eq!(world.version("p").await, "1.0.0");
}

#[tokio::test]
async fn a_crash_on_trial_under_load_brings_the_version_before_back_and_fails_no_request() {
    let world = World::started(&[versioned()]).await;
    let app = App::new(&world).await;
    let load = Load::new(app.address, "/", 8);
    load.more(&world, 50).await;
    world.install(&versioned().version("2.0.0"));
    world.reload("p").await.unwrap();
    load.more(&world, 50).await;
    world.kill_plugin("p");
    world.until_log("Previous version restored successfully").await;
    load.more(&world, 50).await;
    let answers = load.end().await;
    let failed: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), answers.len(), failed[0]);
    assert_eq!(answers.last().unwrap().headers["x-version"], "1.0.0");
}

#[tokio::test]
async fn a_held_request_is_told_when_its_queue_is_over() {
    let slow = json!([{"type": "pre_request"}, {"type": "startup", "do": "sleep 600000"}]);
    let entry = json!({"reload": {"queue_timeout": "1s"}, "hook_timeout": "4s"});
    let world = World::started(&[plugin("p", json!([{"type": "pre_request"}])).with(entry.clone())]).await;
    let app = App::new(&world).await;
    world.install(&plugin("p", slow).version("1.1.0").with(entry));
    let reloading = world.reload("p");
    let asking = async {
        world.traced(1).await;
        app.get("/").await
    };
    let (reloaded, answer) = tokio::join!(reloading, asking);
    reloaded.unwrap();
    let text = r#"{"error":"request timeout: plugin reload exceeded queue timeout (1s)"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (503, text));
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn a_stream_goes_on_through_a_reload_and_is_written_at_its_end() {
    let hooks = json!([{"type": "pre_response", "do": "header x-version $version"}, {"type": "post_response"}]);
    let world = World::started(&[plugin("p", hooks.clone())]).await;
    let app = App::new(&world).await;
    let mut connection = http::sent(app.address, "GET", "/stream", &[], "").await.unwrap();
    let mut text = String::new();
    while !text.contains("first") {
        let mut part = [0; 4096];
        let count = connection.read(&mut part).await.unwrap();
        assert_ne!(count, 0, "cut after {text}");
        text += std::str::from_utf8(&part[..count]).unwrap();
    }
    assert!(text.contains("x-version: 1.0.0"), "{text}");
    world.install(&plugin("p", hooks).version("1.1.0"));
    world.reload("p").await.unwrap();
    assert_eq!(world.trace(), ["p.pre_response 200"]);
    app.go.notify_one();
    connection.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("last"), "{text}");
    assert_eq!(world.traced(2).await[1], "p.post_response 200");
}

async fn errors(world: &World, plugin: &str) -> i64 {
    world.health(plugin).await.unwrap().error_count
}
