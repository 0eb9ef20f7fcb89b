//! Middleware and routes: both ways of calling, verdicts, cancel, reloads under requests that are under way.

use crate::{
    app::App,
    http,
    traffic::{Traffic, go, hook, middleware, route, scoped, started, traffic},
    world::World,
};
use axum::{
    Router,
    extract::{Request, State},
    routing::get,
};
use rockstar_app::{Cause, Client, RockstarLayer};
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::Notify};
use tower::Layer;

async fn with_app(plugins: &[Traffic]) -> (World, App) {
    let world = started(plugins).await;
    let app = App::new(&world).await;
    (world, app)
}

/// A plugin that does a bit of everything.
fn all_sorts() -> Traffic {
    let whole = json!({
        "kind": "middleware", "name": "whole", "priority": 50, "routes": ["/echo"], "body": true,
        "do": "note $body; body asked; next; note $response; body answered",
    });
    let look = json!({"kind": "middleware", "name": "look", "priority": 150, "request_only": true, "do": "note $path; set seen yes"});
    traffic(
        "p",
        json!([
            hook("pre_request", 100, "note $method; set user ann"),
            middleware("around", 200, "note in $value:user; next; note out $status; header x-around $value:seen"),
            look,
            whole,
            scoped("guard", &["/admin/*"], "json 401 {}"),
            scoped("broken", &["/broken"], "fail no luck"),
            scoped("late", &["/late"], "next; fail too late"),
            scoped("panics", &["/panics"], "panic oh no"),
            route("GET", "/own/:id", "answer 200 $param:id"),
            hook("post_request", 100, "note $status"),
            hook("error", 100, ""),
        ]),
    )
}

/// What clients and the trace see of it.
async fn tour(plugin: Traffic) -> (Vec<(u16, String)>, Vec<String>) {
    let (world, app) = with_app(&[plugin]).await;
    let mut answers = Vec::new();
    for path in ["/x", "/own/7", "/admin/x", "/broken", "/late", "/panics", "/fail"] {
        let answer = app.get(path).await;
        answers.push((answer.status, answer.body));
    }
    let echoed = http::request(app.address, "POST", "/echo", &[], "given").await;
    assert_eq!(echoed.headers["x-around"], "\"yes\" by p");
    answers.push((echoed.status, echoed.body));
    (answers, world.trace())
}

#[tokio::test]
async fn calls_have_the_same_end_on_a_stream_and_one_by_one() {
    let (answers, trace) = tour(all_sorts()).await;
    let bodies: Vec<_> = answers.iter().map(|(status, body)| (*status, body.as_str())).collect();
    let broken = r#"{"error":"internal server error"}"#;
    let expected = [
        (200, "/x"),
        (200, "7"),
        (401, "{}"),
        (500, broken),
        (200, "/late"),
        (500, broken),
        (500, ""),
        (200, "answered"),
    ];
    assert_eq!(bodies, expected);
    let first = ["p.pre_request GET", "p.around in \"ann\" by p", "p.look /x", "handler /x", "p.post_request 200"];
    assert_eq!(trace[..6], [first.as_slice(), &["p.around out 200"]].concat());
    assert!(trace.contains(&"p.error middleware:late: too late".to_owned()), "{trace:#?}");
    assert!(trace.contains(&"p.error middleware:panics: panic: oh no".to_owned()), "{trace:#?}");
    assert!(trace.ends_with(&["p.whole /echo asked".to_owned(), "p.around out 200".to_owned()]), "{trace:#?}");
    assert_eq!(tour(all_sorts().unary()).await, (answers, trace));
}

#[tokio::test]
async fn a_closed_plugin_that_is_late_refuses_whatever_others_answer() {
    for slow in [hook("pre_request", 200, "sleep 600000"), middleware("auth", 200, "sleep 600000")] {
        let (_world, app) = with_app(&[
            traffic("auth", json!([slow])).with(json!({"hook_timeout": "300ms"})),
            traffic(
                "cache",
                json!([hook("pre_request", 100, "note asked"), middleware("cache", 100, "answer 200 cached")]),
            ),
        ])
        .await;
        let answer = app.get("/").await;
        assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"error":"service unavailable"}"#));
    }
    let (_world, app) = with_app(&[
        traffic("auth", json!([hook("pre_request", 200, "sleep 600000")])).with(json!({"hook_timeout": "300ms"})),
        traffic("cache", json!([hook("pre_request", 100, "answer 200 cached")])),
    ])
    .await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"error":"service unavailable"}"#));
}

