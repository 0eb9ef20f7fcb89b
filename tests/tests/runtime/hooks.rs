//! The seven hook types: order, priority, isolation, verdicts, what they see and change.

use crate::{
    app::App,
    http,
    world::{World, plugin},
};
use serde_json::json;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn an_exchange_goes_through_its_stages_in_order() {
    let all = |name: &'static str, first: i32| {
        let kinds = ["startup", "pre_request", "post_request", "pre_response", "post_response"];
        plugin(name, kinds.iter().map(|kind| json!({"type": kind, "priority": first})).collect())
    };
    let world = World::started(&[all("a", 100), all("b", 200)]).await;
    assert_eq!(world.trace(), ["b.startup", "a.startup"]);
    let app = App::new(&world).await;
    assert_eq!(app.get("/x").await.body, "/x");
    let expected = [
        "b.pre_request /x",
        "a.pre_request /x",
        "handler /x",
        "b.post_request 200",
        "a.post_request 200",
        "b.pre_response 200",
        "a.pre_response 200",
        "b.post_response 200",
        "a.post_response 200",
    ];
    assert_eq!(world.traced(11).await[2..], expected);
}

#[tokio::test]
async fn hooks_run_in_descending_priority_across_plugins() {
    let hook = |priority: i32| json!({"type": "pre_request", "priority": priority, "name": priority.to_string()});
    let world = World::started(&[
        plugin("a", json!([hook(0), hook(300), hook(-5)])),
        plugin("b", json!([hook(100), hook(1000), {"type": "pre_request", "name": "none"}])),
        plugin("c", json!([hook(50), hook(99), hook(200), hook(100)])),
    ])
    .await;
    let app = App::new(&world).await;
    app.get("/").await;
    let order = ["b.1000", "a.300", "c.200", "b.100", "b.none", "c.100", "c.99", "c.50", "a.0", "a.-5"];
    let expected: Vec<_> = order.iter().map(|name| format!("{name} /")).chain(["handler /".into()]).collect();
    assert_eq!(world.traced(11).await, expected);
}

#[tokio::test]
async fn hooks_change_request_and_response() {
    let world = World::started(&[
        plugin(
            "first",
            json!([
                {"type": "pre_request", "priority": 300, "do": "set user ann; path /user; header x-seen 1"},
                {"type": "pre_response", "do": "header x-first $version; status 201"},
            ]),
        ),
        plugin(
            "second",
            json!([
                {"type": "pre_request", "do": "show user"},
                {"type": "pre_response", "priority": 50, "body": true, "do": "body changed"},
            ]),
        ),
    ])
    .await;
    let app = App::new(&world).await;
    let answer = app.get("/elsewhere").await;
    assert_eq!((answer.status, answer.body.as_str()), (201, "changed"));
    assert_eq!((answer.headers["x-first"].as_str(), answer.headers["content-length"].as_str()), ("1.0.0", "7"));
    let expected = [
        "first.pre_request /elsewhere",
        "second.pre_request /user",
        "second.pre_request user=Some(String(\"ann\")) by Some(\"first\")",
        "first.pre_response 200",
        "second.pre_response 201 [Some(String(\"ann\")) by Some(\"first\")]",
    ];
    assert_eq!(world.traced(5).await, expected);
}

#[tokio::test]
async fn bodies_come_where_they_were_asked_for() {
    let hooks = json!([
        {"type": "pre_request", "priority": 200, "body": true, "name": "with", "do": "body new"},
        {"type": "pre_request", "name": "without"},
    ]);
    let world = World::started(&[plugin("p", hooks)]).await;
    let app = App::new(&world).await;
    let answer = http::request(app.address, "POST", "/x", &[], "old").await;
    assert_eq!(answer.body, "/x new");
    assert_eq!(world.traced(3).await, ["p.with /x [old]", "p.without /x", "handler /x"]);
    let large = "x".repeat(70_000);
    let answer = http::request(app.address, "POST", "/x", &[("x-note", "large")], &large).await;
    assert_eq!(answer.body, "/x new", "a body that is too large is not shown, but can be replaced");
    assert_eq!(world.traced(6).await[3], "p.with /x");
}

#[tokio::test]
async fn an_answer_ends_the_phase_and_skips_the_handler() {
    let world = World::started(&[
        plugin(
            "auth",
            json!([{"type": "pre_request", "priority": 200, "do": "answer 401 no"}, {"type": "pre_response"}]),
        ),
        plugin("later", json!([{"type": "pre_request"}, {"type": "post_request"}, {"type": "post_response"}])),
    ])
    .await;
    let app = App::new(&world).await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (401, "no"));
    assert_eq!(world.traced(3).await, ["auth.pre_request /", "auth.pre_response 401", "later.post_response 401"]);
}

#[tokio::test]
async fn a_refusal_wins_over_an_answer() {
    let world = World::started(&[
        plugin("closed", json!([{"type": "pre_request", "priority": 200, "do": "fail no database"}])),
        plugin("cache", json!([{"type": "pre_request", "do": "answer 200 cached"}])),
    ])
    .await;
    let app = App::new(&world).await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, r#"{"error":"internal server error"}"#));
    assert_eq!(world.traced(2).await, ["closed.pre_request /", "cache.pre_request /"]);
}

