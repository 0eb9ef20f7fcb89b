//! 2: hooks.

use crate::{
    app::App,
    traffic::{Traffic, go, hook, started, traffic, trying},
    world::World,
};
use rockstar_proto::{app::plugin_manager_client::PluginManagerClient, types::Empty};
use serde_json::{Value, json};
use tonic::transport::Channel;

const SEVEN: [&str; 7] =
    ["startup", "shutdown", "pre_request", "post_request", "pre_response", "post_response", "error"];

async fn with_app(plugins: &[Traffic]) -> (World, App) {
    let world = started(plugins).await;
    let app = App::new(&world).await;
    (world, app)
}

/// A pre_request hook of that name.
fn named(name: &str, priority: i32, steps: &str) -> Value {
    json!({"kind": "hook", "type": "pre_request", "name": name, "priority": priority, "do": steps})
}

#[tokio::test]
async fn r2_1_1_startup_hooks_run_before_any_start() {
    let world = started(&[
        traffic("p", json!([hook("startup", 100, "note hook")])).lives(),
        traffic("q", json!([hook("startup", 200, "note hook")])).lives(),
    ])
    .await;
    assert_eq!(world.trace(), ["q.startup hook", "p.startup hook", "p.Start", "q.Start"]);
}

#[tokio::test]
async fn r2_2_1_shutdown_hooks_run_before_any_stop() {
    let world = started(&[
        traffic("p", json!([hook("shutdown", 100, "note hook")])).lives(),
        traffic("q", json!([hook("shutdown", 200, "note hook")])).lives(),
    ])
    .await;
    world.forget_trace();
    manager(&world).await.stop_all(Empty {}).await.unwrap();
    let trace = world.trace();
    assert_eq!(trace[..2], ["q.shutdown hook", "p.shutdown hook"]);
    assert_eq!((trace.len(), trace[2].ends_with(".Stop"), trace[3].ends_with(".Stop")), (4, true, true));
}

#[tokio::test]
async fn r2_3_1_pre_request_runs_before_the_handler_and_sees_the_request() {
    let (world, app) = with_app(&[traffic("p", json!([hook("pre_request", 100, "note $method $path")]))]).await;
    assert_eq!(app.get("/a/b").await.status, 200);
    assert_eq!(world.trace(), ["p.pre_request GET /a/b", "handler /a/b"]);
}

#[tokio::test]
async fn r2_3_2_post_request_runs_after_the_handler() {
    let (world, app) = with_app(&[traffic("p", json!([hook("post_request", 100, "note $status")]))]).await;
    assert_eq!(app.get("/a").await.status, 200);
    assert_eq!(world.trace(), ["handler /a", "p.post_request 200"]);
}

#[tokio::test]
async fn r2_4_1_pre_response_runs_before_the_response_is_written() {
    let (_world, app) = with_app(&[traffic("p", json!([hook("pre_response", 100, "header x-added by-hook")]))]).await;
    let answer = app.get("/a").await;
    assert_eq!(answer.headers["x-added"], "by-hook");
}

#[tokio::test]
async fn r2_4_2_post_response_runs_after_the_response_is_written() {
    let (world, app) =
        with_app(&[traffic("p", json!([hook("post_response", 100, "wait answered; note $status")]))]).await;
    assert_eq!(app.get("/a").await.status, 200);
    assert_eq!(world.trace(), ["handler /a"]);
    go(&world, "answered");
    assert_eq!(world.traced(2).await[1], "p.post_response 200");
}

