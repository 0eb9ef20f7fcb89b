//! 4.1: routes.

use crate::{
    app::App,
    http,
    traffic::{hook, middleware, route, started, traffic, trying},
};
use serde_json::json;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

#[tokio::test]
async fn r4_1_1_a_plugin_serves_routes() {
    let status = route("GET", "/api/myplugin/status", r#"json 200 {"status":"ok"}"#);
    let mut items = vec![status.clone(), route("GET", "/users/:id/*rest", "answer 200 $param:id $param:rest")];
    items.extend(METHODS.map(|method| route(method, "/any", "header x-method $method; status 202")));
    items.push(trying(&status));
    let world = started(&[
        traffic("p", json!(items)),
        traffic("q", json!([trying(&route("GET", "/api/myplugin/status", ""))])).with(json!({"priority": 50})),
    ])
    .await;
    let app = App::new(&world).await;
    let answer = app.get("/api/myplugin/status").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(app.get("/users/7/a/b").await.body, "7 a/b");
    for method in METHODS {
        let answer = http::request(app.address, method, "/any", &[], "").await;
        assert_eq!((answer.status, answer.headers["x-method"].as_str()), (202, method));
    }
    let exists = "/api/myplugin/status route already registered: 'GET /api/myplugin/status'";
    assert_eq!(world.trace(), [format!("p.{exists}"), format!("q.{exists}")]);
    assert_eq!(app.get("/api/myplugin").await.body, "/api/myplugin", "all else is the application's");
}

#[tokio::test]
async fn r4_1_2_routes_need_the_permission_router() {
    let denied = traffic("p", json!([trying(&route("GET", "/x", "answer 200 mine"))]));
    let world = started(&[denied.with(json!({"permissions": {}}))]).await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/x").await.body, "/x");
    let text = "permission denied: plugin 'p' attempted router access without permission";
    assert_eq!(world.trace(), [format!("p./x {text}"), "handler /x".to_owned()]);
    assert!(world.log().contains(text));
    assert_eq!(world.health("p").await.unwrap().last_error, text);
}

#[tokio::test]
async fn r4_1_3_a_handler_reads_the_request_and_answers() {
    let items = json!([
        route(
            "GET",
            "/process",
            r#"count p.processed; needs user_id; set user $query:user_id; json 200 {"processed":true}"#
        ),
        route("POST", "/show", "header x-echo $header:x-in; status 201; body $path $body"),
        route("GET", "/bad", "fail the database is away"),
        hook("post_request", 100, "note $value:user"),
    ]);
    let world = started(&[traffic("p", items)]).await;
    let app = App::new(&world).await;
    let answer = app.get("/process").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, r#"{"error":"user_id required"}"#));
    let answer = app.get("/process?user_id=7").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"processed":true}"#));
    assert_eq!(world.trace(), ["p.post_request null by nobody", "p.post_request \"7\" by p"]);
    let counted = "rockstar_p_processed{plugin=\"p\"} 2\n";
    world.until("both requests to be counted", || async { world.metrics().await.contains(counted) }).await;
    let answer = http::request(app.address, "POST", "/show", &[("X-In", "abc")], "the body").await;
    assert_eq!(
        (answer.status, answer.headers["x-echo"].as_str(), answer.body.as_str()),
        (201, "abc", "/show the body")
    );
    let answer = app.get("/bad").await;
    assert_eq!((answer.status, answer.body.as_str()), (500, r#"{"error":"internal server error"}"#));
    assert_eq!(world.health("p").await.unwrap().last_error, "the database is away");
    let large = "x".repeat(70_000);
    assert_eq!(http::request(app.address, "POST", "/show", &[], &large).await.status, 413);
}

#[tokio::test]
async fn r4_1_4_values_are_seen_further_down_the_same_request() {
    let world = started(&[
        traffic("p", json!([{"kind": "middleware", "name": "auth", "routes": ["/in/*"], "do": "set user ann; next"}])),
        traffic(
            "q",
            json!([
                middleware("later", 50, "note $value:user; next"),
                route("GET", "/in/q", "answer 200 $value:user"),
                route("GET", "/q", "answer 200 $value:user"),
            ]),
        ),
    ])
    .await;
    let app = App::new(&world).await;
    assert_eq!(app.get("/in/q").await.body, "\"ann\" by p");
    assert_eq!(app.get("/q").await.body, "null by nobody");
    assert_eq!(world.trace(), ["q.later \"ann\" by p", "q.later null by nobody"]);
}
