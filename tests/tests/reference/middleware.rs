//! 6: middleware.

use crate::{
    app::App,
    http,
    traffic::{Traffic, configure, middleware, route, scoped, started, traffic, trying},
    world::World,
};
use serde_json::json;

const AUTH: &str = r#"note in; json 401 {"error":"unauthorized"}"#;

async fn with_app(plugins: &[Traffic]) -> (World, App) {
    let world = started(plugins).await;
    let app = App::new(&world).await;
    (world, app)
}

#[tokio::test]
async fn r6_1_1_without_routes_it_runs_on_every_request() {
    let empty = json!({"kind": "middleware", "name": "empty", "routes": [], "do": "note in; next"});
    let (world, app) = with_app(&[
        traffic("p", json!([middleware("none", 200, "note in; next"), empty])),
        traffic("q", json!([route("GET", "/own", "answer 200 own")])),
    ])
    .await;
    assert_eq!((app.get("/app").await.status, app.get("/own").await.body.as_str()), (200, "own"));
    let expected = ["p.none in", "p.empty in", "handler /app", "p.none in", "p.empty in"];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r6_1_2_a_name_is_unique_in_its_plugin() {
    let items = json!([middleware("auth", 100, "note in; next"), trying(&middleware("auth", 50, "note again; next"))]);
    let (world, app) =
        with_app(&[traffic("p", items), traffic("q", json!([middleware("auth", 100, "note in; next")]))]).await;
    assert_eq!(app.get("/").await.status, 200);
    let expected = ["p.auth middleware already registered: 'auth'", "p.auth in", "q.auth in", "handler /"];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r6_2_1_routes_limit_it() {
    let (world, app) =
        with_app(&[traffic("p", json!([scoped("m", &["/admin/*", "/api/admin/*"], "note $path; next")]))]).await;
    for path in ["/admin", "/admin/x/y", "/api/admin/z", "/public", "/adminx", "/api"] {
        assert_eq!(app.get(path).await.status, 200);
    }
    let runs: Vec<_> = world.trace().into_iter().filter(|line| line.starts_with("p.m")).collect();
    assert_eq!(runs, ["p.m /admin", "p.m /admin/x/y", "p.m /api/admin/z"]);
}

#[tokio::test]
async fn r6_2_2_no_spelling_gets_around_a_pattern() {
    let (_world, app) = with_app(&[traffic("p", json!([scoped("m", &["/admin/*"], "answer 401 no")]))]).await;
    for path in ["/admin/x", "//admin/x", "/x/../admin/x", "/%61dmin/x", "/admin//./x", "/x/..%2fadmin/x"] {
        assert_eq!(app.get(path).await.status, 401, "{path}");
    }
    assert_eq!(app.get("/admi").await.status, 200);
}

#[tokio::test]
async fn r6_3_1_higher_priority_runs_earlier() {
    let steps = "note in; next";
    let (world, app) = with_app(&[
        traffic("p", json!([middleware("low", 50, steps), middleware("high", 300, steps)])),
        traffic("q", json!([middleware("middle", 200, steps), middleware("same", 50, steps)])),
    ])
    .await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["p.high in", "q.middle in", "p.low in", "q.same in", "handler /"]);
}

#[tokio::test]
async fn r6_3_2_it_works_around_the_handler() {
    let (world, app) = with_app(&[
        traffic("p", json!([middleware("outer", 200, "note in; next; note out $status; header x-seen $status")])),
        traffic("q", json!([middleware("inner", 100, "note in; next; note out $status; status 202")])),
    ])
    .await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.headers["x-seen"].as_str()), (202, "202"));
    let expected = ["p.outer in", "q.inner in", "handler /", "q.inner out 200", "p.outer out 202"];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r6_3_3_without_next_its_answer_is_the_response() {
    let (world, app) = with_app(&[
        traffic("p", json!([middleware("outer", 200, "next; note out $status")])),
        traffic("q", json!([middleware("auth", 100, AUTH), middleware("later", 50, "note in; next")])),
    ])
    .await;
    let answer = app.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (401, r#"{"error":"unauthorized"}"#));
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(world.trace(), ["q.auth in", "p.outer out 401"]);
}

#[tokio::test]
async fn r6_4_1_it_can_be_unregistered() {
    let (world, app) = with_app(&[
        traffic(
            "p",
            json!([
                middleware("m", 100, "note in; next"),
                route("POST", "/m", "unregister m"),
                route("POST", "/none", "unregister none"),
                route("POST", "/other", "unregister other"),
            ]),
        ),
        traffic("q", json!([middleware("other", 50, "note in; next")])),
    ])
    .await;
    for path in ["/none", "/other", "/m", "/m"] {
        assert_eq!(http::request(app.address, "POST", path, &[], "").await.status, 200);
    }
    assert_eq!(app.get("/").await.status, 200);
    let told = |name: &str| format!("middleware not found: '{name}'");
    let expected = [
        "p.m in".to_owned(),
        "q.other in".into(),
        format!("p./none {}", told("none")),
        "p.m in".into(),
        "q.other in".into(),
        format!("p./other {}", told("other")),
        "p.m in".into(),
        "q.other in".into(),
        "p./m unregistered".into(),
        "q.other in".into(),
        format!("p./m {}", told("m")),
        "q.other in".into(),
        "handler /".into(),
    ];
    assert_eq!(world.trace(), expected);
}

#[tokio::test]
async fn r6_5_1_an_unloaded_plugin_leaves_no_middleware() {
    let p = traffic("p", json!([middleware("a", 200, "note in; next"), middleware("b", 100, "note in; next")]));
    let q = traffic("q", json!([route("GET", "/own", "answer 200 own")]));
    let (world, app) = with_app(&[p, q.clone()]).await;
    assert_eq!(app.get("/own").await.body, "own");
    assert_eq!(world.trace(), ["p.a in", "p.b in"]);
    configure(&world, &[q]);
    world.until("p to be gone", || async { world.pid_of("p").is_none() }).await;
    world.forget_trace();
    assert_eq!((app.get("/own").await.body.as_str(), app.get("/x").await.status), ("own", 200));
    assert_eq!(world.trace(), ["handler /x"]);
}

#[tokio::test]
async fn r6_5_2_after_a_reload_only_the_new_versions_middleware_runs() {
    let both = json!([middleware("a", 200, "note $version; next"), middleware("b", 100, "note $version; next")]);
    let p = traffic("p", both);
    let (world, app) = with_app(std::slice::from_ref(&p)).await;
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["p.a 1.0.0", "p.b 1.0.0", "handler /"]);
    world.forget_trace();
    traffic("p", json!([middleware("a", 200, "note $version; next")])).version("1.1.0").install(&world);
    world.reload("p").await.unwrap();
    assert_eq!(app.get("/").await.status, 200);
    assert_eq!(world.trace(), ["p.a 1.1.0", "handler /"]);
}
