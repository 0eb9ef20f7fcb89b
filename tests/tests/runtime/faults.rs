//! Processes that die or hang under way: plugins, and the sidecar itself.

use crate::{
    app::App,
    http,
    world::{World, kill, plugin},
};
use serde_json::json;
use std::path::Path;

#[tokio::test]
async fn a_hook_that_kills_its_process_harms_no_other() {
    let world = World::started(&[
        plugin("first", json!([{"type": "pre_request", "priority": 300}])),
        plugin("dies", json!([{"type": "pre_request", "priority": 200, "do": "exit"}])).open(),
        plugin("last", json!([{"type": "pre_request"}])),
    ])
    .await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["first.pre_request /", "dies.pre_request /", "last.pre_request /", "handler /"]);
    world.until_status("dies", "running").await;
}

#[tokio::test]
async fn a_closed_plugin_that_was_killed_is_never_skipped() {
    let world = World::started(&[
        plugin("closed", json!([{"type": "pre_request", "do": "set user x"}])),
        plugin("other", json!([{"type": "pre_request"}])),
    ])
    .await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/user").await.body, "Some(String(\"x\")) by Some(\"closed\")");
    world.kill_plugin("closed");
    world
        .until("it to be back", || async {
            let answer = app.get("/user").await;
            match answer.status {
                200 => assert_eq!(answer.body, "Some(String(\"x\")) by Some(\"closed\")"),
                status => assert_eq!(status, 503, "{answer:?}"),
            }
            answer.status == 200 && world.pid_of("closed").is_some()
        })
        .await;
    assert_eq!(world.health("other").await.unwrap().error_count, 0);
}

#[tokio::test]
async fn a_plugin_that_hangs_while_nobody_calls_it_is_noticed_and_replaced() {
    let world = World::started(&[
        plugin("hangs", json!([{"type": "pre_request", "priority": 200}])),
        plugin("other", json!([{"type": "pre_request"}])),
    ])
    .await;
    let (hung, other) = (world.pid_of("hangs").unwrap(), world.pid_of("other"));
    kill("-STOP", hung);
    // The next ping is sent within 10 s.
    let text = "plugin process ended unexpectedly: no answer to a ping within 10s";
    world.until_log(&format!("Plugin hangs crashed: {text}")).await;
    world.until("its end", || async { !Path::new(&format!("/proc/{hung}")).exists() }).await;
    world.until("another process", || async { world.pid_of("hangs").is_some_and(|pid| pid != hung) }).await;
    world.until_status("hangs", "running").await;
    let health = world.health("hangs").await.unwrap();
    assert!(health.last_error.starts_with(text), "{}", health.last_error);
    assert_eq!(health.error_count, 1);
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["hangs.pre_request /", "other.pre_request /", "handler /"]);
    assert_eq!((world.pid_of("other"), world.health("other").await.unwrap().error_count), (other, 0));
}

#[tokio::test]
async fn requests_in_flight_are_refused_when_the_sidecar_dies_and_serve_again_when_it_is_back() {
    let mut world = World::started(&[plugin("auth", json!([{"type": "pre_request"}, {"type": "pre_response"}]))]).await;
    let app = App::new(&world).await;
    let address = app.address;
    let waiting: Vec<_> = (0..64).map(|_| tokio::spawn(async move { http::get(address, "/wait").await })).collect();
    world.until("all in the handler", || async { handled(&world) == 64 }).await;
    world.kill();
    app.go.notify_waiters();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 503);
    }
    assert_eq!(app.get("/wait").await.status, 503);
    assert_eq!(handled(&world), 64, "nothing is run twice, and nothing around the plugins");
    assert_eq!(world.pid_of("auth"), None);
    world.start();
    app.until(&world, "/", 200).await;
}

fn handled(world: &World) -> usize {
    world.trace().iter().filter(|line| *line == "handler /wait").count()
}

#[tokio::test]
async fn open_plugins_let_requests_pass_without_a_sidecar() {
    let mut world = World::started(&[plugin("log", json!([{"type": "pre_request"}])).open()]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    world.kill();
    assert_eq!(app.get("/").await.status, 200);
}

#[tokio::test]
async fn without_a_sidecar_ever_nothing_is_served() {
    let world = World::new();
    let app = App::new(&world).await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (503, "application/json"));
    assert!(world.trace().is_empty());
}