#[tokio::test]
async fn an_error_keeps_no_other_hook_from_running() {
    let hooks = |policy_do: &str| json!([{"type": "pre_request", "do": policy_do}]);
    for failing in ["fail invalid request", "panic oh no"] {
        let world = World::started(&[
            plugin("first", json!([{"type": "pre_request", "priority": 300}])),
            plugin("second", hooks(failing)).open().with(json!({"priority": 200})),
            plugin("third", json!([{"type": "pre_request", "priority": 50}, {"type": "error"}])),
        ])
        .await;
        let app = App::new(&world).await;
        assert_eq!(app.get("/").await.status, 200);
        let text = if failing.starts_with("fail") { "invalid request" } else { "panic: oh no" };
        let expected = [
            "first.pre_request /".to_owned(),
            "second.pre_request /".to_owned(),
            "third.pre_request /".to_owned(),
            format!("third.error pre_request: {text}"),
            "handler /".to_owned(),
        ];
        assert_eq!(world.traced(5).await, expected);
        let health = world.health("second").await.unwrap();
        assert_eq!((health.error_count, health.last_error.as_str()), (1, text));
        let hook = &health.hook_metrics["pre_request"];
        assert_eq!((hook.execution_count, hook.error_count), (1, 1));
        assert_eq!(world.health("first").await.unwrap().error_count, 0);
    }
}

#[tokio::test]
async fn error_hooks_shape_a_refusal_but_not_its_status() {
    let world = World::started(&[
        plugin("bad", json!([{"type": "pre_request", "do": "fail invalid request"}])),
        plugin("shape", json!([{"type": "error", "do": "body sorry; header x-shaped 1; status 200"}])),
    ])
    .await;
    let app = App::new(&world).await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str(), answer.headers["x-shaped"].as_str()), (500, "sorry", "1"));
}

#[tokio::test]
async fn error_hooks_hear_of_a_failing_handler() {
    let world = World::started(&[plugin("p", json!([{"type": "error", "do": "header x-told 1"}]))]).await;
    let app = App::new(&world).await;
    let answer = app.get("/fail").await;
    assert_eq!((answer.status, answer.headers["x-told"].as_str()), (500, "1"));
    assert_eq!(world.traced(2).await[1], "p.error handler: the handler answered 500");
}

#[tokio::test]
async fn errors_after_the_handler_never_change_the_answer() {
    let hooks = json!([
        {"type": "post_request", "do": "fail late"}, {"type": "pre_response", "do": "panic later"},
        {"type": "post_response", "do": "fail last"},
    ]);
    let world = World::started(&[plugin("p", hooks)]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    world.until("three errors", || async { world.health("p").await.unwrap().error_count == 3 }).await;
}

#[tokio::test]
async fn post_response_hooks_are_not_waited_for() {
    let hooks = json!([{"type": "post_response", "do": "sleep 600000"}]);
    let world = World::started(&[plugin("p", hooks)]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.traced(2).await, ["handler /", "p.post_response 200"]);
}

#[tokio::test]
async fn a_hook_has_its_timeout() {
    let slow = json!([{"type": "pre_request", "do": "sleep 600000"}]);
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let entry = json!({"hook_timeout": "1s", "failure_policy": policy});
        let world = World::started(&[
            plugin("slow", slow.clone()).with(entry),
            plugin("next", json!([{"type": "pre_request", "priority": 50}])),
        ])
        .await;
        let app = App::new(&world).await;
        assert_eq!(app.get("/").await.status, status);
        assert_eq!(world.trace()[..2], ["slow.pre_request /", "next.pre_request /"]);
        let health = world.health("slow").await.unwrap();
        assert_eq!(health.last_error, "hook execution timeout: pre_request hook exceeded 1s timeout");
        assert_eq!(health.error_count, 1);
    }
}

#[tokio::test]
async fn a_client_that_goes_is_told_to_error_hooks_alone() {
    let world =
        World::started(&[plugin("p", json!([{"type": "pre_response"}, {"type": "post_response"}, {"type": "error"}]))])
            .await;
    let app = App::new(&world).await;
    let connection = http::sent(app.address, "GET", "/wait", &[], "").await.unwrap();
    world.traced(1).await;
    drop(connection);
    assert_eq!(world.traced(2).await[1], "p.error : the client closed the connection");
}

#[tokio::test]
async fn error_hooks_hear_of_a_handler_that_panics() {
    let world = World::started(&[plugin("p", json!([{"type": "error"}]))]).await;
    let app = App::new(&world).await;
    let mut connection = http::sent(app.address, "GET", "/panic", &[], "").await.unwrap();
    assert_eq!(world.traced(1).await, ["p.error handler: the handler panicked"]);
    assert_eq!(connection.read(&mut [0]).await.unwrap(), 0, "the application's own way with a panic stays");
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_for_that_request_alone() {
    let world = World::started(&[plugin("p", json!([{"type": "pre_request"}]))]).await;
    let app = App::new(&world).await;
    let large = "x".repeat(300_000);
    assert_eq!(http::request(app.address, "GET", "/", &[("x-large", &large)], "").await.status, 431);
    assert_eq!(app.get("/").await.status, 200);
}