#[tokio::test]
async fn r2_5_1_error_hooks_run_on_a_failure() {
    let (world, app) = with_app(&[
        traffic("bad", json!([hook("pre_response", 100, "fail no header")])),
        traffic("p", json!([hook("error", 100, "")])),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["handler /", "p.error pre_response: no header"]);
    world.forget_trace();
    assert_eq!(app.get("/fail").await.status, 500);
    let expected = ["handler /fail", "p.error handler: the handler answered 500", "p.error pre_response: no header"];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r2_5_2_the_seven_types_are_accepted() {
    let hooks: Vec<_> = SEVEN.iter().map(|kind| trying(&hook(kind, 100, ""))).collect();
    let declared: Vec<_> = SEVEN.iter().map(|kind| json!({"type": kind, "priority": 100})).collect();
    let world = started(&[traffic("p", json!(hooks)).declaring(json!({"hooks": declared}))]).await;
    assert!(world.trace().is_empty(), "{:?}", world.trace());
    let health = world.health("p").await.unwrap();
    let mut listed: Vec<_> = health.hook_metrics.keys().map(String::as_str).collect();
    let mut seven = SEVEN.to_vec();
    listed.sort_unstable();
    seven.sort_unstable();
    assert_eq!((listed, health.error_count), (seven, 0));
}

#[tokio::test]
async fn r2_5_3_anything_else_is_an_error() {
    let unknown = |kind: &str| json!({"kind": "raw", "type": kind, "name": "raw", "try": true});
    let world = started(&[traffic("p", json!([unknown("Pre_Request"), unknown("foo"), unknown("")]))]).await;
    let expected = ["Pre_Request", "foo", ""].map(|kind| format!("p.raw unknown hook type: '{kind}'"));
    assert_eq!(world.trace(), expected);
    assert!(world.health("p").await.unwrap().hook_metrics.is_empty());
}

#[tokio::test]
async fn r2_6_1_higher_priority_runs_earlier_across_plugins() {
    let of = |priorities: &[i32]| priorities.iter().map(|p| named(&p.to_string(), *p, "note ran")).collect::<Vec<_>>();
    let (world, app) = with_app(&[
        traffic("p", json!(of(&[50, 300]))),
        traffic("q", json!(of(&[0, 200]))),
        traffic("r", json!(of(&[100, 150, 300]))),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    let order = ["p.300", "r.300", "q.200", "r.150", "r.100", "p.50", "q.0"];
    let expected: Vec<_> = order.iter().map(|name| format!("{name} ran")).chain(["handler /".to_owned()]).collect();
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r2_6_2_all_bands_are_accepted_and_100_is_the_default() {
    let bands = [0, 49, 50, 99, 101, 199, 200, 299, 300, 1000];
    let mut hooks: Vec<_> = bands.iter().map(|p| named(&p.to_string(), *p, "note ran")).collect();
    hooks.push(json!({"kind": "hook", "type": "pre_request", "name": "default", "do": "note ran"}));
    let (world, app) = with_app(&[traffic("p", json!(hooks))]).await;
    assert_eq!(app.get("/").await.status, 200);
    let order = ["1000", "300", "299", "200", "199", "101", "default", "99", "50", "49", "0"];
    let expected: Vec<_> = order.iter().map(|name| format!("p.{name} ran")).chain(["handler /".to_owned()]).collect();
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r2_7_1_an_error_keeps_no_other_hook_from_running() {
    let (world, app) = with_app(&[
        traffic("a", json!([hook("pre_request", 300, "note ran")])),
        traffic("b", json!([hook("pre_request", 200, "note ran; fail no")])).open(),
        traffic("c", json!([hook("pre_request", 100, "note ran")])),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["a.pre_request ran", "b.pre_request ran", "c.pre_request ran", "handler /"]);
    let health = world.health("b").await.unwrap();
    assert_eq!((health.error_count, health.hook_metrics["pre_request"].error_count), (1, 1));
}

#[tokio::test]
async fn r2_7_2_a_crash_keeps_no_other_hook_from_running() {
    for end in ["panic oh no", "exit"] {
        let (world, app) = with_app(&[
            traffic("a", json!([hook("pre_request", 300, "note ran")])),
            traffic("b", json!([hook("pre_request", 200, &format!("note ran; {end}"))])).open(),
            traffic("c", json!([hook("pre_request", 100, "note ran")])),
        ])
        .await;
        assert_eq!(app.get("/").await.status, 200);
        assert_eq!(world.trace(), ["a.pre_request ran", "b.pre_request ran", "c.pre_request ran", "handler /"]);
    }
}

#[tokio::test]
async fn r2_7_3_a_request_whose_hook_failed_is_refused_or_goes_on_by_policy() {
    let plugins =
        |bad: Traffic| [bad, traffic("c", json!([hook("pre_request", 50, "note ran"), hook("error", 100, "")]))];
    let bad = || traffic("b", json!([hook("pre_request", 200, "note ran; fail invalid request")]));
    let hooks = ["b.pre_request ran", "c.pre_request ran", "c.error pre_request: invalid request"];
    let (world, app) = with_app(&plugins(bad())).await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, r#"{"error":"internal server error"}"#));
    assert_eq!(world.trace(), hooks);
    let (world, app) = with_app(&plugins(bad().open())).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), [hooks.as_slice(), &["handler /"]].concat());
}

#[tokio::test]
async fn r2_7_4_a_hook_has_five_seconds() {
    let (world, app) = with_app(&[traffic("p", json!([hook("pre_request", 100, "sleep 600000")])).open()]).await;
    assert_eq!(app.get("/").await.status, 200);
    let text = "hook execution timeout: pre_request hook exceeded 5s timeout";
    assert_eq!(world.health("p").await.unwrap().last_error, text);
}

#[tokio::test]
async fn r2_7_5_the_timeout_can_be_changed() {
    let slow = traffic("p", json!([hook("pre_request", 100, "sleep 600000")]));
    let (world, app) = with_app(&[slow.open().with(json!({"hook_timeout": "1s"}))]).await;
    assert_eq!(app.get("/").await.status, 200);
    let text = "hook execution timeout: pre_request hook exceeded 1s timeout";
    assert_eq!(world.health("p").await.unwrap().last_error, text);
}

#[tokio::test]
async fn r2_7_6_after_a_timeout_the_next_hook_runs() {
    let slow = traffic("p", json!([hook("pre_request", 200, "note ran; sleep 600000")]));
    let (world, app) = with_app(&[
        slow.open().with(json!({"hook_timeout": "200ms"})),
        traffic("q", json!([hook("pre_request", 100, "note ran")])),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["p.pre_request ran", "q.pre_request ran", "handler /"]);
    assert_eq!(world.health("p").await.unwrap().hook_metrics["pre_request"].error_count, 1);
}

#[tokio::test]
async fn r2_7_7_a_hook_may_work_on_in_the_background() {
    let (world, app) = with_app(&[traffic("p", json!([hook("pre_request", 100, "background later")]))]).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["handler /"]);
    go(&world, "later");
    assert_eq!(world.traced(2).await[1], "p.pre_request later");
}

async fn manager(world: &World) -> PluginManagerClient<Channel> {
    PluginManagerClient::new(world.channel().await.unwrap())
}