#[tokio::test]
async fn middleware_that_fails_is_skipped_where_it_is_open() {
    let (world, app) = with_app(&[
        traffic("p", json!([middleware("m", 200, "note in; fail no")])).open(),
        traffic("q", json!([middleware("n", 100, "note in; next; note out $status")])),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["p.m in", "q.n in", "handler /", "q.n out 200"]);
    assert_eq!(world.health("p").await.unwrap().error_count, 1);
}

#[tokio::test]
async fn a_client_that_goes_ends_what_runs_and_what_waits() {
    for plugin in [
        traffic(
            "p",
            json!([middleware("m", 100, "note in; next; note never"), hook("post_request", 100, "note never")]),
        ),
        traffic(
            "p",
            json!([middleware("m", 100, "note in; next; note never"), hook("post_request", 100, "note never")]),
        )
        .unary(),
    ] {
        let (world, app) = with_app(&[plugin, traffic("e", json!([hook("error", 100, "")]))]).await;
        let connection = http::sent(app.address, "GET", "/wait", &[], "").await.unwrap();
        assert_eq!(world.traced(2).await, ["p.m in", "handler /wait"]);
        drop(connection);
        assert_eq!(world.traced(3).await[2], "e.error : the client closed the connection");
        assert_eq!(world.health("p").await.unwrap().error_count, 0);
    }
    let (world, app) = with_app(&[traffic("p", json!([middleware("m", 100, "note in; drop")]))]).await;
    let connection = http::sent(app.address, "GET", "/", &[], "").await.unwrap();
    world.traced(1).await;
    drop(connection);
    assert_eq!(world.traced(2).await, ["p.m in", "p.m dropped"]);
}

#[tokio::test]
async fn paths_that_only_others_are_listened_to_on_need_no_sidecar() {
    let world = started(&[traffic(
        "p",
        json!([scoped("m", &["/admin/*"], "answer 401 no"), route("GET", "/own", "answer 200 own")]),
    )])
    .await;
    let app = App::new(&world).await;
    assert_eq!((app.get("/own").await.body.as_str(), app.get("/admin").await.status), ("own", 401));
    let mut sets = interests(&world).await;
    let set = sets.message().await.unwrap().unwrap();
    let mut places: Vec<_> = set.entries.iter().map(|e| (e.glob.as_str(), e.methods.as_str(), e.route)).collect();
    places.sort_unstable();
    assert_eq!(places, [("/admin/*", "", false), ("/own", "GET,HEAD", true)]);
}

async fn interests(world: &World) -> tonic::Streaming<rockstar_proto::app::InterestSet> {
    let channel = world.channel().await.unwrap();
    let mut client = rockstar_proto::app::pipeline_client::PipelineClient::new(channel);
    client.interests(tokio_stream::pending()).await.unwrap().into_inner()
}

/// An application whose `/outer` asks its own `/inner`, once it is told to.
async fn nesting(world: &World) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let go = Arc::new(Notify::new());
    let tracer = world.tracer();
    let outer = move |State(go): State<Arc<Notify>>, request: Request| {
        tracer.note("outer");
        async move {
            go.notified().await;
            let cause = request.extensions().get::<Cause>().cloned().expect("a plugin waits for this handler");
            let inner = http::request(address, "GET", "/inner", &[(Cause::HEADER, cause.as_str())], "").await;
            format!("{} {}", inner.status, inner.body)
        }
    };
    let router =
        Router::new().route("/outer", get(outer)).route("/inner", get(|| async { "inner" })).with_state(go.clone());
    let plugins = RockstarLayer::new(Client::new(world.socket()));
    let app = Router::new().fallback_service(plugins.layer(router));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, go)
}

#[tokio::test]
async fn a_handler_that_calls_its_own_application_does_not_wait_for_the_reload_that_waits_for_it() {
    let items = json!([middleware("m", 100, "next; header x-version $version")]);
    // Were the inner request to be held, it would be refused; were it awaited otherwise, the test would not end.
    let strict = json!({"reload": {"drain_timeout": "10m", "queue_strategy": "reject"}});
    let world = started(&[traffic("p", items.clone()).with(strict)]).await;
    let (address, go) = nesting(&world).await;
    let outer = tokio::spawn(async move { http::get(address, "/outer").await });
    world.traced(1).await;
    traffic("p", items).version("1.1.0").install(&world);
    let reloading = world.reload("p");
    let going_on = async {
        let held = || async { http::get(address, "/inner").await.status == 503 };
        world.until("others to be held", held).await;
        go.notify_one();
    };
    let (reloaded, ()) = tokio::join!(reloading, going_on);
    reloaded.unwrap();
    let answer = outer.await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "200 inner"));
    assert_eq!(answer.headers["x-version"], "1.0.0");
    assert_eq!(http::get(address, "/inner").await.headers["x-version"], "1.1.0");
}

#[tokio::test]
async fn what_is_parked_beyond_the_drain_goes_by_the_policy() {
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let items = json!([middleware("m", 100, "note in; next; note out")]);
        let entry = json!({"failure_policy": policy, "reload": {"drain_timeout": "100ms"}});
        let (world, app) = with_app(&[traffic("p", items.clone()).with(entry)]).await;
        let address = app.address;
        let waiting = tokio::spawn(async move { http::get(address, "/wait").await });
        world.traced(2).await;
        traffic("p", items).version("1.1.0").install(&world);
        world.reload("p").await.unwrap();
        app.go.notify_one();
        assert_eq!(waiting.await.unwrap().status, status);
        assert_eq!(world.health("p").await.unwrap().error_count, 0);
        assert_eq!(app.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_another_plugin_handles_is_not_held_by_a_reload() {
    let (world, app) = with_app(&[
        traffic("p", json!([scoped("m", &["/p/*"], "next")])),
        traffic("q", json!([route("GET", "/q", "answer 200 q")])),
    ])
    .await;
    let slow = json!([scoped("m", &["/p/*"], "next"), hook("startup", 100, "note begun; wait reload")]);
    traffic("p", slow).version("1.1.0").install(&world);
    let reloading = world.reload("p");
    let asking = async {
        world.traced(1).await;
        let others = (app.get("/q").await.body, app.get("/app").await.body);
        go(&world, "reload");
        others
    };
    let (reloaded, others) = tokio::join!(reloading, asking);
    reloaded.unwrap();
    assert_eq!((others.0.as_str(), others.1.as_str()), ("q", "/app"));
}

#[tokio::test]
async fn a_route_is_not_asked_twice_when_its_process_ends() {
    let (world, app) =
        with_app(&[traffic("p", json!([route("POST", "/end", "note ran; exit"), hook("error", 100, "")]))]).await;
    assert_eq!(http::request(app.address, "POST", "/end", &[], "").await.status, 503);
    let runs = world.trace().iter().filter(|line| *line == "p./end ran").count();
    assert_eq!(runs, 1);
}
